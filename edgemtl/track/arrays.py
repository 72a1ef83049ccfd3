"""What a tracker of the C core writes its tracks into, made once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.records import Tracks


class TrackArrays:
    """Room for ``capacity`` tracks; ``out`` are the arrays in the order of the core's arguments."""

    def __init__(self, capacity: int) -> None:
        self._ids = np.empty(capacity, np.int64)
        self._boxes = np.empty((capacity, 4), np.float32)
        self._scores = np.empty(capacity, np.float32)
        self._labels = np.empty(capacity, np.int32)
        self._index = np.empty(capacity, np.int32)
        self.out: tuple[NDArray[Any], ...] = (
            self._ids,
            self._boxes,
            self._scores,
            self._labels,
            self._index,
        )

    def first(self, n: int) -> Tracks:
        """Copies of the first ``n`` tracks."""
        return Tracks(
            self._ids[:n].copy(),
            self._boxes[:n].copy(),
            self._scores[:n].copy(),
            self._labels[:n].copy(),
            self._index[:n].copy(),
        )
