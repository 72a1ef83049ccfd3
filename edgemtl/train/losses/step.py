"""What the losses of one step share: the batch, the outputs, and which point answers for what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgemtl.nn.heads import anchor_points, decode_boxes
from edgemtl.nn.network import TrainingOutputs
from edgemtl.train.assign import (
    Assignment,
    assign,
    assign_by_place,
    assign_one,
    box_iou_aligned,
)
from edgemtl.train.batches import Batch
from edgemtl.train.config import LossConfig

MANY = 10
_FITTING_IOU = 0.5
_SHAKE = 0.1
_POINTS_OF_AN_OBJECT = 3  # neighbours of the selected point may be selected next time


@dataclass(frozen=True, slots=True)
class Assigned:
    """The true objects of a batch, and the points that are to answer for them.

    usable bool [G]: annotated for detection or embeddings and no ignore region; objects: their
    frame i64 [U], boxes_net f32 [U, 4] and labels i64 [U]; boxes f32 [B, A, 4]: what every point
    predicts; one, many: the points of each object in the one-to-one and the one-to-many assignment.
    Without detection there are no boxes, and all points are in ``one``.
    """

    usable: Tensor
    objects: tuple[Tensor, Tensor, Tensor]
    points: Tensor
    boxes: Tensor
    one: Assignment
    many: Assignment


@dataclass(frozen=True, slots=True)
class Step:
    """What a loss may look at; ``assigned`` is None where no head looked at points."""

    outputs: TrainingOutputs
    batch: Batch
    config: LossConfig
    assigned: Assigned | None

    def object_boxes(self, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three boxes of each object that is ``known``, as inference may see it.

        known bool [U], one for each usable object. Its own box, twice a little off, and the one
        predicted at the point that one-to-one selects (where that fits). Returns the frame i64 [P],
        boxes f32 [P, 4] in network pixels and owner i64 [P].
        """
        found = self.assigned
        assert found is not None
        frame, truth, _ = found.objects
        predicted = truth.clone()
        if found.boxes.shape[1]:
            predicted[found.one.object] = found.boxes[found.one.image, found.one.point].detach()
        fits = box_iou_aligned(predicted, truth)[0] > _FITTING_IOU
        predicted = torch.where(fits[:, None], predicted, truth)
        own = known.nonzero(as_tuple=True)[0]
        boxes = [shaken(truth[own], 1), shaken(truth[own], 2), predicted[own]]
        return frame[own].repeat(3), torch.cat(boxes), own.repeat(3)

    def object_points(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Features f32 [P, width] at up to three points of each object that is ``known``.

        known bool [U], one for each usable object. Also returns their owner i64 [P]. The point
        that one-to-one selects comes first: it is the one that inference will look at.
        """
        found, features = self.assigned, self.outputs.features
        assert found is not None
        assert features is not None
        image = torch.cat([found.one.image, found.many.image])
        point = torch.cat([found.one.point, found.many.point])
        owner = torch.cat([found.one.object, found.many.object])
        quality = torch.cat([found.one.quality + 1.0, found.many.quality])
        keep = known[owner] & (rank_within(owner, quality) < _POINTS_OF_AN_OBJECT)
        return features[image[keep], point[keep]].float(), owner[keep]


def assign_objects(outputs: TrainingOutputs, batch: Batch) -> Assigned | None:
    """Both assignments, in float32; None where no head looks at objects.

    Without detection an object's points are those where its box would be at home.
    """
    if not set(outputs.raw) - {"classify"}:
        return None
    size_hw = (int(batch.images.shape[2]), int(batch.images.shape[3]))
    points, strides = (t.to(batch.images.device) for t in anchor_points(size_hw))
    usable = ~batch.ignore & (batch.detect | batch.embed)[batch.frame]
    objects = (batch.frame[usable], batch.boxes_net[usable], batch.labels[usable])
    if "detect" not in outputs.raw:
        placed = assign_by_place((points, strides), objects, _POINTS_OF_AN_OBJECT)
        nobody = Assignment(*(getattr(placed, name)[:0] for name in Assignment.__slots__))
        return Assigned(usable, objects, points, points.new_zeros(0, 0, 4), placed, nobody)
    raw = outputs.dense.box_raw.float().transpose(1, 2)
    boxes = decode_boxes(raw, points, strides)
    assert outputs.dense.logits_many is not None
    one, many = outputs.dense.logits_one.float(), outputs.dense.logits_many.float()
    return Assigned(
        usable,
        objects,
        points,
        boxes,
        assign_one(one.sigmoid(), boxes, (points, strides), objects),
        assign(many.sigmoid(), boxes, points, objects, MANY),
    )


def shaken(boxes: Tensor, number: int) -> Tensor:
    """Boxes [P, 4] moved by up to a tenth of their sides, as a prediction may be.

    The noise is a function of the box, so that it is the same whatever process draws it.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    phases = torch.tensor([12.99, 78.23, 37.72, 93.98], device=boxes.device) * number
    noise = torch.sin(boxes.sum(1, keepdim=True) + phases)
    return boxes + noise * _SHAKE * sides


def rank_within(owner: Tensor, value: Tensor) -> Tensor:
    """i64 [P]: 0 for the largest value of each owner, 1 for the next..."""
    order = torch.argsort(value, descending=True)
    order = order[torch.argsort(owner[order], stable=True)]
    ordered = owner[order]
    start = torch.searchsorted(ordered, ordered)
    rank = torch.empty_like(owner)
    rank[order] = torch.arange(len(owner), device=owner.device) - start
    return rank
