"""The parts of the tracker's plain twin: its constants, one track, and what a pair costs."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import numpy as np
import reference
from numpy.typing import NDArray

from edgemtl.records import Detections
from edgemtl.track import TrackerConfig

Array = NDArray[np.float64]

# The constants of edgemtl/native/tracker*.c, by the same names.
# tracker.h
MAX_PAIRS = 32
# tracker.c
HEIGHT_NOISE = 1.5
MOST_HITS = 10000
CLASS_MEMORY = 10.0
SURE = 0.985
COAST_CAMERA = 1.5
# tracker_motion.c
SCALE_MEMORY_S = 10.0
SCALE_PRIOR = 0.7
SCALE_PRIOR_COUNT = 2
SCALE_LEAST = 0.35
CLASSES = 512  # EM_TRACKER_CLASSES of edgemtl.h
MIN_COMMON = 6
COMMON_SIGMAS = 2.7
SD_OF_MAD = 1.4826
CAMERA_MEMORY_S = 1.0
# tracker_cost.c
GATE_SIGMAS = 3.0
GATE_MOST = 2.2
LIKELIHOOD_ZERO = 2.0
LIKELIHOOD_UNIT = 8.0
DIRECTION_HITS = 3
DIRECTION_SPEED = 0.3
DIRECTION_WAY = 0.1
EMBEDDING_KEEP = 0.9
TRUST = (1.5, 0.45, 1.7)
"""Of a score of 0, the least, the most."""
# tracker_pairs.c
WEAK_S = 2.0
AMBIGUOUS = 0.1

NEVER = 1e9


def odds(p: float) -> float:
    return p / (1 - p)


class Settings:
    """The numbers of a TrackerConfig as the C core has them: rounded to float32."""

    def __init__(self, config: TrackerConfig) -> None:
        for field, value in zip(fields(config), astuple(config), strict=True):
            setattr(self, field.name, float(np.float32(value)))
        self.noise: reference.Noise = (
            self.position_noise,
            self.size_noise,
            HEIGHT_NOISE * self.size_noise,
            self.acceleration_noise,
            self.initial_speed,
            self.shape_noise,
        )

    def __getattr__(self, name: str) -> float:  # for the type checker: all are set above
        raise AttributeError(name)


class Scales:
    """What this detector gives a clear object of a label: the mean of late, weighted by the cube.

    The weak detections get no weight; a prior stands in at first; labels beyond are one class."""

    def __init__(self) -> None:
        self.sums: dict[int | None, Array] = {}

    def _class(self, label: int) -> int | None:
        return label if label in range(CLASSES) else None

    def learn(self, scores: Array, labels: Array, dt: float) -> None:
        for sums in self.sums.values():
            sums *= math.exp(-dt / SCALE_MEMORY_S)
        classes = np.array([self._class(int(label)) for label in labels], object)
        for known in set(classes):
            s = scores[classes == known].astype(np.float64)
            s = s[(s > 0) & (s <= 1e6)]
            sums = self.sums.setdefault(known, np.zeros(2))
            sums += (s**4).sum(), (s**3).sum()

    def __getitem__(self, label: int) -> float:
        total, weight = self.sums.get(self._class(label), (0.0, 0.0))
        prior = SCALE_PRIOR_COUNT * SCALE_PRIOR**3
        return max((total + prior * SCALE_PRIOR) / (weight + prior), SCALE_LEAST)


@dataclass
class Track:
    """One object. ``evidence`` and ``weight`` are float32, as thresholds decide on them."""

    filter: reference.Kalman
    label: int
    weight: float
    """How much more score is behind the label than behind all others."""
    seen: Array
    """The centre measured last, moved with the camera since."""
    seen_ns: int = 0
    evidence: float = 0.0
    """Sum of the scores, each a share of the scale of its label, at its time."""
    hits: int = 0
    score: float = 0.0
    det: int = -1
    id: int = 0
    """0 until the evidence suffices."""
    look: Array | None = None
    """Of unit length."""

    @staticmethod
    def born(i: int, now: int, costs: Costs) -> Track:
        measured, score = costs.measured[i], costs.d.scores[i]
        filter_ = reference.Kalman(measured, costs.c.noise, costs.trust(i))
        return Track(filter_, int(costs.d.labels[i]), score, measured[:2], now)

    def follow_camera(self, a: Array) -> None:
        """p' = A p + b for points, A v for speeds, the root of A's determinant for sides."""
        turn, shift = a[:, :2], a[:, 2]
        area = abs(np.linalg.det(turn))
        self.seen = turn @ self.seen + shift
        x = self.filter.x
        x[:2], x[4:6] = turn @ x[:2] + shift, turn @ x[4:6]
        x[2:4] *= math.sqrt(area)
        x[6:8] *= math.sqrt(area)
        self.filter.p = self.filter.p * area

    def update(self, i: int, costs: Costs) -> None:
        """The filter, and a running majority vote on the class."""
        score, label = costs.d.scores[i], int(costs.d.labels[i])
        self.filter.update(costs.measured[i], costs.trust(i))
        if label == self.label:
            self.weight = min(np.float32(self.weight + score), np.float32(CLASS_MEMORY))
        else:
            self.weight = np.float32(self.weight - score)
            if self.weight < 0:
                self.label, self.weight = label, np.float32(-self.weight)

    def witness(self, i: int, now: int, costs: Costs) -> None:
        """What a detection tells beyond its place."""
        share = np.float32(costs.d.scores[i] / np.float32(costs.scale(i)))
        if costs.looks is not None and np.isfinite(costs.looks[i]).all():
            look = costs.d.embeddings[i].astype(np.float64)
            if self.look is not None:
                new = (1 - EMBEDDING_KEEP) * min(float(share), 1)
                look = (1 - new) * self.look + new * look
            self.look = look / np.linalg.norm(look)
        self.evidence = np.float32(self.evidence + share)
        self.hits += 1
        if self.hits >= MOST_HITS:
            self.hits, self.evidence = self.hits // 2, np.float32(self.evidence / np.float32(2))
        self.score, self.det = costs.d.scores[i], i
        self.seen, self.seen_ns = costs.measured[i][:2], now


class Costs:
    """The detections of a frame, and what it costs to give them to a track."""

    def __init__(self, c: Settings, d: Detections, scales: Scales, embeddings: bool) -> None:
        self.c, self.d, self.scales = c, d, scales
        with np.errstate(invalid="ignore"):
            x1, y1, x2, y2 = d.boxes_src.astype(np.float64).T
            self.measured = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
        self.looks = self._unit_looks() if embeddings and d.embeddings is not None else None
        """f64 [N, dim] of unit length; rows of NaN where unknown. None if nobody looks."""

    def _unit_looks(self) -> Array:
        looks = self.d.embeddings.astype(np.float64)
        looks[~np.isfinite(looks).all(1)] = 0
        length = np.linalg.norm(looks, axis=1, keepdims=True)
        return np.divide(looks, length, out=np.full_like(looks, np.nan), where=length > 0.5)

    def scale(self, i: int) -> float:
        """What a clear object of a detection's class is given."""
        return self.scales[int(self.d.labels[i])]

    def trust(self, i: int) -> float:
        """Of the noise of a measurement, how much it has: low scores come with loose boxes."""
        zero, least, most = TRUST
        return min(max(zero - float(self.d.scores[i]) / self.scale(i), least), most)

    def unlikeness(self, track: Track, columns: list[int]) -> Array:
        """1 - cosine; NaN where either is unknown."""
        if self.looks is None or track.look is None:
            return np.full(len(columns), np.nan)
        return np.clip(1 - self.looks[columns] @ track.look, 0, 2)

    def strong(self, track: Track, columns: list[int]) -> Array:
        """Costs in the first association, inf where a gate refuses. Lengths in object sizes."""
        c, m, x, p = self.c, self.measured[columns], track.filter.x, track.filter.p
        size = track.filter.size
        ratio = np.minimum(x[3] / m[:, 3], m[:, 3] / x[3])
        distance = np.hypot(m[:, 0] - x[0], m[:, 1] - x[1]) / size
        doubt = math.sqrt(max(p[0, 0], p[1, 1])) / size
        gate = min(c.max_distance + GATE_SIGMAS * doubt, GATE_MOST * c.max_distance)
        far = distance / gate if gate > 0 else 0 * distance
        place = c.iou_weight * (1 - self._overlap(track, columns)) + (1 - c.iou_weight) * far
        cost = (1 - c.likelihood_weight) * place
        cost += c.likelihood_weight * self._surprise(track, columns)
        cost += c.direction_weight * self._turn(track, columns)
        cost += c.height_weight * (1 - ratio)
        cost += 0.0 if track.id else c.tentative_penalty
        cost += c.class_penalty * (self.d.labels[columns] != track.label)
        return np.where((ratio >= c.min_height_ratio) & (distance <= gate), cost, np.inf)

    def weak(self, track: Track, columns: list[int]) -> Array:
        """Costs in the second: 1 - IoU, inf without an overlap."""
        shared = self._overlap(track, columns)
        cost = 1 - shared + self.c.class_penalty * (self.d.labels[columns] != track.label)
        return np.where(shared > 0, cost, np.inf)

    def _overlap(self, track: Track, columns: list[int]) -> Array:
        m, box = self.measured[columns], track.filter.box()
        low = np.maximum(m[:, :2] - m[:, 2:] / 2, box[:2])
        high = np.minimum(m[:, :2] + m[:, 2:] / 2, box[2:])
        both = np.clip(high - low, 0, None).prod(1)
        return both / ((box[2:] - box[:2]).prod() + m[:, 2:].prod(1) - both)

    def _surprise(self, track: Track, columns: list[int]) -> Array:
        """- log of the filter's likelihood of the box, up to a constant, from a zero, in units."""
        f = track.filter
        variance = np.diag(f.p)[:4] + f.measured(1.0)
        spread = math.log(max(float((variance / (f.x[2] * f.x[3])).prod()), 1e-300))
        off = (self.measured[columns] - f.x[:4]) ** 2
        q = np.divide(off, variance, out=np.zeros_like(off), where=variance > 0).sum(1)
        return (0.5 * (q + spread) + LIKELIHOOD_ZERO) / LIKELIHOOD_UNIT

    def _turn(self, track: Track, columns: list[int]) -> Array:
        """(1 - cosine) / 2 of the way to the detection and the speed, where both are clear."""
        speed, size = track.filter.x[4:6], track.filter.size
        to = self.measured[columns][:, :2] - track.seen
        fast, far = np.linalg.norm(speed), np.linalg.norm(to, axis=1)
        if track.hits < DIRECTION_HITS or fast <= DIRECTION_SPEED * size:
            return np.zeros(len(columns))
        cosine = to @ speed / np.where(far > 0, far * fast, 1)
        return np.where(far > DIRECTION_WAY * size, (1 - cosine) / 2, 0)
