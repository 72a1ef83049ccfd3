"""Detections at chosen places, for tests of the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgemtl.records import Detections, Tracks
from edgemtl.track import TrackerConfig

SIZE = (480, 640)
MS = 1_000_000
SURE = replace(TrackerConfig(), confirm_score=0.0, show_odds=1e6)
"""Every track is known, and shown, from its first detection."""


def found(
    centres: ArrayLike,
    scores: Sequence[float] | None = None,
    labels: Sequence[int] | None = None,
    looks: NDArray[Any] | None = None,
    side: float = 40,
) -> Detections:
    """Square objects at these centres, in this order, with a score of 0.9."""
    at = np.asarray(centres, np.float32).reshape(-1, 2)
    n = len(at)
    return Detections(
        np.concatenate([at - side / 2, at + side / 2], 1),
        np.full(n, 0.9, np.float32) if scores is None else np.asarray(scores, np.float32),
        np.zeros(n, np.int32) if labels is None else np.asarray(labels, np.int32),
        None if looks is None else np.asarray(looks, np.float32),
    )


def by_detection(tracks: Tracks, n: int) -> list[int]:
    """The identity behind each of n detections, 0 where there is none."""
    ids = dict(zip(tracks.det_index.tolist(), tracks.track_ids.tolist(), strict=True))
    return [ids.get(i, 0) for i in range(n)]


def same(a: Tracks, b: Tracks) -> bool:
    """Whether all is equal to the last bit."""
    names = ("track_ids", "boxes_src", "scores", "labels", "det_index")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def walkers(seconds: float) -> list[tuple[float, float]]:
    """Three objects far from each other, for eight seconds."""
    return [(60 + 60 * seconds, 100), (560 - 60 * seconds, 220), (300, 300 + 20 * seconds)]
