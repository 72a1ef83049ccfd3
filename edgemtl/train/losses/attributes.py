"""The loss of the objects' attributes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import AttributeHeads
from edgemtl.train.distributed import total, whole
from edgemtl.train.losses.step import Step


def attribute_loss(head: AttributeHeads, step: Step) -> Tensor | None:
    """Cross entropy at the objects' points, the mean over the attributes that are known there."""
    assert step.assigned is not None
    told = step.batch.attributes[step.assigned.usable]
    features, owner = step.object_points((told >= 0).any(1))
    losses = []
    for place, logits in enumerate(head(features).values()):
        values = told[owner, place]
        known = values >= 0
        count = total(known.sum())
        if bool(count > 0):
            cross = functional.cross_entropy(logits[known], values[known], reduction="sum")
            losses.append(cross / count)
    return whole(torch.stack(losses).mean()) if losses else None
