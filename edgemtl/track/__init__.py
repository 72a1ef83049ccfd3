"""The tracker: detections of one stream in, identities out. Thin over em_tracker of the C core."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import numpy as np

from edgemtl import _native
from edgemtl.records import Detections, Tracks
from edgemtl.track.bytetrack import ByteTrackConfig, ByteTracker

__all__ = ["ByteTrackConfig", "ByteTracker", "Tracker", "TrackerConfig"]


@dataclass(frozen=True)
class TrackerConfig:
    """Times in seconds, lengths in object sizes (root of the area): no frame rate, no resolution.

    The two associations follow ByteTrack (arXiv 2110.06864), the appearance term BoT-SORT
    (arXiv 2206.14651).
    """

    min_score: float = 0.1
    """Detections below are ignored."""
    split_score: float = 0.55
    """From here on detections take part in the first association; below, in the second."""
    birth_score: float = 0.55
    """From here on an unmatched detection starts a track."""
    confirm_score: float = 2.0
    """The sum of scores that makes a track known: three good detections."""
    lost_s: float = 3.0
    """How long an unseen track keeps its identity."""
    tentative_s: float = 0.25
    """The same before it is confirmed."""
    coast_s: float = 0.0
    """How long an unseen track is still reported, at its predicted place."""
    position_noise: float = 0.2
    """Standard deviation of a measured centre or side."""
    acceleration_noise: float = 0.4
    """Root of the spectral density of the acceleration, per s^1.5."""
    initial_speed: float = 2.0
    """Standard deviation of a new object's speed, per second."""
    shape_noise: float = 0.4
    """How much less width and height move than the centre."""
    max_distance: float = 1.0
    """Gate on the centre distance; widens with the filter's own doubt."""
    iou_weight: float = 0.6
    """Share of 1 - IoU in the cost; the rest is the centre distance."""
    min_height_ratio: float = 0.5
    """Gate on the smaller over the larger height."""
    class_penalty: float = 0.3
    """Added to the cost of a pair of different classes."""
    appearance_weight: float = 0.25
    """Share of 1 - cosine of the embeddings in the cost, where both are known."""
    max_cost: float = 0.9
    max_cost_second: float = 0.6

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name}: expected a finite number from 0, got {value}")


class Tracker:
    """Follows the objects of one stream. Each instance counts its own ids, from 1."""

    def __init__(
        self,
        config: TrackerConfig = TrackerConfig(),
        *,
        capacity: int = 1024,
        embedding_dim: int | None = None,
    ) -> None:
        """``capacity``: the most tracks alive at once, lost ones included."""
        self.config = config
        self._dim = embedding_dim
        self._core = _native.Tracker(astuple(config), capacity, embedding_dim or 0)
        self._ids = np.empty(capacity, np.int64)
        self._boxes = np.empty((capacity, 4), np.float32)
        self._scores = np.empty(capacity, np.float32)
        self._labels = np.empty(capacity, np.int32)
        self._index = np.empty(capacity, np.int32)

    def step(self, detections: Detections, pts_ns: int, size_hw: tuple[int, int]) -> Tracks:
        """One frame at media time ``pts_ns``; the confirmed tracks seen in it.

        Embeddings are used if the tracker was made with ``embedding_dim``. Raises ValueError if
        the time goes backwards or the embeddings' width is another; equal times are allowed.
        """
        embeddings = None if self._dim is None else detections.embeddings
        n = self._core.step(
            np.ascontiguousarray(detections.boxes_src),
            np.ascontiguousarray(detections.scores),
            np.ascontiguousarray(detections.labels),
            None if embeddings is None else np.ascontiguousarray(embeddings),
            pts_ns,
            size_hw[0],
            size_hw[1],
            self._ids,
            self._boxes,
            self._scores,
            self._labels,
            self._index,
        )
        return Tracks(
            self._ids[:n].copy(),
            self._boxes[:n].copy(),
            self._scores[:n].copy(),
            self._labels[:n].copy(),
            self._index[:n].copy(),
        )

    @property
    def refused(self) -> int:
        """Objects that found no room since the start or the last reset."""
        return self._core.refused()

    def reset(self) -> None:
        """Forget everything; ids start again from 1."""
        self._core.reset()
