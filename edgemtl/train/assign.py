"""Assignment of anchor points to objects: many for learning, one for inference without NMS.

One-to-many is task-aligned (TOOD, arXiv 2108.07755, section 3.3): the alignment of a point with an
object is t = s^alpha * IoU^beta, s its score for the object's class; the best points are positive.

One-to-one needs a winner that does not change from step to step: neighbours regress boxes of the
same quality, and a target that jumps between them teaches all of them a low score, which leaves
duplicates behind. So its rank is a fixed geometric prior (the cell at the centre, on the level that
fits the size) times s^alpha * IoU: the prior breaks the tie, the score keeps the winner, the IoU
lets an occluded object move it. Prior and product as in POTO (arXiv 2012.03544, section 3.2), the
score's part as in OneNet (arXiv 2012.05780).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgemtl.nn.heads import STRIDES

ALPHA, BETA = 0.5, 6.0
ONE_ALPHA = 0.3
_CENTRE_SIGMA = 0.7  # of the centre prior, in cells
_FITTING_CELLS = 5.0  # an object of this many cells a side is at home on a level
_CANDIDATES = 5  # of one object; more objects never meet in one cell
_IOU_FLOOR = 0.1  # lets the prior decide before boxes are learned
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Assignment:
    """P positive points: image, point and object i64 [P]; quality f32 [P], the target score."""

    image: Tensor
    point: Tensor
    object: Tensor
    quality: Tensor

    def within(self, pictures: Tensor) -> Assignment:
        """Those of the ``pictures`` bool [B] alone."""
        keep = pictures[self.image]
        return Assignment(self.image[keep], self.point[keep], self.object[keep], self.quality[keep])

    def surely(self, confidence: Tensor) -> Assignment:
        """The same, with qualities by the ``confidence`` f32 [objects] in each object."""
        quality = self.quality * confidence[self.object]
        return Assignment(self.image, self.point, self.object, quality)


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


@torch.no_grad()
def assign_one(
    scores: Tensor,
    boxes_net: Tensor,
    anchors: tuple[Tensor, Tensor],
    objects: tuple[Tensor, Tensor, Tensor],
) -> Assignment:
    """The one positive point of each object, and its IoU as quality; no point serves two objects.

    As :func:`assign`; ``anchors`` are points f32 [A, 2] and strides f32 [A].
    """
    frame, truth, labels = objects
    if not len(frame):
        none = frame.new_zeros(0)
        return Assignment(none, none, none, boxes_net.new_zeros(0))
    points, _ = anchors
    iou = box_iou_aligned(boxes_net[frame], truth[:, None])[0]
    rank = prior(*anchors, truth) * scores[frame, labels].pow(ONE_ALPHA) * (iou + _IOU_FLOOR)
    value, index = rank.topk(min(_CANDIDATES, len(points)), dim=1)
    chosen = _one_each(value.tolist(), index.tolist(), frame.tolist())
    which = torch.tensor([g for g, _ in chosen], dtype=torch.long, device=frame.device)
    point = torch.tensor([a for _, a in chosen], dtype=torch.long, device=frame.device)
    return Assignment(frame[which], point, which, iou[which, point])


@torch.no_grad()
def assign_by_place(
    anchors: tuple[Tensor, Tensor], objects: tuple[Tensor, Tensor, Tensor], top: int
) -> Assignment:
    """``top`` points of each object by the prior alone, where no boxes are predicted.

    As :func:`assign_one`; the prior is the quality. A contested point goes to its best object.
    """
    frame, truth, _ = objects
    if not len(frame):
        none = frame.new_zeros(0)
        return Assignment(none, none, none, truth.new_zeros(0))
    rank = prior(*anchors, truth)
    value, index = rank.topk(min(top, rank.shape[1]), dim=1)
    chosen = torch.zeros_like(rank, dtype=torch.bool).scatter_(1, index, value > 0)
    chosen &= _owner(rank, chosen, frame, int(frame.max()) + 1)
    which, point = chosen.nonzero(as_tuple=True)
    return Assignment(frame[which], point, which, rank[which, point])


def prior(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """f32 [G, A]: how well cells [A] suit boxes [G, 4] by place and level; 0 outside the box."""
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)
    cells = (points[None] - centre[:, None]).norm(dim=-1) / strides
    octaves = torch.log2(sides.prod(1).sqrt()[:, None] / (_FITTING_CELLS * strides))
    fit = (-(cells**2) / (2 * _CENTRE_SIGMA**2) - octaves**2).clamp(min=-60.0)
    suits: Tensor = fit.exp() * inside(points, boxes)
    return suits


def _one_each(
    value: list[list[float]], index: list[list[int]], frame: list[int]
) -> list[tuple[int, int]]:
    """(object, point) pairs, the best ranked first; who comes too late takes his next candidate."""
    ranked = sorted(
        ((v, g, a) for g, row in enumerate(value) for v, a in zip(row, index[g], strict=True)),
        key=lambda entry: -entry[0],
    )
    served: set[int] = set()
    taken: set[tuple[int, int]] = set()
    pairs = []
    for v, g, a in ranked:
        if v > 0 and g not in served and (frame[g], a) not in taken:
            served.add(g)
            taken.add((frame[g], a))
            pairs.append((g, a))
    return sorted(pairs)
