"""Other projects' detectors the plain way: numpy and OpenCV, nothing of the package.

Written from the papers and the exporters' documentation: YOLOX (Ge et al., arXiv 2107.08430,
section 2), YOLOv8-style heads (centre, sides and class scores by channel), ready-made N x 6 rows.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = tuple[Array, Array, Array]
"""boxes f32 [N, 4], scores f32 [N], labels [N]."""


def grid(size_hw: tuple[int, int]) -> tuple[Array, Array]:
    """Column and row of every cell [A, 2], and its stride [A]; strides 8, 16, 32, each by rows."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[: size_hw[0] // stride, : size_hw[1] // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], 1))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _corners(xywh: Array) -> Array:
    half = xywh[:, 2:] / 2
    return np.concatenate([xywh[:, :2] - half, xywh[:, :2] + half], 1).astype(np.float32)


def decode(
    kind: str, values: Array, size_hw: tuple[int, int], classes: int, low: float, grid_done: bool
) -> Rows:
    """Every row of one picture that scores at least ``low``, in the order of the anchors."""
    if kind == "n6":
        boxes, scores, labels = values[:, :4], values[:, 4], values[:, 5]
        keep = np.isfinite(scores) & (scores >= low) & (labels > -0.5) & (labels < classes - 0.5)
        return boxes[keep], scores[keep], np.rint(labels[keep]).astype(int)
    rows = values if kind == "yolox" else values.T
    front = 5 if kind == "yolox" else 4
    probs = np.where(np.isnan(rows[:, front:]), -np.inf, rows[:, front:])
    labels, scores = probs.argmax(1), probs.max(1)
    boxes = rows[:, :4]
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "yolox":
            objectness = rows[:, 4]
            scores = np.where(objectness >= low, objectness * scores, -np.inf).astype(np.float32)
            if not grid_done:
                cells, strides = grid(size_hw)
                sides = np.exp(boxes[:, 2:])
                boxes = np.concatenate([boxes[:, :2] + cells, sides], 1) * strides[:, None]
        boxes = _corners(boxes)
    keep = np.isfinite(scores) & (scores >= low)
    return boxes[keep], scores[keep], labels[keep]


def nms(rows: Rows, iou: float, most: int, across: bool = False) -> Array:
    """Rows that greedy suppression keeps, one after the other, best first."""
    boxes, scores, labels = rows
    with np.errstate(over="ignore", invalid="ignore"):
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        proper = np.isfinite(scores) & np.isfinite(boxes).all(1)
        proper &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    left = [i for i in np.argsort(-scores, kind="stable") if proper[i]]
    kept: list[int] = []
    while left and len(kept) < most:
        best, rest = left[0], np.array(left[1:], int)
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        with np.errstate(over="ignore", invalid="ignore"):
            inter = np.maximum(high - low, np.float32(0)).prod(1)
            overlap = inter / (area[best] + area[rest] - inter)
        over = overlap.astype(np.float64) > iou
        if not across:
            over &= labels[rest] == labels[best]
        left = rest[~over].tolist() if iou < 1 else rest.tolist()
    return np.array(kept, int)


def letterbox(
    image: Array, size_hw: tuple[int, int], *, rgb: bool, scale: float, centre: bool
) -> tuple[Array, tuple[float, float, int, int]]:
    """Network input f32 [1, 3, h, w] by cv2.resize, and (scale x, scale y, left, top)."""
    ratio = min(size_hw[0] / image.shape[0], size_hw[1] / image.shape[1])
    height, width = (max(1, int(side * ratio + 0.5)) for side in image.shape[:2])
    top, left = ((size_hw[0] - height) // 2, (size_hw[1] - width) // 2) if centre else (0, 0)
    canvas = np.full((*size_hw, 3), 114, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    planes = canvas[:, :, ::-1] if rgb else canvas
    tensor = np.ascontiguousarray(planes.transpose(2, 0, 1)[None]).astype(np.float32)
    place = (width / image.shape[1], height / image.shape[0], left, top)
    return tensor * np.float32(scale), place


def to_source(boxes: Array, place: tuple[float, float, int, int], image: Array) -> Array:
    """Boxes of the network's input in pixels of the picture, clipped."""
    sx, sy, left, top = place
    moved = (boxes - [left, top, left, top]) / [sx, sy, sx, sy]
    return np.clip(moved, 0, [image.shape[1], image.shape[0]] * 2)
