"""What a network says of an object frame by frame, gathered over the life of its track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgemtl.records import F32, Detections, Tracks

_MOST_TRACKS = 4096


class AttributeMemory:
    """The mean of each attribute's probabilities over a track's detections, weighted by score.

    A mean, not a product: errors in one frame and in the next are the same error.
    """

    def __init__(self) -> None:
        self._sums: dict[int, dict[str, F32]] = {}

    def add(self, tracks: Tracks, found: Detections) -> Tracks:
        """``tracks`` with their attributes; one without any detection yet has equal shares."""
        if not found.attributes:
            return tracks
        for track_id, k in zip(tracks.track_ids.tolist(), tracks.det_index.tolist(), strict=True):
            sums = self._sums.pop(track_id, {})  # the ones seen last stand last
            for name, probs in found.attributes.items():
                had = sums.get(name, np.zeros(probs.shape[1], np.float32))
                sums[name] = had + found.scores[k] * probs[k] if k >= 0 else had
            self._sums[track_id] = sums
        while len(self._sums) > max(_MOST_TRACKS, len(tracks)):
            del self._sums[next(iter(self._sums))]
        return replace(tracks, attributes=self._means(tracks, found.attributes))

    def _means(self, tracks: Tracks, attributes: Mapping[str, F32]) -> dict[str, F32]:
        means = {}
        for name, probs in attributes.items():
            rows = np.zeros((len(tracks), probs.shape[1]), np.float32)
            for k, track_id in enumerate(tracks.track_ids.tolist()):
                rows[k] = self._sums[track_id][name]
            total = rows.sum(1, keepdims=True)
            even = np.float32(1 / max(1, probs.shape[1]))
            means[name] = np.where(total > 0, rows / np.maximum(total, 1e-12), even)
        return means


def cut(found: Detections, tracks: Tracks, reported: int) -> tuple[Detections, Tracks]:
    """Report the first ``reported`` detections (they are sorted by score); a track whose detection
    was too weak to be reported has none."""
    if reported == len(found):
        return found, tracks
    index = np.where(tracks.det_index < reported, tracks.det_index, -1).astype(np.int32)
    return found.where(np.arange(len(found)) < reported), replace(tracks, det_index=index)


def no_tracks() -> Tracks:
    """Of a frame in which nothing can be tracked."""
    none = np.zeros(0, np.int32)
    return Tracks(
        np.zeros(0, np.int64),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        none,
        none.copy(),
    )
