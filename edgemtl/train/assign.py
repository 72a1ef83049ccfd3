"""Task-aligned assignment of anchor points to objects (TOOD, arXiv 2108.07755, section 3.3).

The alignment of a point with an object is t = s^alpha * IoU^beta, s its score for the object's
class. One-to-many takes the ten best points of an object, one-to-one the best; both rank alike
(YOLOv10, arXiv 2405.14458, section 3.1), so the second learns from what the first improves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgemtl.nn.heads import STRIDES

ALPHA, BETA = 0.5, 6.0
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Assignment:
    """P positive points: image, point and object i64 [P]; quality f32 [P], the target score."""

    image: Tensor
    point: Tensor
    object: Tensor
    quality: Tensor


def box_iou_aligned(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (arXiv 1902.09630) of boxes pair by pair, [..., 4] -> [...]."""
    lower, upper = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (upper - lower).clamp(min=0).prod(-1)
    union = _area(a) + _area(b) - overlap
    iou = overlap / union.clamp(min=_TINY)
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = (high - low).clamp(min=0).prod(-1).clamp(min=_TINY)
    return iou, iou - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def inside(points: Tensor, boxes: Tensor) -> Tensor:
    """bool [G, A]: points [A, 2] in boxes [G, 4], each grown until a cell centre must fall in."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=STRIDES[0] / 2 + 0.01)
    near: Tensor = ((points[None] - centre[:, None]).abs() < half[:, None]).all(-1)
    return near


@torch.no_grad()
def assign(
    scores: Tensor,
    boxes_net: Tensor,
    points: Tensor,
    objects: tuple[Tensor, Tensor, Tensor],
    top: int,
) -> Assignment:
    """Positive points of a batch.

    scores f32 [B, C, A] after the sigmoid and boxes_net f32 [B, A, 4], as predicted; points
    f32 [A, 2]; objects (frame i64 [G], boxes f32 [G, 4], labels i64 [G]), without ignore regions;
    ``top`` points per object. A point that several objects claim goes to the largest IoU.
    """
    frame, truth, labels = objects
    if not len(frame):
        none = frame.new_zeros(0)
        return Assignment(none, none, none, boxes_net.new_zeros(0))
    allowed = inside(points, truth)
    iou = box_iou_aligned(boxes_net[frame], truth[:, None])[0] * allowed
    metric = scores[frame, labels].pow(ALPHA) * iou.pow(BETA)
    # before anything is learned all alignments vanish: then the centre decides
    centre = (truth[:, :2] + truth[:, 2:]) / 2
    distance = (points[None] - centre[:, None]).norm(dim=-1)
    ranked = (metric + _TINY / (1 + distance)) * allowed
    value, index = ranked.topk(min(top, len(points)), dim=1)
    chosen = torch.zeros_like(allowed).scatter_(1, index, value > 0)
    chosen &= _owner(iou + ranked * _TINY, chosen, frame, len(boxes_net))
    # target: alignment, rescaled so that an object's best point gets its best IoU
    kept = metric * chosen
    best = kept.amax(1, keepdim=True).clamp(min=_TINY)
    quality = kept / best * (iou * chosen).amax(1, keepdim=True)
    which, point = chosen.nonzero(as_tuple=True)
    return Assignment(frame[which], point, which, quality[which, point])


def _owner(preference: Tensor, chosen: Tensor, frame: Tensor, n_images: int) -> Tensor:
    """bool [G, A]: of the objects of one picture that claim a point, the preferred one."""
    value = torch.where(chosen, preference, preference.new_full((), -1.0))
    best = value.new_full((n_images, value.shape[1]), -1.0)
    best.scatter_reduce_(0, frame[:, None].expand_as(value), value, "amax")
    owner: Tensor = value >= best[frame]
    return owner
