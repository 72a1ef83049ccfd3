"""The loss of the image class."""

from __future__ import annotations

from torch.nn import functional

from edgemtl.nn.heads import ImageHead
from edgemtl.train.losses.part import Part, mean_of
from edgemtl.train.losses.step import Step


def image_loss(head: ImageHead, step: Step) -> tuple[Part] | None:
    """Cross entropy over the pictures whose class is known."""
    logits, scenes = step.outputs.image_logits, step.batch.scenes
    known = scenes >= 0
    if logits is None:
        return None
    smoothing, chosen = step.config.label_smoothing, logits[known].float()
    cross = functional.cross_entropy(
        chosen, scenes[known], label_smoothing=smoothing, reduction="none"
    )
    return (mean_of(cross),)
