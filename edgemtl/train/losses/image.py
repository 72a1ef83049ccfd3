"""The loss of the image class."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgemtl.nn.heads import ImageHead
from edgemtl.train.losses.part import Part, mean_of
from edgemtl.train.losses.step import Step


def image_loss(head: ImageHead, step: Step) -> tuple[Part] | None:
    """Cross entropy over the pictures whose class is known; of two, by their shares."""
    logits, batch = step.outputs.image_logits, step.batch
    known = batch.scenes >= 0
    if logits is None:
        return None
    chosen, share = logits[known].float(), batch.share[known]
    classes, pasted = batch.scenes[known], batch.pasted[known]
    own, other = (
        functional.cross_entropy(
            chosen, told, label_smoothing=step.config.label_smoothing, reduction="none"
        )
        for told in (classes, torch.where(pasted >= 0, pasted, classes))
    )
    return (mean_of(share * own + (1.0 - share) * other),)
