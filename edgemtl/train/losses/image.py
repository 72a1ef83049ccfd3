"""The loss of the image class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from edgemtl.nn.heads import ImageHead
from edgemtl.train.distributed import total, whole
from edgemtl.train.losses.step import Step


def image_loss(head: ImageHead, step: Step) -> Tensor | None:
    """Cross entropy over the pictures whose class is known."""
    logits, scenes = step.outputs.image_logits, step.batch.scenes
    known = scenes >= 0
    count = total(known.sum())
    if logits is None or not bool(count > 0):
        return None
    smoothing = step.config.label_smoothing
    cross = functional.cross_entropy(
        logits[known].float(), scenes[known], label_smoothing=smoothing, reduction="sum"
    )
    return whole(cross / count)
