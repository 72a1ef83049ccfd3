"""The loss of detection: which class is where, and how well its box fits."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import DetectionHead
from edgemtl.train.assign import Assignment, box_iou_aligned, inside
from edgemtl.train.batches import Batch
from edgemtl.train.losses.part import Part
from edgemtl.train.losses.step import Assigned, Step


def detection_loss(head: DetectionHead, step: Step) -> tuple[Part, ...] | None:
    """Both assignments: of each, the classes and the boxes."""
    if step.assigned is None:
        return None
    found, dense = step.assigned, step.outputs.dense
    assert dense.logits_many is not None
    weight = class_weight(step.batch, found.points)
    sure = step.batch.confidence[found.usable]
    one, many = (
        _detection(logits.float(), found, positive.surely(sure), weight, step.config.box)
        for logits, positive in (
            # identities alone may be known of some objects of a picture
            (dense.logits_one, found.one.within(step.batch.detect)),
            (dense.logits_many, found.many.within(step.batch.detect)),
        )
    )
    labelled = bool(step.batch.detect.any())
    return tuple(replace(part, labelled=labelled) for part in (*one, *many))


def class_weight(batch: Batch, points: Tensor) -> Tensor:
    """f32 [B, C, A]: 0 where a class is not labelled, and within ignore regions."""
    known = (batch.labelled & batch.detect[:, None]).float()
    weight = known[:, :, None].expand(-1, -1, len(points)).clone()
    regions = batch.ignore.nonzero(as_tuple=True)[0]
    for region, covered in zip(
        regions.tolist(), inside(points, batch.boxes_net[regions]), strict=True
    ):
        # a region says what it hides: other classes are still wrong there
        label = int(batch.labels[region])
        hidden = slice(None) if label < 0 else slice(label, label + 1)
        weight[batch.frame[region], hidden, covered] = 0.0
    return weight


def _detection(
    logits: Tensor, found: Assigned, positive: Assignment, weight: Tensor, box_weight: float
) -> tuple[Part, Part]:
    """Class part: cross entropy with the quality as target (TOOD); box part: GIoU by quality.

    No focal weight: it would spare the half-sure duplicates that one-to-one has to silence, and
    the wrong classes of a right box.
    """
    _, truth, labels = found.objects
    target = torch.zeros_like(logits)
    target[positive.image, labels[positive.object], positive.point] = positive.quality
    weight = weight.clone()
    weight[positive.image, labels[positive.object], positive.point] = 1.0
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    predicted = found.boxes[positive.image, positive.point]
    _, giou = box_iou_aligned(predicted, truth[positive.object])
    # early qualities are near 0 and would starve the box branch
    by = positive.quality.clamp(min=0.1)
    return (
        Part((cross * weight).sum(), target.sum()),
        Part(((1 - giou) * by).sum(), by.sum(), box_weight),
    )
