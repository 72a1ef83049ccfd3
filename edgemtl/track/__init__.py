"""The tracker: detections of one stream in, identities out. Thin over em_tracker of the C core."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgemtl import _native
from edgemtl.records import Detections, Tracks
from edgemtl.track.arrays import TrackArrays
from edgemtl.track.bytetrack import ByteTrackConfig, ByteTracker

__all__ = ["ByteTrackConfig", "ByteTracker", "Tracker", "TrackerConfig"]


@dataclass(frozen=True)
class TrackerConfig:
    """Times in seconds, lengths in object sizes (root of the area): no frame rate, no resolution.

    Scores are shares of the scale of their class in this stream, which the tracker learns: about
    what its detector gives a clear object of that class. So the same numbers serve a detector whose
    clear objects score 0.99 and one whose clear objects score 0.6, or both at once in two classes
    (labels outside 0 to 511 share one scale). The two associations follow ByteTrack (arXiv
    2110.06864), the appearance term BoT-SORT (arXiv 2206.14651), the direction term OC-SORT (arXiv
    2203.14360).
    """

    min_score: float = 0.1
    """Detections below are ignored (a plain score, not a share)."""
    strong_score: float = 0.8
    """From here on detections take part in the first association; below, in the second."""
    birth_score: float = 0.9
    """From here on an unmatched detection starts a track."""
    confirm_score: float = 1.03
    """The sum of scores that makes a track known: two clear detections, or three."""
    show_odds: float = 3.6
    """A track is reported while the odds p / (1 - p) of its mean score are at most so many times
    below those of the scale of its class."""
    lost_s: float = 2.7
    """How long an unseen track keeps its identity."""
    tentative_s: float = 0.17
    """The same before it is confirmed."""
    coast_s: float = 0.33
    """How long an unseen track is still reported, at its predicted place; less while the camera
    moves, and not at the border."""
    fade_s: float = 4.0
    """The speed of an object fades with this time constant while nobody sees it."""
    position_noise: float = 0.127
    """Standard deviation of a measured centre."""
    size_noise: float = 0.29
    """Standard deviation of a measured width; of a height 1.5 times that."""
    acceleration_noise: float = 0.435
    """Root of the spectral density of the acceleration, per s^1.5."""
    initial_speed: float = 2.5
    """Standard deviation of a new object's speed, per second."""
    shape_noise: float = 0.65
    """How much less width and height move than the centre."""
    max_distance: float = 0.66
    """Gate on the centre distance; widens with the filter's own doubt."""
    iou_weight: float = 0.75
    """Share of 1 - IoU in the cost of a place; the rest is the centre distance."""
    likelihood_weight: float = 0.45
    """Share of the filter's own likelihood of the box in the cost."""
    direction_weight: float = 0.067
    """Added to the cost of a detection straight behind the track's motion; half beside it."""
    height_weight: float = 0.28
    """Times 1 - the smaller over the larger height."""
    min_height_ratio: float = 0.45
    """Gate on the smaller over the larger height."""
    tentative_penalty: float = 0.44
    """Added to the cost of a track that is not confirmed yet: known ones choose first."""
    class_penalty: float = 0.3
    """Added to the cost of a pair of different classes."""
    appearance_weight: float = 0.25
    """Share of 1 - cosine of the embeddings in the cost, where both are known and tell apart."""
    max_cost: float = 0.735
    """Of a pair in the first association; dearer ones stay apart."""
    max_cost_second: float = 0.53
    """Of a pair in the second association: 1 - IoU."""
    camera_motion: bool = True
    """Whether the motion that all matched tracks share moves the unmatched ones too."""

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
        self._arrays = TrackArrays(capacity)

    def step(
        self,
        detections: Detections,
        pts_ns: int,
        size_hw: tuple[int, int],
        camera: NDArray[np.float64] | None = None,
    ) -> Tracks:
        """One frame at media time ``pts_ns``; the confirmed tracks seen in it.

        Embeddings are used if the tracker was made with ``embedding_dim``. ``camera``: f64 [2, 3],
        the affine map of a still point from the frame before to this one, in pixels; it takes the
        place of what the tracker guesses from the detections. Raises ValueError if the time goes
        backwards, the embeddings' width is another or the matrix is not one of finite numbers
        that zooms by at most 100 and moves by at most 1e6 pixels; equal times are allowed.
        """
        embeddings = None if self._dim is None else detections.embeddings
        if camera is not None:
            camera = np.ascontiguousarray(camera, np.float64)
            if camera.shape != (2, 3):
                raise ValueError(f"camera: expected shape [2, 3], got {list(camera.shape)}")
        n = self._core.step(
            np.ascontiguousarray(detections.boxes_src),
            np.ascontiguousarray(detections.scores),
            np.ascontiguousarray(detections.labels),
            None if embeddings is None else np.ascontiguousarray(embeddings),
            pts_ns,
            size_hw[0],
            size_hw[1],
            camera,
            *self._arrays.out,
        )
        return self._arrays.first(n)

    @property
    def refused(self) -> int:
        """Objects that found no room since the start or the last reset."""
        return self._core.refused()

    def reset(self) -> None:
        """Forget everything; ids start again from 1."""
        self._core.reset()
