"""The losses. Each sees only what its pictures label."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import anchor_points, decode_boxes
from edgemtl.nn.network import MultiTaskNetwork, TrainingOutputs
from edgemtl.train.assign import Assignment, assign, assign_one, box_iou_aligned, inside
from edgemtl.train.batches import Batch
from edgemtl.train.config import LossConfig

MANY = 10
_EMBEDDED_POINTS = 3  # per object: neighbours of the selected point may be selected next time


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalar losses by task; a task that no picture of the batch labels is None."""

    detect: Tensor | None
    classify: Tensor | None
    embed: Tensor | None

    def items(self) -> list[tuple[str, Tensor]]:
        named = (("detect", self.detect), ("classify", self.classify), ("embed", self.embed))
        return [(name, value) for name, value in named if value is not None]


def compute_losses(
    network: MultiTaskNetwork, outputs: TrainingOutputs, batch: Batch, config: LossConfig
) -> Losses:
    """All losses of one batch, in float32."""
    size_hw = (int(batch.images.shape[2]), int(batch.images.shape[3]))
    points, strides = (t.to(batch.images.device) for t in anchor_points(size_hw))
    raw = outputs.dense.box_raw.float().transpose(1, 2)
    boxes = decode_boxes(raw, points, strides)
    usable = ~batch.ignore & batch.detect[batch.frame]
    objects = (batch.frame[usable], batch.boxes_net[usable], batch.labels[usable])
    weight = class_weight(batch, points)
    assert outputs.dense.logits_many is not None
    parts, found = [], []
    one, many = outputs.dense.logits_one.float(), outputs.dense.logits_many.float()
    for logits, positive in (
        (one, assign_one(one.sigmoid(), boxes, (points, strides), objects)),
        (many, assign(many.sigmoid(), boxes, points, objects, MANY)),
    ):
        parts.append(_detection(logits, boxes, objects, positive, weight, config.box))
        found.append(positive)
    embed = None
    if network.embed is not None:
        identities = batch.identities[usable]
        embed = _embedding(network, outputs.features, identities, found, config.temperature)
    return Losses(
        parts[0] + parts[1] if bool(batch.detect.any()) else None,
        _classification(outputs.image_logits, batch.scenes, config.label_smoothing),
        embed,
    )


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
    logits: Tensor,
    boxes: Tensor,
    objects: tuple[Tensor, Tensor, Tensor],
    positive: Assignment,
    weight: Tensor,
    box_weight: float,
) -> Tensor:
    """Class part: cross entropy with the quality as target (TOOD); box part: GIoU by quality.

    No focal weight: it would spare the half-sure duplicates that one-to-one has to silence, and
    the wrong classes of a right box.
    """
    _, truth, labels = objects
    target = torch.zeros_like(logits)
    target[positive.image, labels[positive.object], positive.point] = positive.quality
    weight = weight.clone()
    weight[positive.image, labels[positive.object], positive.point] = 1.0
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    total = target.sum().clamp(min=1.0)
    loss: Tensor = (cross * weight).sum() / total
    if len(positive.point):
        predicted = boxes[positive.image, positive.point]
        _, giou = box_iou_aligned(predicted, truth[positive.object])
        # early qualities are near 0 and would starve the box branch
        by = positive.quality.clamp(min=0.1)
        loss = loss + box_weight * ((1 - giou) * by).sum() / by.sum().clamp(min=1.0)
    return loss


def _classification(logits: Tensor | None, scenes: Tensor, smoothing: float) -> Tensor | None:
    known = scenes >= 0
    if logits is None or not bool(known.any()):
        return None
    return functional.cross_entropy(logits[known].float(), scenes[known], label_smoothing=smoothing)


def _embedding(
    network: MultiTaskNetwork,
    features: Tensor,
    identities: Tensor,
    found: list[Assignment],
    temperature: float,
) -> Tensor | None:
    """Supervised contrastive loss (arXiv 2004.11362, eq. 2) over objects with known identity."""
    image = torch.cat([found[0].image, found[1].image])
    point = torch.cat([found[0].point, found[1].point])
    owner = torch.cat([found[0].object, found[1].object])
    quality = torch.cat([found[0].quality + 1.0, found[1].quality])  # the selected point first
    keep = (identities[owner] >= 0) & (_rank_within(owner, quality) < _EMBEDDED_POINTS)
    image, point, owner = image[keep], point[keep], owner[keep]
    if len(owner) < 2:
        return None
    assert network.embed is not None
    vectors = network.embed(features[image, point].float())
    return contrastive(vectors, identities[owner], owner, temperature)


def _rank_within(owner: Tensor, value: Tensor) -> Tensor:
    """i64 [P]: 0 for the largest value of each owner, 1 for the next..."""
    order = torch.argsort(value, descending=True)
    order = order[torch.argsort(owner[order], stable=True)]
    ordered = owner[order]
    start = torch.searchsorted(ordered, ordered)
    rank = torch.empty_like(owner)
    rank[order] = torch.arange(len(owner), device=owner.device) - start
    return rank


def contrastive(
    vectors: Tensor, identities: Tensor, owner: Tensor, temperature: float
) -> Tensor | None:
    """Positives: the same identity at another object (another frame). None if there are none.

    vectors f32 [P, D] unit length; identities, owner i64 [P]. Points of one object are neither
    positive (that would be free) nor negative to each other. An identity counts as one class of
    its data set: identities of different sets are never compared, a person may be in both.
    """
    similarity = vectors @ vectors.T / temperature
    other = owner[:, None] != owner[None]
    comparable = other & ((identities[:, None] >> 32) == (identities[None] >> 32))
    same = comparable & (identities[:, None] == identities[None])
    log_all = similarity.masked_fill(~comparable, -torch.inf).logsumexp(1, keepdim=True)
    log_share = torch.where(same, similarity - log_all, 0.0)
    count = same.sum(1)
    valid = count > 0
    if not bool(valid.any()):
        return None
    mean: Tensor = -(log_share.sum(1)[valid] / count[valid]).mean()
    return mean
