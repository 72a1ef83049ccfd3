"""A slow, obvious ByteTrack (arXiv 2110.06864): 8 x 8 matrices, lists of tracks, scipy.

Written from the paper's algorithm 1 and the filter of DeepSORT (arXiv 1703.07402, section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edgemtl.records import Detections
from edgemtl.track import ByteTrackConfig

Array = NDArray[Any]
MOVE = np.eye(8) + np.eye(8, k=4)
SEE = np.eye(4, 8)
SHARE = np.array([1 / 20] * 4 + [1 / 160] * 4)
"""Standard deviations in heights: cx, cy, aspect, h and their speeds; those of aspect are fixed."""


def _spread(height: float, factors: Array, aspect: tuple[float, ...]) -> Array:
    """A diagonal covariance: ``factors`` heights, and ``aspect`` at the places of the aspect."""
    sd = factors * height
    sd[2::4] = aspect
    return np.diag(sd**2)


@dataclass(eq=False)
class Track:
    """``state``: "fresh" until its second detection, "tracked", "lost" or "gone"."""

    mean: Array
    covariance: Array
    id: int
    born: int
    state: str
    seen: int = 0
    score: float = 0.0
    label: int = 0
    det: int = -1
    box: Array | None = None

    def predict(self) -> None:
        if self.state == "lost":
            self.mean[7] = 0.0
        noise = _spread(self.mean[3], SHARE, (1e-2, 1e-5))
        self.mean = MOVE @ self.mean
        self.covariance = MOVE @ self.covariance @ MOVE.T + noise

    def update(self, measured: Array) -> None:
        noise = _spread(self.mean[3], SHARE[:4], (1e-1,))
        inner = SEE @ self.covariance @ SEE.T + noise
        gain = np.linalg.solve(inner, SEE @ self.covariance).T
        self.mean = self.mean + gain @ (measured - SEE @ self.mean)
        self.covariance = self.covariance - gain @ inner @ gain.T

    def place(self) -> None:
        cx, cy, aspect, h = self.mean[:4]
        self.box = np.array([cx - aspect * h / 2, cy - h / 2, cx + aspect * h / 2, cy + h / 2])


def _measured(box: Array) -> Array:
    x1, y1, x2, y2 = (float(v) for v in box)
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1])


def _iou(a: Array, b: Array) -> float:
    """Of boxes in whole pixels: one from x1 to x2 is x2 - x1 + 1 wide, as in the original."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return float(w * h / (sum(areas) - w * h))


def _assign(cost: Array, limit: float) -> list[tuple[int, int]]:
    """Least sum of costs with limit / 2 for each row and each column that stays alone."""
    n, m = cost.shape
    square = np.full((n + m, n + m), limit / 2)
    square[:n, :m] = cost
    square[n:, m:] = 0.0
    rows, columns = linear_sum_assignment(square)
    return [(i, j) for i, j in zip(rows, columns, strict=True) if i < n and j < m]


class ReferenceByteTracker:
    """The same answers as edgemtl.track.ByteTracker."""

    def __init__(self, config: ByteTrackConfig, capacity: int = 10**9) -> None:
        self.c, self.capacity = config, capacity
        self.tracks: list[Track] = []
        self.frame, self.next_id, self.refused = 0, 1, 0

    def step(self, d: Detections) -> list[tuple[Any, ...]]:
        """(id, box, score, label, det_index) of every track of this frame."""
        self.frame += 1
        self.d, self.boxes = d, d.boxes_src.astype(float)
        high, low = self._sorted_out()
        for track in self.tracks:
            track.det = -1
            if track.state != "fresh":
                track.predict()
                if self.c.match_predicted:
                    track.place()
        limit, fuse = float(np.float32(self.c.match_thresh)), self.c.fuse_score
        high = self._associate(("tracked", "lost"), high, limit, fuse)
        self._associate(("tracked",), low, 0.5, False)
        high = self._associate(("fresh",), high, 0.7, fuse)
        self._end_unseen()
        self._give_birth(high)
        self._drop_doubles()
        return [(t.id, t.box, t.score, t.label, t.det) for t in self.tracks if t.state == "tracked"]

    def _sorted_out(self) -> tuple[list[int], list[int]]:
        high, low = [], []
        for i, (box, score) in enumerate(zip(self.boxes, self.d.scores, strict=True)):
            fits = np.isfinite(score) and (np.abs(box) <= 1e6).all()
            if fits and box[2] > box[0] and box[3] > box[1]:
                if score >= np.float32(self.c.track_thresh):
                    high.append(i)
                elif score >= np.float32(self.c.min_score):
                    low.append(i)
        return high, low

    def _associate(
        self, states: tuple[str, ...], found: list[int], limit: float, fuse: bool
    ) -> list[int]:
        """Match unseen tracks of these states with detections; those that are left over."""
        tracks = [t for t in self.tracks if t.state in states and t.det < 0]
        cost = np.ones((len(tracks), len(found)))
        for row, track in enumerate(tracks):
            for column, i in enumerate(found):
                weight = float(self.d.scores[i]) if fuse else 1.0
                cost[row, column] = 1 - _iou(track.box, self.boxes[i]) * weight
        pairs = _assign(cost, limit)
        for row, column in pairs:
            tracks[row].update(_measured(self.boxes[found[column]]))
            tracks[row].state = "tracked"
            self._note(tracks[row], found[column])
        used = {column for _, column in pairs}
        return [i for column, i in enumerate(found) if column not in used]

    def _note(self, track: Track, i: int) -> None:
        track.det, track.seen = i, self.frame
        track.score, track.label = float(self.d.scores[i]), int(self.d.labels[i])
        track.place()

    def _end_unseen(self) -> None:
        for track in self.tracks:
            if track.det < 0:
                over = track.state == "fresh" or self.frame - track.seen > self.c.track_buffer
                track.state = "gone" if over else "lost"
        self.tracks = [t for t in self.tracks if t.state != "gone"]

    def _give_birth(self, found: list[int]) -> None:
        wanted = [i for i in found if self.d.scores[i] >= np.float32(self.c.high_thresh)]
        best = sorted(wanted, key=lambda i: -self.d.scores[i])[: self.capacity - len(self.tracks)]
        self.refused += len(wanted) - len(best)
        for i in sorted(best):
            seen = _measured(self.boxes[i])
            spread = _spread(seen[3], SHARE * ([2] * 4 + [10] * 4), (1e-2, 1e-5))
            state = "tracked" if self.frame == 1 else "fresh"
            self.tracks.append(
                Track(np.append(seen, np.zeros(4)), spread, self.next_id, self.frame, state)
            )
            self._note(self.tracks[-1], i)
            self.next_id += 1

    def _drop_doubles(self) -> None:
        double = set()
        lost = [t for t in self.tracks if t.state == "lost"]
        for seen in [t for t in self.tracks if t.state != "lost"]:
            for other in lost:
                if 1 - _iou(seen.box, other.box) < 0.15:
                    longer = seen.seen - seen.born > other.seen - other.born
                    double.add(other.id if longer else seen.id)
        self.tracks = [t for t in self.tracks if t.id not in double]
