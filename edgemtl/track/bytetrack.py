"""ByteTrack (arXiv 2110.06864) as its authors run it. Thin over em_bytetrack of the C core."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np

from edgemtl import _native
from edgemtl.records import Detections, Tracks
from edgemtl.track.arrays import TrackArrays

__all__ = ["ByteTrackConfig", "ByteTracker"]


@dataclass(frozen=True)
class ByteTrackConfig:
    """The names and defaults of the original: motion and life times count frames, not seconds.

    A dropped frame or another rate is another video to it; ``TrackerConfig`` knows time. Raises
    ValueError for values outside their range.
    """

    min_score: float = 0.1
    """Detections below are ignored."""
    track_thresh: float = 0.5
    """From here on detections take part in the first association; below, in the second."""
    high_thresh: float = 0.6
    """From here on an unmatched detection starts a track."""
    match_thresh: float = 0.8
    """The largest cost, 1 - IoU, of a pair in the first association."""
    track_buffer: int = 30
    """How many frames an unseen track keeps its identity (the original: 30 * fps / 30)."""
    fuse_score: bool = False
    """Let the detection's score weigh the overlap: the cost is 1 - IoU * score.

    The authors' Python code does so on MOT17, their C++ code never does.
    """
    match_predicted: bool = False
    """Compare detections with where a track is predicted to be, as the paper says.

    The reference's C++ code compares with where it was last seen; only then are its tracks met
    exactly.
    """

    def __post_init__(self) -> None:
        for name in ("min_score", "track_thresh", "high_thresh", "match_thresh"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")
        if not 0 <= self.track_buffer < 2**31:
            raise ValueError(f"track_buffer: expected 0 or more frames, got {self.track_buffer}")


class ByteTracker:
    """Follows the objects of one stream, whatever their class. Each instance counts ids from 1."""

    def __init__(
        self, config: ByteTrackConfig = ByteTrackConfig(), *, capacity: int = 1024
    ) -> None:
        """``capacity``: the most tracks alive at once, lost ones included."""
        self.config = config
        self._core = _native.ByteTrack(astuple(config), capacity)
        self._arrays = TrackArrays(capacity)

    def step(self, detections: Detections, pts_ns: int, size_hw: tuple[int, int]) -> Tracks:
        """The next frame; the tracks seen in it for the second time or later, the first frame's
        at once.

        ``pts_ns`` must not go backwards (ValueError), but motion counts frames. ``size_hw`` is not
        used: smoothed boxes may reach beyond the picture. A track's class is that of its detection.
        """
        n = self._core.step(
            np.ascontiguousarray(detections.boxes_src),
            np.ascontiguousarray(detections.scores),
            np.ascontiguousarray(detections.labels),
            pts_ns,
            *self._arrays.out,
        )
        return self._arrays.first(n)

    @property
    def refused(self) -> int:
        """Objects that found no room since the start or the last reset."""
        return self._core.refused()

    def reset(self) -> None:
        """Forget everything; frames and ids start again from 1."""
        self._core.reset()
