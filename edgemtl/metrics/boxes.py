"""Overlap of boxes in float64, as the reference implementations compute it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)


def as_boxes(name: str, boxes: NDArray[Any]) -> F64:
    """``boxes`` [N, 4] xyxy as float64. Raises ValueError for another shape, NaN or infinity."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name}: expected boxes [N, 4], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: row {int(np.argwhere(~np.isfinite(array))[0, 0])} is not finite")
    return array


def areas(boxes: F64) -> F64:
    """Areas [N] of xyxy boxes; negative sides are not corrected."""
    area: F64 = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def intersections(a: F64, b: F64) -> F64:
    """Intersection areas [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    product: F64 = sides[..., 0] * sides[..., 1]
    return product


def iou(a: F64, b: F64) -> F64:
    """Intersection over union [N, M]; 0 wherever a box has no area."""
    shared = intersections(a, b)
    area_a, area_b = areas(a), areas(b)
    union = area_a[:, None] + area_b[None] - shared
    usable = (area_a > _EPS)[:, None] & (area_b > _EPS)[None] & (union > _EPS)
    return np.divide(shared, union, out=np.zeros_like(shared), where=usable)


def covered(a: F64, regions: F64) -> F64:
    """Share of each box of ``a`` [N, M] that lies in each region; 0 for a box without area."""
    shared = intersections(a, regions)
    area = np.broadcast_to(areas(a)[:, None], shared.shape)
    return np.divide(shared, area, out=np.zeros_like(shared), where=area > _EPS)
