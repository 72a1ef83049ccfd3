"""The loss of the objects' attributes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import AttributeHeads
from edgemtl.train.losses.step import Step


def attribute_loss(head: AttributeHeads, step: Step) -> Tensor | None:
    """Cross entropy at the objects' points, the mean over the attributes that are known there."""
    assert step.assigned is not None
    told = step.batch.attributes[step.assigned.usable]
    features, owner = step.object_points((told >= 0).any(1))
    if not len(owner):
        return None
    losses = []
    for place, logits in enumerate(head(features).values()):
        values = told[owner, place]
        known = values >= 0
        if bool(known.any()):
            losses.append(functional.cross_entropy(logits[known], values[known]))
    return torch.stack(losses).mean()
