"""The loss of detection: which class is where, and how well its box fits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import DetectionHead
from edgemtl.train.assign import Assignment, box_iou_aligned, inside
from edgemtl.train.batches import Batch
from edgemtl.train.distributed import total, whole
from edgemtl.train.losses.step import Assigned, Step


def detection_loss(head: DetectionHead, step: Step) -> Tensor | None:
    """Both assignments; None if no picture of the batch is annotated for detection."""
    found, dense = step.assigned, step.outputs.dense
    assert found is not None
    assert dense.logits_many is not None
    if not bool(total(step.batch.detect.sum()) > 0):
        return None
    weight = class_weight(step.batch, found.points)
    sure = step.batch.confidence[found.usable]
    one, many = (
        _detection(logits.float(), found, positive.surely(sure), weight, step.config.box)
        for logits, positive in ((dense.logits_one, found.one), (dense.logits_many, found.many))
    )
    return whole(one + many)


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
) -> Tensor:
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
    loss: Tensor = (cross * weight).sum() / total(target.sum()).clamp(min=1.0)
    # early qualities are near 0 and would starve the box branch
    by = positive.quality.clamp(min=0.1)
    weights = total(by.sum())
    if bool(weights > 0):
        predicted = found.boxes[positive.image, positive.point]
        _, giou = box_iou_aligned(predicted, truth[positive.object])
        loss = loss + box_weight * ((1 - giou) * by).sum() / weights.clamp(min=1.0)
    return loss
