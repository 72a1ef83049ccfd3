"""The losses, one file each; each sees only what its pictures label.

A new task is a file here and a line in LOSSES. A loss gives the parts of its means (see part.py):
a step may have several batches, and several processes may share it, and what a loss is divided by
counts over all of them. Or it gives a finished scalar, the same in all processes (see ``whole`` in
train/distributed.py); of a step's batches those then count alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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
from edgemtl.train.losses.part import Losses, Part, combine, counted_once, mean_of
from edgemtl.train.losses.step import MANY, Step, assign_objects

Parts = tuple[Part, ...]
LossFunction = Callable[[Any, Step], Parts | Tensor | None]
"""(the head, what was seen) -> always as many parts, or a scalar; None: nothing is labelled."""

LOSSES: tuple[tuple[type[Head], LossFunction], ...] = (
    (DetectionHead, detection_loss),
    (ImageHead, image_loss),
    (EmbeddingHead, embedding_loss),
    (GridEmbeddingHead, embedding_loss),
    (AttributeHeads, attribute_loss),
)
"""The loss of every kind of head."""


def compute_losses(
    network: MultiTaskNetwork, outputs: TrainingOutputs, batch: Batch, config: LossConfig
) -> Losses:
    """All losses of a step of one batch, in float32."""
    return combine([measure(network, outputs, batch, config)])


def measure(
    network: MultiTaskNetwork, outputs: TrainingOutputs, batch: Batch, config: LossConfig
) -> dict[str, Parts]:
    """What one batch adds to the losses of its step, by the name of the head, in float32."""
    step = Step(outputs, batch, config, assign_objects(outputs, batch))
    found = {}
    for kind, function in LOSSES:
        for head in network.learning:
            if type(head) is not kind or (head.of_objects and not batch.objects):
                continue
            said = function(head, step)
            if isinstance(said, Tensor):
                said = (counted_once(Part(said, torch.ones_like(said))),)
            if said is not None:
                found[head.name] = said
    return found


__all__ = [
    "LOSSES",
    "MANY",
    "LossFunction",
    "Losses",
    "Part",
    "Parts",
    "Step",
    "class_weight",
    "combine",
    "compute_losses",
    "contrastive",
    "mean_of",
    "measure",
]
