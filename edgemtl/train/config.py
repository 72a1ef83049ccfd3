"""A training run as one TOML file. Unknown keys are errors, so a typing mistake cannot pass."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from edgemtl.data.base import Task
from edgemtl.errors import ConfigError
from edgemtl.manifest import DataSource
from edgemtl.models import shipped_checkpoint
from edgemtl.nn.heads import STRIDES
from edgemtl.nn.network import NetworkConfig
from edgemtl.settings import read_settings
from edgemtl.train.data_config import (
    DataCheckConfig,
    SamplingConfig,
    Section,
    StartConfig,
    TeacherConfig,
)


class AugmentConfig(Section):
    """How far a training picture may differ from its file."""

    scale: tuple[float, float] = Field(default=(0.6, 1.5), description="of the letterboxed size")
    shift: float = Field(default=0.15, ge=0, le=0.5, description="of the network input's side")
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a mirror image")
    gain: float = Field(
        default=0.3, ge=0, lt=1, description="contrast, and colour by a third of it"
    )
    bias: float = Field(default=24.0, ge=0, description="brightness, in pixel levels")
    saturation: float = Field(default=0.5, ge=0, le=1, description="towards grey, or away from it")
    identity_colour: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="part of gain, bias and saturation that pictures with "
        "identities get: colours tell people apart",
    )
    erase: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="side of a grey square over a picture without boxes, of the shorter side",
    )
    paste: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability that part of another picture covers one that has an image class "
        "and nothing else; both classes count, by area",
    )
    mosaic: float = Field(
        default=0.4, ge=0, le=1, description="probability of four pictures in one (unordered sets)"
    )
    mosaic_until: float = Field(
        default=1.0, ge=0, le=1, description="part of the run; then whole pictures, as deployed"
    )
    min_visible: float = Field(
        default=0.3, ge=0, le=1, description="a box of which less is left becomes an ignore region"
    )

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float]) -> tuple[float, float]:
        low, high = scale
        if not 0 < low <= high < math.inf:
            raise ValueError(f"expected the smallest and the largest, above 0, got {list(scale)}")
        return scale

    def for_identities(self) -> AugmentConfig:
        """As it is for pictures whose objects have identities."""
        part = self.identity_colour
        return self.model_copy(
            update={
                "gain": self.gain * part,
                "bias": self.bias * part,
                "saturation": self.saturation * part,
            }
        )


class OptimiserConfig(Section):
    """AdamW with warm-up and a cosine to a hundredth of the rate."""

    rate: float = Field(default=1e-3, gt=0, description="the highest learning rate")
    backbone_rate: float = Field(default=0.25, ge=0, description="as a part of `rate`")
    weight_decay: float = Field(default=0.02, ge=0, description="of matrices; vectors have none")
    warmup: float = Field(default=0.03, ge=0, lt=1, description="part of the run")
    clip_norm: float = Field(default=100.0, gt=0, description="longest gradient")
    average: float = Field(default=0.998, ge=0, lt=1, description="EMA of the weights, per step")
    amp: Literal["off", "bf16", "fp16"] = Field(
        default="off", description="reduced precision of the forward pass; fp16 needs a GPU"
    )
    batch_norm: Literal["batch", "frozen"] = Field(
        default="batch",
        description="statistics of the batch (of several processes, each its share), or as loaded",
    )


class LossConfig(Section):
    """How the losses of the tasks become one step."""

    balance: Literal["fixed", "uncertainty", "upgrad", "aligned_mtl", "pcgrad", "mgda"] = Field(
        default="fixed", description="fixed weights, learned ones, or an aggregator of torchjd"
    )
    detect: float = Field(default=1.0, ge=0, description="weight of the task")
    classify: float = Field(default=0.5, ge=0, description="weight of the task")
    embed: float = Field(default=0.3, ge=0, description="weight of the task")
    box: float = Field(default=2.0, ge=0, description="box against class part of detection")
    temperature: float = Field(default=0.15, gt=0, description="of the embedding loss")
    label_smoothing: float = Field(default=0.05, ge=0, lt=1, description="of the image class")
    distil: float = Field(
        default=1.0, ge=0, description="a re-identification teacher beside known identities"
    )
    further: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="weights of other tasks, by name"
    )


class ValidateConfig(Section):
    """When and on how much the model is judged; the best by the combined score is kept."""

    every: int = Field(default=5000, ge=1, description="pictures between two judgements")
    limit: int | None = Field(default=None, ge=1, description="pictures per data set")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="stop after this many judgements without a better score; the rate's cosine is "
        "laid out for all of `images` all the same",
    )


class QuantizeConfig(Section):
    """How `edgemtl train --quantize` goes on from a checkpoint, with INT8's rounding."""

    part: float = Field(default=0.05, gt=0, le=1, description="of `images`, seen once more")
    rate: float = Field(default=0.05, gt=0, le=1, description="as a part of optimiser.rate")
    limit: int = Field(default=200, ge=1, description="pictures that set the ranges")


