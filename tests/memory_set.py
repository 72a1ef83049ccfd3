"""A data set of given pictures and truths, in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemtl.data.base import UNKNOWN, DataSet, SequenceInfo, Task, Truth
from edgemtl.records import U8


def truth(
    *boxes: tuple[tuple[float, float, float, float], int],
    ids: Sequence[int] | None = None,
    ignore: Sequence[bool] | None = None,
    scene: int = UNKNOWN,
) -> Truth:
    """(box, label) pairs as a Truth."""
    n = len(boxes)
    return Truth(
        np.array([box for box, _ in boxes], np.float32).reshape(-1, 4),
        np.array([label for _, label in boxes], np.int32),
        np.full(n, UNKNOWN, np.int64) if ids is None else np.array(ids, np.int64),
        np.zeros(n, bool) if ignore is None else np.array(ignore, bool),
        scene,
    )


class MemorySet(DataSet):
    """Pictures with truths; named ``files``, or ``<name>/<number>``; a video if ``video``."""

    def __init__(
        self,
        name: str,
        pictures: Sequence[U8],
        truths: Sequence[Truth] | None = None,
        *,
        files: Sequence[str] | None = None,
        video: bool = False,
        classes: tuple[str, ...] = ("a", "b"),
        image_classes: tuple[str, ...] = (),
        labelled: tuple[bool, ...] | None = None,
        tasks: Sequence[Task] = ("detect",),
    ) -> None:
        self.name, self.classes, self.image_classes = name, classes, image_classes
        self.labelled = np.array(labelled or (True,) * len(classes))
        self.tasks = frozenset(tasks)
        self.sequences = (SequenceInfo(name, 0, len(pictures), 10.0),) if video else ()
        self.weight = 1.0
        self._pictures = list(pictures)
        self.truths = list(truths) if truths is not None else [truth()] * len(pictures)
        self.files = list(files or (f"{name}/{k}" for k in range(len(pictures))))

    def __len__(self) -> int:
        return len(self._pictures)

    def image(self, index: int) -> U8:
        return self._pictures[index]

    def truth(self, index: int) -> Truth:
        return self.truths[index]

    def file(self, index: int) -> str:
        return self.files[index]


def scenery(seed: int, size_hw: tuple[int, int] = (60, 80)) -> U8:
    """A smooth random picture."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    size = (size_hw[1], size_hw[0])
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.uint8)
