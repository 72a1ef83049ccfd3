"""Slow, obvious twins of the C kernels: float64, one line per line of their documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[Any]
Mapping = tuple[float, float, float, float, float, float]
"""scale_x, scale_y, pad_x, pad_y, src_w, src_h."""
Noise = tuple[float, float, float, float, float, float]
"""position, width, height, acceleration, initial_speed, shape."""


def letterbox_place(
    src_hw: tuple[int, int], net_hw: tuple[int, int], top_left: bool
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest picture of the source's aspect that fits."""
    pairs = list(zip(src_hw, net_hw, strict=True))
    scale = min(n / s for s, n in pairs)
    height, width = (max(1, min(int(s * scale + 0.5), n)) for s, n in pairs)
    if top_left:
        return 0, 0, height, width
    return (net_hw[0] - height) // 2, (net_hw[1] - width) // 2, height, width


def bilinear(image: Array, height: int, width: int) -> Array:
    """f64 [height, width, C] from [H, W, C]: pixel centres at + 0.5, edges repeated, unrounded."""

    def neighbours(size: int, source: int) -> tuple[Array, Array, Array]:
        at = np.clip((np.arange(size) + 0.5) * source / size - 0.5, 0, source - 1)
        first = np.floor(at).astype(int)
        return first, np.minimum(first + 1, source - 1), at - first

    y0, y1, fy = neighbours(height, image.shape[0])
    x0, x1, fx = neighbours(width, image.shape[1])
    rows = image.astype(np.float64)
    rows = rows[y0] * (1 - fy)[:, None, None] + rows[y1] * fy[:, None, None]
    return rows[:, x0] * (1 - fx)[:, None] + rows[:, x1] * fx[:, None]


def stored(levels: Array, dtype: str, scale: float, offset: float) -> Array:
    """Pixel levels 0 to 255 as the network's input type: dtype(p * scale + offset), saturated."""
    with np.errstate(over="ignore"):
        value = levels.astype(np.float32) * np.float32(scale) + np.float32(offset)
    if dtype == "float32":
        return value
    info = np.iinfo(dtype)
    return np.clip(np.rint(value), info.min, info.max).astype(dtype)


def boxes_to_net(boxes: Array, mapping: Mapping) -> Array:
    """net = src * scale + pad."""
    sx, sy, px, py, _, _ = mapping
    return boxes.astype(np.float64) * [sx, sy, sx, sy] + [px, py, px, py]


def boxes_to_src(boxes: Array, mapping: Mapping) -> Array:
    """src = (net - pad) / scale, clipped to the source; NaN stays NaN."""
    sx, sy, px, py, w, h = mapping
    src = (boxes.astype(np.float64) - [px, py, px, py]) / [sx, sy, sx, sy]
    return np.clip(src, 0, [w, h, w, h])


def decode(
    rows: tuple[Array, Array, Array, Array | None], mapping: Mapping, min_score: float
) -> tuple[list[int], Array, Array | None]:
    """(kept row indices, their boxes in the source, their embeddings) of one frame's output."""
    boxes, scores, _, embeddings = rows
    src = boxes_to_src(boxes, mapping)
    kept = [
        i
        for i in range(len(scores))
        if np.isfinite(scores[i])
        and scores[i] >= np.float32(min_score)
        and np.isfinite(boxes[i]).all()
        and src[i, 2] > src[i, 0]
        and src[i, 3] > src[i, 1]
    ]
    if embeddings is None:
        return kept, src[kept], None
    known = np.isfinite(embeddings).all(1, keepdims=True)
    return kept, src[kept], np.where(known, embeddings, 0)[kept]


def iou(a: Array, b: Array) -> Array:
    """f64 [N, M]; 0 where a box is not finite or has no area."""
    out = np.zeros((len(a), len(b)))
    for i, one in enumerate(a.astype(np.float64)):
        for j, two in enumerate(b.astype(np.float64)):
            sides = [*(one[2:] - one[:2]), *(two[2:] - two[:2])] if _finite(one, two) else [0.0]
            if min(sides) > 0:
                common = np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])
                both = common.clip(0).prod()
                out[i, j] = both / (sides[0] * sides[1] + sides[2] * sides[3] - both)
    return out


