"""What a training file says of its data: who annotates them, how they are drawn and checked; and of
the network that a run begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgemtl.data.spec import SceneRule


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StartConfig(Section):
    """Fine-tuning: begin with a trained network. [network] then needs to say nothing of its shape;
    classes keep what is known of them by their names. It is judged first, so that the best is never
    worse than the beginning.
    """

    checkpoint: Path | None = Field(
        default=None, description="a .safetensors file of edgemtl, or a shipped model: toy, street"
    )
    only: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="the tasks whose heads learn; the rest stays bit for bit what it was, its "
        "tasks too, whether the data label them or not; none: everything learns",
    )


class TeacherConfig(Section):
    """A network that annotates what people did not; its answers are kept after the first time."""

    model: Path = Field(description="detect: a model file of edgemtl; embed: any .onnx of crops")
    task: Literal["detect", "embed"] = Field(
        default="detect", description="a detector, or a re-identification network"
    )
    sets: tuple[str, ...] = Field(default=(), description="data sets to look at; default: all")
    rename: dict[str, str] = Field(
        default_factory=dict, description="classes of the teacher that the mix calls otherwise"
    )
    min_score: float = Field(
        default=0.2, gt=0, le=1, description="from here a detection is an object, as sure as that"
    )
    doubt: float = Field(
        default=0.08, gt=0, le=1, description="from here it is a region that says nothing"
    )
    scene: SceneRule = Field(default="none", description="image class of unlabelled pictures")
    scene_score: float = Field(default=0.5, ge=0, le=1, description="of the box that decides it")
    classes: tuple[str, ...] = Field(
        default=("person",), description="embed: objects that it can tell apart"
    )
    mean: tuple[float, float, float] = Field(
        default=(123.675, 116.28, 103.53), description="embed: taken from RGB levels"
    )
    std: tuple[float, float, float] = Field(
        default=(58.395, 57.12, 57.375), description="embed: RGB levels are divided by it then"
    )


class SamplingConfig(Section):
    """The share of a step's pictures that comes from data sets which label a task; without one the
    sets' weights decide.
    """

    detect: float | None = Field(default=None, ge=0, le=1, description="of boxes")
    classify: float | None = Field(default=None, ge=0, le=1, description="of image classes")
    embed: float | None = Field(default=None, ge=0, le=1, description="of identities")

    def wanted(self) -> dict[str, float]:
        return {task: share for task, share in self.model_dump().items() if share is not None}


class DataCheckConfig(Section):
    """What is looked for in the data before the first step."""

    allow_overlap: bool = Field(
        default=False, description="pictures in training and validation are no error"
    )
    min_boxes: int = Field(default=20, ge=0, description="of a class, or there is a warning")
    near_bits: int = Field(
        default=8, ge=0, le=16, description="of 64 in which the hashes of look-alikes may differ"
    )
    seconds: float = Field(
        default=60.0,
        ge=0,
        allow_inf_nan=False,
        description="for looking at pictures, and again for counting annotations; where that is "
        "too short, an even part of them is taken",
    )
