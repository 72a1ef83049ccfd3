"""The heads, one file each. A new task is a file here and a line in HEADS; see base.Head.

Detection is dense; everything per object is computed at the K selected points only.
"""

from __future__ import annotations

from edgemtl.errors import ConfigError
from edgemtl.manifest_tasks import FurtherTask
from edgemtl.nn.heads.attributes import AttributeHeads
from edgemtl.nn.heads.base import STRIDES, Chosen, Head, HeadPlan, Shared, anchor_points
from edgemtl.nn.heads.detect import DenseOutputs, DetectionHead, decode_boxes
from edgemtl.nn.heads.embed import EmbeddingHead, GridEmbeddingHead
from edgemtl.nn.heads.image import ImageHead
from edgemtl.nn.heads.point import PointHead

HEADS: tuple[type[Head], ...] = (DetectionHead, EmbeddingHead, ImageHead, AttributeHeads)
"""Every kind of head, in the order in which a network holds (and a checkpoint counts) them."""


def further_task(name: str, classes: tuple[str, ...]) -> FurtherTask:
    """The manifest's entry of the task ``name``. Raises ConfigError if no head does it."""
    for kind in HEADS:
        if kind.name == name:
            return kind.contract(classes)
    raise ConfigError(
        f"tasks: there is no head '{name}' (heads: {[kind.name for kind in HEADS]})",
        "correct the name, or add the head to edgemtl.nn.heads.HEADS",
    )


__all__ = [
    "HEADS",
    "STRIDES",
    "AttributeHeads",
    "Chosen",
    "DenseOutputs",
    "DetectionHead",
    "EmbeddingHead",
    "GridEmbeddingHead",
    "Head",
    "HeadPlan",
    "ImageHead",
    "PointHead",
    "Shared",
    "anchor_points",
    "decode_boxes",
    "further_task",
]