def _finite(*arrays: Array) -> bool:
    return all(bool(np.isfinite(a).all()) for a in arrays)


def assignment(cost: Array, max_cost: float, unmatched_cost: float) -> tuple[int, float]:
    """(pairs, sum of their costs) of the best assignment.

    Finite ``unmatched_cost``: the least sum of matched costs + unmatched_cost per row alone, by a
    private extra column for each row. Infinite: the most pairs, then the least sum.
    """
    n, m = cost.shape
    allowed = np.isfinite(cost) & (cost <= max_cost)
    most = float(np.abs(cost[allowed]).max(initial=1.0))
    alone = unmatched_cost if np.isfinite(unmatched_cost) else 2 * most * (n + m + 2)
    never = 4 * (abs(alone) + most) * (n + m + 2)
    whole = np.full((n, m + n), never)
    whole[:, :m][allowed] = cost[allowed]
    whole[np.arange(n), m + np.arange(n)] = alone
    rows, columns = linear_sum_assignment(whole)
    real = columns < m
    return int(real.sum()), float(cost[rows[real], columns[real]].sum())


@dataclass
class Kalman:
    """Position and velocity of centre x, centre y, width, height in 8-dimensional matrix form.

    State order: the four positions, then the four velocities. noise: position, width, height,
    acceleration, initial_speed, shape, as em_kalman_noise. Bar-Shalom, Li and Kirubarajan 2001,
    section 6.2.2.
    """

    start: Array
    noise: Noise
    trust: float = 1.0
    x: Array = field(init=False)
    p: Array = field(init=False)

    def __post_init__(self) -> None:
        _, _, _, _, speed, shape = self.noise
        self.x = np.concatenate([np.asarray(self.start, np.float64), np.zeros(4)])
        speeds = (np.array([speed, speed, speed * shape, speed * shape]) * self.size) ** 2
        self.p = np.diag(np.concatenate([self.measured(self.trust), speeds]))

    @property
    def size(self) -> float:
        """The root of the object's area, sides of at least one pixel."""
        return float(np.sqrt(max(self.x[2], 1) * max(self.x[3], 1)))

    def measured(self, trust: float) -> Array:
        """f64 [4]: the variances of a measurement."""
        position, width, height, *_ = self.noise
        return (np.array([position, position, width, height]) * trust * self.size) ** 2

    def predict(self, dt: float) -> None:
        """x = F x, P = F P F' + Q with Q of continuous white-noise acceleration."""
        _, _, _, acceleration, _, shape = self.noise
        block = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        axes = np.diag((acceleration * self.size * np.array([1, 1, shape, shape])) ** 2)
        transition = np.kron(np.array([[1, dt], [0, 1]]), np.eye(4))
        self.x = transition @ self.x
        self.p = transition @ self.p @ transition.T + np.kron(block, axes)
        self.x[2:4] = np.maximum(self.x[2:4], 1)

    def update(self, measured: Array, trust: float = 1.0) -> None:
        """Joseph form: (I - K H) P (I - K H)' + K R K'."""
        observe = np.concatenate([np.eye(4), np.zeros((4, 4))], 1)
        r = np.diag(self.measured(trust))
        gain = self.p @ observe.T @ np.linalg.inv(observe @ self.p @ observe.T + r)
        rest = np.eye(8) - gain @ observe
        self.x = self.x + gain @ (measured - observe @ self.x)
        self.p = rest @ self.p @ rest.T + gain @ r @ gain.T

    def box(self) -> Array:
        """x1, y1, x2, y2."""
        sides = np.maximum(self.x[2:4], 1)
        return np.concatenate([self.x[:2] - sides / 2, self.x[:2] + sides / 2])
