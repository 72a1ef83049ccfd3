"""DATA.toml: which data sets make a mix, what each of them labels, and where they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from edgemtl.data.base import DataSet, Task
from edgemtl.data.problems import OnError, Problem, ProblemLog
from edgemtl.data.spec import SceneRule, SetSpec
from edgemtl.errors import ConfigError
from edgemtl.settings import read_settings

ROOT_VARIABLE = "EDGEMTL_DATA"
Split = Literal["train", "val"]
_Side = Annotated[int, Field(ge=1, le=8192)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]

_FILES = ("labels", "rename", "tasks", "scene")
_TAKES: dict[str, tuple[str, ...]] = {
    "coco": (*_FILES, "images", "annotations"),
    "yolo": (*_FILES, "images", "annotations", "names"),
    "voc": (*_FILES, "images", "annotations", "image_list"),
    "mot": ("labels", "rename", "tasks", "images", "annotations", "video", "class_name", "frames",
            "fps"),
    "folder": ("rename", "tasks", "images"),
    "synthetic": ("seed", "clips", "frames_per_clip", "size_hw", "fps"),
    "unlabelled": ("images", "step"),
}  # fmt: skip
"""Keys beside name, format and weight: one that a format would not look at is an error."""
_NEEDS: dict[str, tuple[str, ...]] = {
    "coco": ("images", "annotations"),
    "yolo": ("images", "annotations", "names"),
    "voc": ("images", "annotations"),
    "mot": ("annotations",),
    "folder": ("images",),
    "synthetic": ("seed", "clips", "frames_per_clip"),
    "unlabelled": ("images",),
}


class _Set(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    format: Literal["coco", "yolo", "voc", "mot", "folder", "synthetic", "unlabelled"]
    labels: tuple[str, ...] | None = None
    rename: dict[str, str] = Field(default_factory=dict)
    tasks: tuple[Task, ...] | None = None
    scene: SceneRule = "none"
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    images: str | None = None
    annotations: str | None = None
    video: str | None = None
    names: tuple[str, ...] | None = Field(default=None, description="yolo: class of each number")
    image_list: str | None = Field(default=None, description="voc: file with one name a line")
    class_name: str = Field(default="person", description="mot: what the objects are")
    frames: tuple[int, int] | None = Field(default=None, description="mot: first and last, from 1")
    step: int = Field(default=1, ge=1, description="unlabelled: every so many pictures")
    fps: float | None = Field(default=None, gt=0, lt=1000)
    seed: int | None = Field(default=None, ge=0)
    clips: int | None = Field(default=None, ge=1)
    frames_per_clip: int | None = Field(default=None, ge=1)
    size_hw: tuple[_Side, _Side] = (270, 480)

    @model_validator(mode="after")
    def _complete(self) -> _Set:
        missing = [key for key in _NEEDS[self.format] if getattr(self, key) is None]
        if missing:
            raise ValueError(f"format '{self.format}' needs '{missing[0]}'")
        taken = ("name", "format", "weight", *_TAKES[self.format])
        unused = sorted(self.model_fields_set - set(taken))
        if unused:
            raise ValueError(f"format '{self.format}' does not use '{unused[0]}'")
        if self.format == "mot" and (self.video is None) == (self.images is None):
            raise ValueError("format 'mot' needs either 'video' or 'images'")
        if self.frames is not None and not 1 <= self.frames[0] <= self.frames[1]:
            raise ValueError(f"frames = {list(self.frames)}: first and last, which count from 1")
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] = ()
    image_classes: tuple[str, ...] = ()
    attributes: dict[_Name, tuple[str, ...]] = Field(default_factory=dict)
    root: str | None = None
    on_error: OnError = "skip"
    train: tuple[_Set, ...] = ()
    val: tuple[_Set, ...] = ()

    @field_validator("classes", "image_classes")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        folded = [name.casefold() for name in names]
        twice = [n for n, f in zip(names, folded, strict=True) if folded.count(f) > 1]
        if twice:
            raise ValueError(f"'{twice[0]}' is there twice; names differ by more than case")
        return names

    @field_validator("attributes")
    @classmethod
    def _valued(cls, attributes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, values in attributes.items():
            if len(values) < 2 or len({v.casefold() for v in values}) < len(values):
                raise ValueError(
                    f"'{name}' needs values that differ by more than case, two or more"
                )
        return attributes


@dataclass(frozen=True)
class DataMix:
    """The data sets of one split. ``problems``: what was skipped or clipped, by file and line."""

    classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    sets: tuple[DataSet, ...]
    problems: tuple[Problem, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def load_data(path: Path, split: Split, root: Path | None = None) -> DataMix:
    """The data sets of a split of a DATA.toml.

    Paths in the file are relative to ``root``; default: the environment's EDGEMTL_DATA, else the
    file's key ``root``, else the file's own folder. Raises ConfigError, naming file and key, for
    what cannot be meant, and DataError for data that cannot be used.
    """
    path = Path(path)
    file = read_settings("data", path, _File, "benchmarks/data")
    sets: tuple[_Set, ...] = getattr(file, split)
    if not sets:
        raise ConfigError(f"data: '{path}' has no [[{split}]]", f"add a [[{split}]] section")
    named = [one.name for one in sets]
    twice = [name for name in named if named.count(name) > 1]
    if twice:
        raise ConfigError(
            f"data: '{path}': two [[{split}]] sets are called '{twice[0]}'", "rename one of them"
        )
    base = _base(path, file, root)
    log = ProblemLog()
    made = tuple(_open(one, file, base, log) for one in sets)
    problems = log.settle(file.on_error)
    return DataMix(file.classes, file.image_classes, made, problems, file.attributes)


def _base(path: Path, file: _File, root: Path | None) -> Path:
    if root is not None:
        return Path(root)
    if os.environ.get(ROOT_VARIABLE):
        return Path(os.environ[ROOT_VARIABLE])
    return path.parent / os.path.expanduser(file.root or ".")


def _open(one: _Set, file: _File, base: Path, log: ProblemLog) -> DataSet:
    if one.format == "synthetic":
        return _synthetic(one, file)
    from edgemtl.data import coco, folder, mot, unlabelled, voc, yolo

    spec = SetSpec(
        name=one.name,
        classes=file.classes,
        image_classes=file.image_classes,
        labels=one.labels,
        rename=one.rename,
        scene=one.scene,
        tasks=one.tasks,
        weight=one.weight,
        attributes=file.attributes,
    )

    def at(value: str | None) -> Path:
        return base / os.path.expanduser(value or "")

    if one.format == "coco":
        return coco.read_coco(spec, at(one.images), at(one.annotations), log)
    if one.format == "yolo":
        return yolo.read_yolo(spec, at(one.images), at(one.annotations), one.names or (), log)
    if one.format == "voc":
        chosen = at(one.image_list) if one.image_list else None
        return voc.read_voc(spec, at(one.images), at(one.annotations), chosen, log)
    if one.format == "unlabelled":
        return unlabelled.UnlabelledSet(spec, at(one.images), one.step)
    if one.format == "folder":
        return folder.read_folder(spec, at(one.images), log)
    files = mot.MotFiles(
        annotations=at(one.annotations),
        class_name=one.class_name,
        video=at(one.video) if one.video else None,
        images=at(one.images) if one.images else None,
        frames=one.frames,
        fps=one.fps,
    )
    return mot.read_mot(spec, files, log)


def _synthetic(one: _Set, file: _File) -> DataSet:
    from edgemtl.data.synthetic import SyntheticWorld

    assert one.seed is not None
    assert one.clips is not None
    assert one.frames_per_clip is not None
    world = SyntheticWorld(
        one.seed,
        one.clips,
        one.frames_per_clip,
        one.size_hw,
        one.fps or 25.0,
        name=one.name,
        weight=one.weight,
        attributes=bool(file.attributes),
    )
    if (file.classes, file.image_classes) != (world.classes, world.image_classes):
        raise ConfigError(
            f"data set '{one.name}': the synthetic world has its own classes",
            f"classes = {list(world.classes)}, image_classes = {list(world.image_classes)}",
        )
    if file.attributes not in ({}, dict(world.attributes)):
        raise ConfigError(
            f"data set '{one.name}': the synthetic world has its own attributes",
            f"attributes = {{ pattern = {list(world.attributes['pattern'])} }}, or none",
        )
    return world
