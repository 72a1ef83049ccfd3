"""One tracked sequence as tables: identities renumbered, overlaps computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgemtl.metrics.boxes import F64

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """truth i64 [N] and track i64 [M] identities, similarity f64 [N, M]: their boxes' IoU."""

    truth: I64
    track: I64
    similarity: F64


@dataclass(frozen=True, slots=True)
class SequenceTable:
    """Frames whose identities count from 0, and how many boxes each identity has."""

    frames: tuple[TrackedFrame, ...]
    truth_counts: I64
    track_counts: I64

    @staticmethod
    def of(frames: Sequence[TrackedFrame]) -> SequenceTable:
        truth, truth_counts = _renumber([frame.truth for frame in frames])
        track, track_counts = _renumber([frame.track for frame in frames])
        renamed = tuple(
            TrackedFrame(a, b, frame.similarity)
            for a, b, frame in zip(truth, track, frames, strict=True)
        )
        return SequenceTable(renamed, truth_counts, track_counts)


def _renumber(per_frame: Sequence[I64]) -> tuple[list[I64], I64]:
    """The identities of each frame as positions in their sorted list, and their counts."""
    if not per_frame:
        return [], np.zeros(0, np.int64)
    everything = np.concatenate(per_frame)
    _, inverse, counts = np.unique(everything, return_inverse=True, return_counts=True)
    ends = np.cumsum([len(ids) for ids in per_frame])[:-1]
    return list(np.split(inverse.astype(np.int64), ends)), counts.astype(np.int64)
