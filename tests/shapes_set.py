"""A data set of flat shapes on a flat ground, small enough to reason about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgemtl.data.base import UNKNOWN, DataSet, SequenceInfo, Truth
from edgemtl.records import U8

STILL = {
    "scale": (0.9, 1.1), "shift": 0.05, "flip": 0.0, "gain": 0.0, "bias": 0.0, "saturation": 0.0,
}  # fmt: skip
"""Augmentation that leaves little to chance, for runs of a few steps."""
SMALL = {
    "backbone_width": 0.35, "neck_width": 24, "embedding_dim": 8, "embedding_hidden": 16,
    "image_hidden": 32,
}  # fmt: skip
"""A network that learns the shapes in seconds."""


def train_on_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a training's data file says, it gets twelve pictures of shapes, unchecked."""
    from edgemtl.data.config import DataMix
    from edgemtl.train import loop

    data = Shapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,))
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mix)
    monkeypatch.setattr(loop, "refuse_bad_data", lambda *_: None)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """A few steps on a few pictures come out otherwise where sums are split otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def stopped_before(step: int) -> Iterator[None]:
    """Runs get Ctrl-C before they take this step, and end with it."""
    from edgemtl.train import loop

    taken = loop._Run._step

    def stopped(run: loop._Run, batches: Any) -> None:
        if run.step == step:
            raise KeyboardInterrupt
        taken(run, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            yield


class Shapes(DataSet):
    """Squares of class 0 and 1; identity = colour; scene = light or dark ground."""

    def __init__(self, n: int = 12, *, labelled: tuple[bool, ...] = (True, True)) -> None:
        self.name, self.classes, self.image_classes = "shapes", ("a", "b"), ("dark", "light")
        self.labelled = np.array(labelled)
        self.tasks = frozenset(("detect", "classify", "embed"))
        self.sequences = (SequenceInfo("shapes", 0, n, 10.0),) if n else ()
        self.weight = 1.0
        self._n = n
        self.reads = 0

    def __len__(self) -> int:
        return self._n

    def image(self, index: int) -> U8:
        self.reads += 1
        truth = self.truth(index)
        picture = np.full((48, 80, 3), 40 + 150 * truth.scene, np.uint8)
        for box, identity in zip(truth.boxes_src.astype(int), truth.identities, strict=True):
            x1, y1, x2, y2 = box
            picture[y1:y2, x1:x2] = (60 * identity % 256, 255 - 50 * identity % 256, 128)
        return picture

    def truth(self, index: int) -> Truth:
        boxes = np.array([[8, 8, 24, 24], [40, 16, 64, 40]], np.float32)
        boxes[:, 0::2] += index % 5
        return Truth(
            boxes,
            np.array([0, 1], np.int32),
            np.array([0, 1], np.int64),
            np.zeros(2, bool),
            index % 2,
        )

    def file(self, index: int) -> str:
        return f"shapes#{index}"


class ToldShapes(Shapes):
    """The same with attributes: the size of both objects, and at times the colour of one."""

    def __init__(self, n: int = 12) -> None:
        super().__init__(n)
        self.attributes = {"size": ("small", "large"), "colour": ("red", "green", "blue")}
        self.tasks |= {"attributes"}

    def truth(self, index: int) -> Truth:
        colour = 2 if index % 2 else UNKNOWN
        told = np.array([[0, UNKNOWN], [1, colour]], np.int32)
        return replace(super().truth(index), attributes=told)
