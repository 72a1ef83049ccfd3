"""A slow, obvious twin of the tracker of the C core: one object per track, matrices, scipy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edgemtl.records import Detections
from edgemtl.track import TrackerConfig

Array = NDArray[Any]
Pair = Callable[["Track", int], float]
NEVER = 1e9


@dataclass
class Track:
    """One object. ``evidence`` and ``weight`` are sums in float32, as thresholds decide on them."""

    filter: reference.Kalman
    seen_ns: int
    label: int
    evidence: np.float32
    weight: np.float32
    score: float
    det: int
    id: int = 0
    look: Array | None = None


def _centred(box: Array) -> Array:
    x1, y1, x2, y2 = (float(v) for v in box)
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def _trust(score: float) -> float:
    return float(np.clip(1.7 - score, 0.7, 1.7))


class ReferenceTracker:
    """The same answers as edgemtl.track.Tracker, from float64 and an independent assignment."""

    def __init__(self, config: TrackerConfig, capacity: int = 1024, embeddings: bool = False):
        self.c, self.capacity, self.embeddings = config, capacity, embeddings
        shared = ("position_noise", "acceleration_noise", "initial_speed", "shape_noise")
        noise = [float(np.float32(getattr(config, name))) for name in shared]
        self.noise = (noise[0], noise[1], noise[2], noise[3])
        self.tracks: list[Track] = []
        self.next_id, self.last_ns, self.refused = 1, None, 0

    def step(self, d: Detections, now: int, size_hw: tuple[int, int]) -> list[tuple[Any, ...]]:
        """(id, box, score, label, det_index) of every confirmed track of this frame."""
        self.d, self.now = d, now
        self.measured = [_centred(box) for box in d.boxes_src]
        longest = max(self.c.lost_s, self.c.tentative_s)
        self.tracks = [t for t in self.tracks if (now - t.seen_ns) * 1e-9 <= longest]
        self._predict(now)
        strong, weak = self._usable()
        used = self._associate(self.tracks, strong, self._cost, self.c.max_cost)
        self._correct_common_motion()
        rest = [t for t in self.tracks if t.det < 0 and now - t.seen_ns <= 1_000_000_000]
        used |= self._associate(rest, weak, self._weak_cost, self.c.max_cost_second)
        for track in self.tracks:
            if track.det >= 0:
                self._update(track, track.det)
        self.tracks = [t for t in self.tracks if not self._is_over(t, size_hw)]
        self._give_birth([i for i in sorted(strong + weak) if i not in used])
        self.last_ns = now
        return [row for t in self.tracks for row in self._report(t, size_hw)]

    def _usable(self) -> tuple[list[int], list[int]]:
        strong, weak = [], []
        for i, (box, score) in enumerate(zip(self.d.boxes_src, self.d.scores, strict=True)):
            fits = np.isfinite(score) and (np.abs(box) <= 1e6).all()
            if fits and box[2] > box[0] and box[3] > box[1]:
                if score >= np.float32(self.c.split_score):
                    strong.append(i)
                elif score >= np.float32(self.c.min_score):
                    weak.append(i)
        return strong, weak

    def _predict(self, now: int) -> None:
        dt = 0.0 if self.last_ns is None else (now - self.last_ns) * 1e-9
        for track in self.tracks:
            if track.seen_ns < self.last_ns:  # unseen already: the centre slows, the sides stop
                track.filter.x[4:6] *= np.exp(-dt / 0.8)
                track.filter.x[6:8] = 0
            track.filter.predict(dt)
            track.det = -1

    def _associate(
        self, tracks: list[Track], columns: list[int], pair: Pair, limit: float
    ) -> set[int]:
        """Exact: a track may also stay alone, at ``limit``."""
        limit = float(np.float32(limit))
        n, m = len(tracks), len(columns)
        cost = np.full((n, m + n), NEVER)
        for k, track in enumerate(tracks):
            for j, i in enumerate(columns):
                value = pair(track, i)
                cost[k, j] = value if value <= limit else NEVER
            cost[k, m + k] = limit
        used = set()
        for k, j in zip(*linear_sum_assignment(cost), strict=True):
            if j < m:
                tracks[k].det = columns[j]
                used.add(columns[j])
        return used

    def _overlap(self, track: Track, i: int) -> float:
        x, y, w, h = self.measured[i]
        box = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        return float(reference.iou(track.filter.box()[None], box[None])[0, 0])

    def _cost(self, track: Track, i: int) -> float:
        x, y, w, h = track.filter.x[:4]
        m, size = self.measured[i], np.sqrt(max(w * h, 1))
        if min(h / m[3], m[3] / h) < np.float32(self.c.min_height_ratio):
            return np.inf
        distance = np.hypot(m[0] - x, m[1] - y) / size
        doubt = np.sqrt(max(track.filter.p[0, 0], track.filter.p[1, 1])) / size
        gate = min(self.c.max_distance + 2 * doubt, 3 * self.c.max_distance)
        if distance > gate:
            return np.inf
        share = float(np.float32(self.c.iou_weight))
        cost = share * (1 - self._overlap(track, i)) + (1 - share) * distance / gate
        cost += float(np.float32(self.c.class_penalty)) * (track.label != self.d.labels[i])
        if self.embeddings and self.d.embeddings is not None and track.look is not None:
            vector = self.d.embeddings[i].astype(np.float64)
            if np.isfinite(vector).all() and vector @ vector > 0.25:
                unlike = np.clip(1 - track.look @ vector / np.sqrt(vector @ vector), 0, 2)
                cost += float(np.float32(self.c.appearance_weight)) * (unlike - cost)
        return float(cost)

    def _weak_cost(self, track: Track, i: int) -> float:
        penalty = float(np.float32(self.c.class_penalty)) * (track.label != self.d.labels[i])
        return 1 - self._overlap(track, i) + penalty

    def _correct_common_motion(self) -> None:
        found = [t for t in self.tracks if t.det >= 0 and t.id]
        if len(found) >= 4:
            wrong = [self.measured[t.det][:2] - t.filter.x[:2] for t in found]
            for track in self.tracks:
                if track.det < 0:
                    track.filter.x[:2] += np.median(wrong, axis=0)

    def _update(self, track: Track, i: int) -> None:
        score = self.d.scores[i]
        track.filter.update(self.measured[i], _trust(score))
        track.evidence += score
        track.score, track.seen_ns = score, self.now
        if self.d.labels[i] == track.label:
            track.weight = min(track.weight + score, np.float32(10))
        else:
            track.weight -= score
            if track.weight < 0:
                track.label, track.weight = int(self.d.labels[i]), -track.weight
        self._learn(track, i)
        self._confirm(track)

    def _learn(self, track: Track, i: int) -> None:
        if not self.embeddings or self.d.embeddings is None:
            return
        seen = self.d.embeddings[i].astype(np.float64)
        if np.isfinite(seen).all() and seen @ seen > 0.25:
            share = 0.1 * min(float(self.d.scores[i]), 1) if track.look is not None else 1.0
            mixed = seen if track.look is None else (1 - share) * track.look + share * seen
            track.look = mixed / np.linalg.norm(mixed)

    def _confirm(self, track: Track) -> None:
        if not track.id and track.evidence >= np.float32(self.c.confirm_score):
            track.id, self.next_id = self.next_id, self.next_id + 1

    def _is_over(self, track: Track, size_hw: tuple[int, int]) -> bool:
        unseen = (self.now - track.seen_ns) * 1e-9
        if unseen <= 0:
            return False
        x, y = track.filter.x[:2]
        inside = 0 <= x <= size_hw[1] and 0 <= y <= size_hw[0]
        if not track.id:
            return unseen > self.c.tentative_s
        return unseen > self.c.lost_s * (1.0 if inside else 0.5)

    def _give_birth(self, free: list[int]) -> None:
        births = [i for i in free if self.d.scores[i] >= np.float32(self.c.birth_score)]
        room = self.capacity - len(self.tracks)
        strongest = sorted(births, key=lambda i: (-self.d.scores[i], i))[:room]
        self.refused += len(births) - len(strongest)
        for i in sorted(strongest):
            score = self.d.scores[i]
            filter_ = reference.Kalman(self.measured[i], self.noise, _trust(score))
            label = int(self.d.labels[i])
            track = Track(filter_, self.now, label, score, score, score, i)
            self._learn(track, i)
            self._confirm(track)
            self.tracks.append(track)

    def _report(self, track: Track, size_hw: tuple[int, int]) -> list[tuple[Any, ...]]:
        unseen = (self.now - track.seen_ns) * 1e-9
        if not track.id or (track.det < 0 and unseen > self.c.coast_s):
            return []
        box = np.clip(track.filter.box(), 0, [size_hw[1], size_hw[0]] * 2)
        if not (box[2] > box[0] and box[3] > box[1]):
            return []
        return [(track.id, box, track.score, track.label, track.det)]
