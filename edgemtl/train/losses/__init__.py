"""The losses, one file each; each sees only what its pictures label.

A new task is a file here and a line in LOSSES. Of several processes (train/distributed.py) each
computes its own share: what a loss is divided by is counted over all of them (``total``), and all
come to hold the value of the whole batch (``whole``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from edgemtl.nn.heads import (
    AttributeHeads,
    DetectionHead,
    EmbeddingHead,
    GridEmbeddingHead,
    Head,
    ImageHead,
)
from edgemtl.nn.network import MultiTaskNetwork, TrainingOutputs
from edgemtl.train.batches import Batch
from edgemtl.train.config import LossConfig
from edgemtl.train.losses.attributes import attribute_loss
from edgemtl.train.losses.detect import class_weight, detection_loss
from edgemtl.train.losses.embed import contrastive, embedding_loss
from edgemtl.train.losses.image import image_loss
from edgemtl.train.losses.step import MANY, Step, assign_objects

LossFunction = Callable[[Any, Step], Tensor | None]
"""(the head, what was seen) -> scalar f32; None if no picture of the batch labels the task."""

LOSSES: tuple[tuple[type[Head], LossFunction], ...] = (
    (DetectionHead, detection_loss),
    (ImageHead, image_loss),
    (EmbeddingHead, embedding_loss),
    (GridEmbeddingHead, embedding_loss),
    (AttributeHeads, attribute_loss),
)
"""The loss of every kind of head."""

Losses = dict[str, Tensor]
"""Scalar losses by the name of their head; a task that no picture of the batch labels is absent.

Of several processes all hold the same values; their gradients add up to that of the batch.
"""


def compute_losses(
    network: MultiTaskNetwork, outputs: TrainingOutputs, batch: Batch, config: LossConfig
) -> Losses:
    """All losses of one batch, in float32."""
    step = Step(outputs, batch, config, assign_objects(outputs, batch))
    losses = {}
    for kind, function in LOSSES:
        for head in network.heads:
            value = function(head, step) if type(head) is kind else None
            if value is not None:
                losses[head.name] = value
    return losses


__all__ = [
    "LOSSES",
    "MANY",
    "LossFunction",
    "Losses",
    "Step",
    "class_weight",
    "compute_losses",
    "contrastive",
]
