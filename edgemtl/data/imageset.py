"""Annotated pictures from files: what every reader of detection data has in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgemtl.data.base import UNKNOWN, DataSet, Task, Truth
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import Store, broken, size_of
from edgemtl.errors import DataError
from edgemtl.records import I32, U8

TOLERANCE_PX = 2.0
"""Annotation tools round; a box that sticks out by less than this is clipped without a word."""


@dataclass(frozen=True, slots=True)
class RawBox:
    """One annotated object as its file has it: class name and x1, y1, x2, y2 in pixels.

    ``attributes``: a value's place, or UNKNOWN, for each attribute of the mix.
    """

    name: str
    xyxy: tuple[float, float, float, float]
    file: str
    line: int | None = None
    what: str = "box"
    ignore: bool = False
    identity: int = UNKNOWN
    attributes: tuple[int, ...] | None = None


class TruthBuilder:
    """Turns raw boxes into Truth: maps names, checks and clips boxes, applies the scene rule.

    ``amodal`` says that the format's boxes go on beyond the picture's border by convention.
    ``dropped`` counts annotated categories that the mix does not use.
    """

    def __init__(
        self,
        spec: SetSpec,
        log: ProblemLog,
        known: Iterable[str] | None,
        available: Iterable[Task],
        amodal: bool = False,
    ) -> None:
        self.spec, self.log, self.amodal = spec, log, amodal
        self.first_problem = len(log.problems)
        self.tasks = spec.tasks_of(available)
        self.labelled = spec.labelled(known)
        if "detect" not in self.tasks and "embed" not in self.tasks:
            self.labelled[:] = False
        self.dropped: Counter[str] = Counter()

    def truth(self, boxes: Sequence[RawBox], size_hw: tuple[int, int]) -> Truth:
        """The truth of one picture of this size."""
        kept: list[tuple[RawBox, int, tuple[float, float, float, float]]] = []
        wanted = self.spec.labelled(None) if self.spec.labels else None
        for box in boxes:
            label = self.spec.label(box.name)
            if label is None or (wanted is not None and not wanted[label]):
                self.dropped[box.name] += 1
                continue
            clipped = self._clip(box, size_hw)
            if clipped is not None:
                kept.append((box, label, clipped))
        corners = np.array([c for _, _, c in kept], np.float32).reshape(-1, 4)
        labels = np.array([label for _, label, _ in kept], np.int32)
        ignore = np.array([box.ignore for box, _, _ in kept], np.bool_)
        areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1, dtype=np.float32)
        embed = "embed" in self.tasks
        ids = [box.identity if embed else UNKNOWN for box, _, _ in kept]
        scene = self.spec.scene_label(areas[~ignore], labels[~ignore])
        if "classify" not in self.tasks or (ignore.any() and ignore.all()):
            scene = UNKNOWN  # a picture of nothing but a crowd is not one of nothing
        if not self.labelled.any():
            return empty_truth(scene)
        told = self._attributes([box for box, _, _ in kept])
        return Truth(corners, labels, np.array(ids, np.int64), ignore, scene, attributes=told)

    def _attributes(self, boxes: list[RawBox]) -> I32 | None:
        if "attributes" not in self.tasks:
            return None
        unknown = (UNKNOWN,) * len(self.spec.attributes)
        rows = [unknown if box.attributes is None else box.attributes for box in boxes]
        return np.array(rows, np.int32).reshape(-1, len(unknown))

    def _clip(
        self, box: RawBox, size_hw: tuple[int, int]
    ) -> tuple[float, float, float, float] | None:
        """The box inside the picture; None, and a note in the log, if nothing is left of it."""
        x1, y1, x2, y2 = box.xyxy
        shown = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        if not all(math.isfinite(v) for v in box.xyxy):
            self.log.add(box.file, box.line, f"{box.what} {shown} is not finite")
            return None
        if x2 <= x1 or y2 <= y1:
            self.log.add(box.file, box.line, f"{box.what} {shown} has no positive size")
            return None
        height, width = size_hw
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        if inside[2] - inside[0] < 1e-3 or inside[3] - inside[1] < 1e-3:
            what = f"{box.what} {shown} lies outside the picture of {width}x{height}"
            self.log.add(box.file, box.line, what)
            return None
        out = max(abs(a - b) for a, b in zip(inside, box.xyxy, strict=True))
        if out > TOLERANCE_PX and not self.amodal:
            what = f"{box.what} {shown} sticks {out:.0f} px out of the picture of {width}x{height}"
            self.log.add(box.file, box.line, what, "clipped")
        return inside


def empty_truth(scene: int = UNKNOWN) -> Truth:
    """A picture without boxes."""
    return Truth(
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.zeros(0, np.bool_),
        scene,
    )


def picture_size(
    store: Store, name: str, log: ProblemLog, declared_hw: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """(height, width) of a whole picture; None, and a note in the log, if it cannot be used.

    ``declared_hw``: the size that its annotation was made for. Boxes of a picture that was resized
    since, or that is stored turned (pixels are taken as stored, whatever an orientation tag says),
    would lie somewhere else.
    """
    if not store.has(name):
        log.add(store.label(name), None, "missing image")
        return None
    try:
        data = store.read(name)
    except DataError as error:
        log.add(store.label(name), None, error.message)
        return None
    reason = broken(data)
    size = None if reason else size_of(data)
    if size is None:
        log.add(store.label(name), None, reason or "not a picture that OpenCV can read")
    elif declared_hw is not None and size != declared_hw:
        made, stored = (f"{width}x{height}" for height, width in (declared_hw, size))
        log.add(store.label(name), None, f"annotated as a picture of {made}, it is {stored}")
        return None
    return size


class ImageSet(DataSet):
    """Unordered pictures of a store with their truths."""

    def __init__(
        self,
        spec: SetSpec,
        store: Store,
        items: Sequence[tuple[str, Truth]],
        builder: TruthBuilder,
    ) -> None:
        if not items:
            problems = builder.log.problems[builder.first_problem :]
            raise DataError(
                f"data set '{spec.name}' has no images in '{store.where}' that can be used"
                + (f"; the last problem: {problems[-1]}" if problems else ""),
                "check the paths in the data file",
            )
        self.name, self.weight = spec.name, spec.weight
        self.classes, self.image_classes = spec.classes, spec.image_classes
        self.attributes = spec.attributes
        self.labelled, self.tasks = builder.labelled, builder.tasks
        if "classify" in self.tasks:
            self.scene_of_class = spec.scene_of_class()
        self.dropped = dict(builder.dropped)
        self._store = store
        self._items = tuple(items)

    def __len__(self) -> int:
        return len(self._items)

    def image(self, index: int) -> U8:
        return self._store.image(self._items[index][0])

    def truth(self, index: int) -> Truth:
        return self._items[index][1]

    def file(self, index: int) -> str:
        return self._store.label(self._items[index][0])
