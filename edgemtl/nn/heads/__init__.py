"""The heads, one file each. A new task is a file here and a line in HEADS; see base.Head.

Detection is dense; everything per object is computed at the K selected points only.
"""

from __future__ import annotations

from edgemtl.nn.heads.base import STRIDES, Chosen, Head, HeadPlan, Shared, anchor_points
from edgemtl.nn.heads.detect import DenseOutputs, DetectionHead, decode_boxes
from edgemtl.nn.heads.embed import EmbeddingHead, GridEmbeddingHead
from edgemtl.nn.heads.image import ImageHead
from edgemtl.nn.heads.point import PointHead

HEADS: tuple[type[Head], ...] = (DetectionHead, EmbeddingHead, ImageHead)
"""Every kind of head, in the order in which a network holds (and a checkpoint counts) them."""

__all__ = [
    "HEADS",
    "STRIDES",
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
]