class TrainConfig(Section):
    """A whole run. Paths are relative to the file."""

    name: str = Field(description="of the model, in its file and in reports")
    data: Path = Field(description="the file that names the data sets")
    tasks: tuple[Task, ...] | None = Field(
        default=None, min_length=1, description="train these alone; default: all that data label"
    )
    size_hw: tuple[int, int] = Field(
        description="the network's input, height and width: multiples of 32"
    )
    sizes: dict[str, tuple[int, int]] = Field(
        default={}, description="of data sets that have an input size of their own, by name"
    )
    multi_scale: tuple[float, float] = Field(
        default=(1.0, 1.0), description="each step draws a factor of all sizes from this range"
    )
    images: int = Field(ge=1, description="pictures seen in all")
    batch: int = Field(default=8, ge=1, description="pictures of a step, over all processes")
    group: int = Field(default=4, ge=2, description="frames of one sequence that come together")
    group_span_s: float = Field(
        default=8.0, gt=0, description="seconds of the sequence that a group comes from"
    )
    seed: int = Field(default=0, description="the same one gives the same run")
    threads: int | None = Field(default=None, ge=1, description="of the CPU; default: torch's own")
    cache_mb: int = Field(default=2000, ge=0, description="decoded pictures kept, by each process")
    min_score: float = Field(default=0.3, ge=0, le=1, description="the runtime's default")
    tensorboard: bool = Field(
        default=False, description="log for TensorBoard too (pip install tensorboard)"
    )
    weights_licence: str = Field(default="Apache-2.0", description="goes into the model file")
    further: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="further tasks by name, and their classes"
    )
    sources: tuple[DataSource, ...] = Field(default=(), description="data and licences")
    teachers: tuple[TeacherConfig, ...] = ()
    start: StartConfig = StartConfig()
    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    loss: LossConfig = LossConfig()
    data_checks: DataCheckConfig = DataCheckConfig()
    sampling: SamplingConfig = SamplingConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    validate_: ValidateConfig = Field(default=ValidateConfig(), alias="validate")

    @field_validator("size_hw")
    @classmethod
    def _multiples(cls, value: tuple[int, int]) -> tuple[int, int]:
        if any(side < STRIDES[-1] or side % STRIDES[-1] for side in value):
            raise ValueError(f"both sides must be multiples of {STRIDES[-1]}")
        return value

    @field_validator("sizes")
    @classmethod
    def _own_sizes(cls, value: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        return {name: cls._multiples(size) for name, size in value.items()}

    @field_validator("multi_scale")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.25 <= value[0] <= value[1] <= 4:
            raise ValueError("expected [smallest, largest] factor, from 0.25 to 4")
        return value

    @model_validator(mode="after")
    def _startable(self) -> TrainConfig:
        if self.start.only and not self.start.checkpoint:
            raise ValueError("start.only keeps parts of start.checkpoint, which is not given")
        if self.start.only and self.loss.balance not in {"fixed", "uncertainty"}:
            raise ValueError(f"loss.balance '{self.loss.balance}': start.only shares nothing")
        return self


def load_train_config(path: Path) -> TrainConfig:
    """Read a training file. Raises ConfigError, naming file and key, for anything unexpected."""
    path = Path(path)
    config = read_settings("config", path, TrainConfig, "benchmarks/train")
    network, start = config.network, config.start
    teachers = tuple(
        teacher.model_copy(
            update={"model": _resolve(path, f"teachers.{number}.model", teacher.model)}
        )
        for number, teacher in enumerate(config.teachers)
    )
    if network.weights is not None:
        where = _resolve(path, "network.weights", network.weights)
        network = network.model_copy(update={"weights": where})
    if start.checkpoint is not None and not shipped_checkpoint(start.checkpoint):
        where = _resolve(path, "start.checkpoint", start.checkpoint)
        start = start.model_copy(update={"checkpoint": where})
    return config.model_copy(
        update={
            "data": _resolve(path, "data", config.data),
            "network": network,
            "start": start,
            "teachers": teachers,
        }
    )


def _resolve(path: Path, key: str, value: Path) -> Path:
    """A path of the file: environment variables and ~ expanded, relative to the file's folder."""
    text = os.path.expandvars(str(value.expanduser()))
    if "$" in text:
        raise ConfigError(
            f"config: '{path}', key '{key}': the environment has no variable for '{value}'",
            "set it, or write the path itself",
        )
    return path.parent / text
