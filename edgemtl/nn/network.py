"""The network: one backbone and neck, and a head for each task that it is to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from edgemtl.nn.backbone import build_backbone
from edgemtl.nn.heads import (
    DenseOutputs,
    DetectionHead,
    EmbeddingHead,
    ImageHead,
    anchor_points,
    decode_boxes,
)
from edgemtl.nn.neck import LightFPN

PIXEL_ZERO = 128.0
"""Network input x = (p - 128) / 128 for a pixel level p; the letterbox pad 128 is 0."""


class NetworkConfig(BaseModel):
    """The shape of a network; travels inside every checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "mobilenet_v2"
    backbone_width: float = Field(default=1.0, gt=0)
    weights: Path | None = Field(default=None, description="local file with backbone weights")
    pretrained: bool = Field(default=False, description="download torchvision's weights")
    fold_batch_norm: bool = Field(default=False, description="fold the backbone's before training")
    frozen_stages: int = Field(default=0, ge=0, le=5)
    neck_width: int = Field(default=64, ge=8)
    embedding_hidden: int = Field(default=128, ge=8)
    embedding_dim: int | None = Field(default=64, ge=4)
    image_hidden: int = Field(default=192, ge=8)
    top_k: int = Field(default=100, ge=1)


@dataclass(frozen=True, slots=True)
class TrainingOutputs:
    """Everything that the losses look at.

    dense: see DenseOutputs; features f32 [N, A, width] of the neck; image_logits f32 [N, Ci] or
    None.
    """

    dense: DenseOutputs
    features: Tensor
    image_logits: Tensor | None


@dataclass(frozen=True, slots=True)
class SelectedOutputs:
    """The graph's outputs, in the manifest's order and shapes."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    embeddings: Tensor | None
    image_probs: Tensor | None


class MultiTaskNetwork(nn.Module):
    """Shared backbone and neck; detection always, image class and embedding where configured."""

    def __init__(self, config: NetworkConfig, n_classes: int, n_image_classes: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(
            config.backbone,
            weights=config.weights,
            pretrained=config.pretrained,
            frozen_stages=config.frozen_stages,
            fold=config.fold_batch_norm,
            width=config.backbone_width,
        )
        width = config.neck_width
        self.neck = LightFPN(self.backbone.channels, width)
        self.detect = DetectionHead(width, n_classes)
        self.embed = (
            EmbeddingHead(width, config.embedding_hidden, config.embedding_dim)
            if config.embedding_dim
            else None
        )
        self.classify = (
            ImageHead(self.backbone.channels[2], config.image_hidden, n_image_classes)
            if n_image_classes
            else None
        )

    def forward(self, x: Tensor) -> TrainingOutputs:
        """x f32 [N, 3, h, w] = (p - 128) / 128, h and w multiples of 32."""
        features = self.backbone(x)
        maps = self.neck(features)
        dense = self.detect(maps, with_many=True)
        flat = torch.cat([m.flatten(2) for m in maps], 2).transpose(1, 2)
        logits = None if self.classify is None else self.classify(features[-1])
        return TrainingOutputs(dense, flat, logits)

    def select(self, x: Tensor) -> SelectedOutputs:
        """The inference path: as ``forward``, then the K best points and their boxes.

        TopK runs on class-max logits, the sigmoid and everything per object on the survivors.
        """
        features = self.backbone(x)
        maps = self.neck(features)
        dense = self.detect(maps)
        points, strides = anchor_points((int(x.shape[2]), int(x.shape[3])))
        k = min(self.config.top_k, len(strides))
        best, labels = dense.logits_one.max(1)
        top, index = best.topk(k, dim=1)
        raw = dense.box_raw.gather(2, index.unsqueeze(1).expand(-1, 4, -1)).transpose(1, 2)
        points, strides = points.to(x.device), strides.to(x.device)
        boxes = decode_boxes(raw, points[index], strides[index])
        return SelectedOutputs(
            boxes,
            top.sigmoid(),
            labels.gather(1, index).to(torch.int32),
            None if self.embed is None else self._embed(maps, index),
            None if self.classify is None else self.classify(features[-1]).softmax(1),
        )

    def _embed(self, maps: list[Tensor], index: Tensor) -> Tensor:
        assert self.embed is not None
        flat = torch.cat([m.flatten(2) for m in maps], 2)
        chosen = flat.gather(2, index.unsqueeze(1).expand(-1, flat.shape[1], -1))
        out: Tensor = self.embed(chosen.transpose(1, 2))
        return out
