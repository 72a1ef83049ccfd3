"""The tracker of the C core once more, slow and plain: the algorithm, to be read.

What a track is, how it moves and what a pair costs is in tracker_pieces.py, with every constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tracker_pieces import (
    AMBIGUOUS,
    CAMERA_MEMORY_S,
    COAST_CAMERA,
    COMMON_SIGMAS,
    MAX_PAIRS,
    MIN_COMMON,
    NEVER,
    SD_OF_MAD,
    SURE,
    WEAK_S,
    Costs,
    Scales,
    Settings,
    Track,
    odds,
)

from edgemtl.records import Detections
from edgemtl.track import TrackerConfig

Array = NDArray[Any]
Row = tuple[int, Array, float, int, int]
"""id, box, score, label, det_index."""


class ReferenceTracker:
    """The same answers as edgemtl.track.Tracker, from float64 and an independent assignment."""

    def __init__(self, config: TrackerConfig, capacity: int = 1024, embeddings: bool = False):
        self.c, self.capacity, self.embeddings = Settings(config), capacity, embeddings
        self.tracks: list[Track] = []
        self.next_id, self.refused = 1, 0
        self.capped = 0
        """Pairs that MAX_PAIRS left out so far."""
        self.last_ns: int | None = None
        self.camera_speed = 0.0
        self.scales = Scales()

    def step(
        self, d: Detections, now: int, size_hw: tuple[int, int], camera: Array | None = None
    ) -> list[Row]:
        """What is reported of this frame."""
        self.now, self.size_hw = now, size_hw
        dt = 0.0 if self.last_ns is None else (now - self.last_ns) * 1e-9
        # A gap in the stream ends every identity that it outlasts, before anything can match.
        longest = max(self.c.lost_s, self.c.tentative_s)
        self.tracks = [t for t in self.tracks if self._unseen(t) <= longest]
        usable = self._usable(d)
        self.scales.learn(d.scores[usable], d.labels[usable], dt)
        self.costs = Costs(self.c, d, self.scales, self.embeddings)
        for track in self.tracks:
            self._predict(track, dt, camera)
        strong = [i for i in usable if d.scores[i] >= self.c.strong_score * self.costs.scale(i)]
        weak = [i for i in usable if i not in set(strong)]
        used = self._associate_strong(strong)
        if camera is not None:
            middle = np.array([size_hw[1] / 2, size_hw[0] / 2])
            told = np.asarray(camera, np.float64)
            self._learn_camera_speed(told[:, :2] @ middle + told[:, 2] - middle, dt)
        elif self.c.camera_motion > 0:
            self._follow_common_motion(dt)
        used |= self._associate_weak(weak)
        for track in self.tracks:
            if track.det >= 0:
                track.update(track.det, self.costs)
                self._witness(track, track.det)
        self.tracks = [t for t in self.tracks if not self._is_over(t)]
        self._give_birth([i for i in usable if i not in used])
        self.last_ns = now
        return [row for t in self.tracks for row in self._report(t)]

    def _unseen(self, track: Track) -> float:
        return (self.now - track.seen_ns) * 1e-9

    # ---- before the association ----------------------------------------------------------

    def _usable(self, d: Detections) -> list[int]:
        """Finite, near enough, with an area, and not hopeless."""
        return [
            i
            for i, (box, score) in enumerate(zip(d.boxes_src, d.scores, strict=True))
            if np.isfinite(score)
            and (np.abs(box) <= 1e6).all()
            and box[2] > box[0]
            and box[3] > box[1]
            and score >= self.c.min_score
        ]

    def _predict(self, track: Track, dt: float, camera: Array | None) -> None:
        """Fade the speed of the unseen, move with the camera, then with the own, fading speed."""
        fade_s = max(self.c.fade_s, 1e-3)
        if self.last_ns is not None and track.seen_ns < self.last_ns:
            track.filter.x[4:6] *= math.exp(-dt / fade_s)
            track.filter.x[6:8] = 0
        if camera is not None:
            track.follow_camera(np.asarray(camera, np.float64))
        way_s = fade_s * (1 - math.exp(-dt / fade_s))
        track.filter.x[0:2] -= track.filter.x[4:6] * (dt - way_s)
        track.filter.predict(dt)
        track.det = -1

    # ---- associations --------------------------------------------------------------------

    def _associate_strong(self, columns: list[int]) -> set[int]:
        """Place first; looks then change the costs of those pairs that place left possible.

        A pair may come dearer into the mix than the limit, as its looks may make it cheaper.
        """
        limit, share = self.c.max_cost, self.c.appearance_weight
        look = self.costs.looks is not None
        first = limit / max(1 - share, 0.1) if look else limit
        cost = self._candidates(self.tracks, columns, self.costs.strong, first)
        if look and cost.size:
            unlike = np.array([self.costs.unlikeness(t, columns) for t in self.tracks])
            unlike[cost == NEVER] = np.nan
            # Where two tracks look alike to a detection, its look says nothing.
            two = np.sort(np.append(unlike, np.full((2, len(columns)), np.inf), 0), 0)[:2]
            with np.errstate(invalid="ignore"):
                mute = two[1] - two[0] < AMBIGUOUS
            speaks = ~np.isnan(unlike) & ~mute
            cost[speaks] = ((1 - share) * cost + share * unlike)[speaks]
            cost[cost > limit] = NEVER
        return self._assign(self.tracks, columns, cost, limit)

    def _associate_weak(self, columns: list[int]) -> set[int]:
        """The doubtful detections only continue what was seen lately and overlaps them."""
        rest = [t for t in self.tracks if t.det < 0 and self._unseen(t) <= WEAK_S]
        cost = self._candidates(rest, columns, self.costs.weak, self.c.max_cost_second)
        return self._assign(rest, columns, cost, self.c.max_cost_second)

    def _candidates(
        self,
        tracks: list[Track],
        columns: list[int],
        pair_costs: Callable[[Track, list[int]], Array],
        limit: float,
    ) -> Array:
        """f64 [tracks, columns]: each track's cheapest MAX_PAIRS within the limit; else NEVER."""
        cost = np.full((len(tracks), len(columns)), NEVER)
        for row, track in zip(cost, tracks, strict=True):
            values = pair_costs(track, columns)
            cheapest = np.argsort(values, kind="stable")[:MAX_PAIRS]
            kept = cheapest[values[cheapest] <= limit]
            row[kept] = values[kept]
            self.capped += int((values <= limit).sum()) - len(kept)
        return cost

    def _assign(
        self, tracks: list[Track], columns: list[int], cost: Array, alone: float
    ) -> set[int]:
        """Least sum of costs, where a track without a detection costs ``alone``."""
        n, m = cost.shape
        private = np.full((n, n), NEVER)
        np.fill_diagonal(private, alone)
        used = set()
        for k, j in zip(*linear_sum_assignment(np.append(cost, private, 1)), strict=True):
            if j < m:
                tracks[k].det = columns[j]
                used.add(columns[j])
        return used

    def _follow_common_motion(self, dt: float) -> None:
        """What the known, matched tracks were all wrong by is the camera's doing.

        The median of their errors, if it is more standard errors from zero than chance allows,
        moves the unmatched tracks; its speed, smoothed, says how much the camera moves.
        """
        known = [t for t in self.tracks if t.id]
        wrong = [self.costs.measured[t.det][:2] - t.filter.x[:2] for t in known if t.det >= 0]
        shift = np.zeros(2)
        if len(wrong) >= MIN_COMMON:
            median = np.median(wrong, axis=0)
            deviation = np.median(np.abs(np.array(wrong) - median), axis=0)
            error = SD_OF_MAD * deviation / math.sqrt(len(wrong))
            shift = np.where(np.abs(median) < COMMON_SIGMAS * error, 0, median)
        self._learn_camera_speed(shift, dt)
        for track in self.tracks:
            if track.det < 0:
                track.filter.x[:2] += shift

    def _learn_camera_speed(self, shift: Array, dt: float) -> None:
        """In sizes of the known tracks a second, smoothed."""
        if dt > 0:
            known = [t.filter.size for t in self.tracks if t.id]
            size = float(np.median(known)) if known else 1.0
            speed = float(np.hypot(*shift)) / size / max(dt, 1e-3)
            self.camera_speed += (1 - math.exp(-dt / CAMERA_MEMORY_S)) * (speed - self.camera_speed)

    # ---- life and death ------------------------------------------------------------------

    def _witness(self, track: Track, i: int) -> None:
        track.witness(i, self.now, self.costs)
        if not track.id and track.evidence >= self.c.confirm_score:
            track.id, self.next_id = self.next_id, self.next_id + 1

    def _is_over(self, track: Track) -> bool:
        unseen = self._unseen(track)
        if unseen <= 0:
            return False
        if not track.id:
            return unseen > self.c.tentative_s
        x, y = track.filter.x[:2]
        inside = 0 <= x <= self.size_hw[1] and 0 <= y <= self.size_hw[0]
        return unseen > self.c.lost_s * (1.0 if inside else 0.5)

    def _give_birth(self, free: list[int]) -> None:
        """Every clear detection left over starts a track; without room, the strongest do."""
        scores = self.costs.d.scores
        births = [i for i in free if scores[i] >= self.c.birth_score * self.costs.scale(i)]
        room = self.capacity - len(self.tracks)
        strongest = sorted(births, key=lambda i: (-scores[i], i))[:room]
        self.refused += len(births) - len(strongest)
        for i in sorted(strongest):
            track = Track.born(i, self.now, self.costs)
            self._witness(track, i)
            self.tracks.append(track)

    def _report(self, track: Track) -> list[Row]:
        """Known, credible, and seen in this frame or a moment ago well inside the picture."""
        scale = self.scales[track.label]
        mean = float(track.evidence) / track.hits * scale
        credible = odds(min(mean, 0.995)) * self.c.show_odds >= odds(min(scale, SURE))
        if not track.id or not credible:
            return []
        box, limits = track.filter.box(), np.array([self.size_hw[1], self.size_hw[0]] * 2)
        if track.det < 0:
            inside = (box[:2] > 0).all() and (box[2:] < limits[2:]).all()
            longest = self.c.coast_s / (1 + COAST_CAMERA * self.camera_speed)
            if not inside or self._unseen(track) > longest:
                return []
        box = np.clip(box, 0, limits)
        if not (box[2] > box[0] and box[3] > box[1]):
            return []
        return [(track.id, box, float(track.score), track.label, track.det)]
