"""Counting what a data set annotates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import UNKNOWN, DataSet, Truth
from edgemtl.data.checks.pictures import Looks
from edgemtl.data.checks.report import SetCensus
from edgemtl.data.checks.visit import visit

SMALL_PX = 8.0
_PERCENTILES = (5, 25, 50, 75, 95)


class _Count:
    """The running counts of one data set; ``sides`` are network pixels where a size is known."""

    def __init__(self, data: DataSet, looks: Looks, size_hw: tuple[int, int], zoom: float) -> None:
        self.data, self.looks, self.size_hw, self.zoom = data, looks, size_hw, zoom
        self.boxes = np.zeros(len(data.classes), np.int64)
        self.scenes = np.zeros(len(data.image_classes) + 1, np.int64)
        self.counted = self.ignored = self.without = 0
        self.identities: Counter[int] = Counter()
        self.sides: list[NDArray[np.float32]] = []
        self.beyond = 0

    def add(self, index: int, truth: Truth) -> None:
        real = ~truth.ignore
        self.counted += 1
        self.ignored += int(truth.ignore.sum())
        self.without += not real.any()
        self.boxes += np.bincount(truth.labels[real], minlength=len(self.boxes))
        self.scenes[truth.scene] += 1  # UNKNOWN is the last place
        known = truth.identities[real & (truth.identities != UNKNOWN)]
        self.identities.update(set(known.tolist()))
        if self.looks.seen[index] and real.any():
            height, width = self.looks.sizes[index]
            scale = min(self.size_hw[0] / height, self.size_hw[1] / width)
            sides = (truth.boxes_src[real, 2:] - truth.boxes_src[real, :2]) * np.float32(scale)
            self.sides.append(np.sqrt(sides.prod(1)))
            self.beyond += int(
                (sides * self.zoom > (self.size_hw[1], self.size_hw[0])).any(1).sum()
            )

    def census(self, split: str) -> SetCensus:
        data = self.data
        names = {
            known: tuple(
                name
                for name, have in zip(data.classes, data.labelled, strict=True)
                if have == known
            )
            for known in (True, False)
        }
        sides = np.concatenate([np.zeros(0, np.float32), *self.sides])
        boxes = bool({"detect", "embed"} & data.tasks)
        classify = "classify" in data.tasks
        return SetCensus(
            split=split,
            name=data.name,
            pictures=len(data),
            weight=float(data.weight),
            tasks=tuple(sorted(data.tasks)),
            labelled=names[True] if boxes else (),
            unlabelled=names[False] if boxes else (),
            sequences=len(data.sequences),
            counted=self.counted,
            looked_at=int(self.looks.seen.sum()),
            boxes={c: int(n) for c, n, known in zip(data.classes, self.boxes, data.labelled,
                                                    strict=True) if boxes and (known or n)},
            ignored=self.ignored,
            without_boxes=self.without if boxes else None,
            identities=len(self.identities),
            repeated_identities=sum(n > 1 for n in self.identities.values()),
            image_classes=dict(zip(data.image_classes, self.scenes.tolist(), strict=False))
            if classify else {},
            image_class_unknown=int(self.scenes[-1]) if classify else 0,
            sides_px=tuple(round(float(p), 1) for p in np.percentile(sides, _PERCENTILES))
            if len(sides) else (),
            below_8px=float((sides < SMALL_PX).mean()) if len(sides) else 0.0,
            beyond_input=self.beyond / len(sides) if len(sides) else 0.0,
        )  # fmt: skip


def count(
    splits: Mapping[str, Sequence[DataSet]],
    looks: Sequence[Looks],
    sizes: Sequence[tuple[int, int]],
    zoom: float,
    seconds: float,
) -> tuple[SetCensus, ...]:
    """The census of every set of every split, in their order, within so many seconds.

    ``looks`` and ``sizes`` (network input) run over all sets; ``zoom`` is the largest scale that
    augmentation gives to a training picture.
    """
    sets = [(split, data) for split, group in splits.items() for data in group]
    counts = [
        _Count(data, look, size, zoom if split == "train" else 1.0)
        for (split, data), look, size in zip(sets, looks, sizes, strict=True)
    ]

    def work(which: int, index: int) -> Truth:
        return sets[which][1].truth(index)

    lengths = [len(data) for _, data in sets]
    for which, index, truth in visit(lengths, work, seconds, "counting annotations"):
        counts[which].add(index, truth)
    return tuple(c.census(split) for (split, _), c in zip(sets, counts, strict=True))
