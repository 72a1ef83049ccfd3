"""The heads. Detection is dense; everything per object is computed at the K selected points only.

Anchor points are the cell centres of the three feature maps, finest first; A of them in all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemtl.nn.blocks import conv_bn_act, separable

STRIDES = (8, 16, 32)
_MAX_LOG_DISTANCE = 6.0  # exp(6) = 403 strides: beyond any picture, inside float16
_PRIOR = 0.01  # initial class probability, so that the many negatives do not swamp the start


@dataclass(frozen=True, slots=True)
class DenseOutputs:
    """Detection head outputs at all A anchor points.

    box_raw f32 [N, 4, A] log distances in strides; logits_one f32 [N, C, A], one-to-one;
    logits_many f32 [N, C, A], one-to-many, or None outside training.
    """

    box_raw: Tensor
    logits_one: Tensor
    logits_many: Tensor | None


def anchor_points(size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centres f32 [A, 2] (x, y in network pixels) and strides f32 [A] for a network input size."""
    points, strides = [], []
    for stride in STRIDES:
        rows, columns = size_hw[0] // stride, size_hw[1] // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = torch.stack([x, y], -1).reshape(-1, 2).float() + 0.5
        points.append(centres * stride)
        strides.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(points), torch.cat(strides)


def decode_boxes(box_raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Raw [N, M, 4] at points [.., M, 2] -> boxes_net xyxy [N, M, 4] (FCOS, arXiv 1904.01355).

    The four numbers are logarithms of the distances left, top, right, bottom in strides.
    """
    distance = box_raw.clamp(-_MAX_LOG_DISTANCE, _MAX_LOG_DISTANCE).exp() * strides.unsqueeze(-1)
    return torch.cat([points - distance[..., :2], points + distance[..., 2:]], -1)


def _flat(maps: list[Tensor]) -> Tensor:
    return torch.cat([m.flatten(2) for m in maps], 2)


class DetectionHead(nn.Module):
    """Decoupled, anchor-free and NMS-free (YOLOv10, arXiv 2405.14458, section 3.1).

    The box tower serves both assignments; one-to-one and one-to-many have class towers of their
    own, because only the former must learn to silence duplicates. The latter exists for training.
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.box_tower = self._towers(width)
        self.one_tower = self._towers(width)
        self.many_tower = self._towers(width)
        self.box = nn.ModuleList([nn.Conv2d(width, 4, 1) for _ in STRIDES])
        self.one = nn.ModuleList([nn.Conv2d(width, n_classes, 1) for _ in STRIDES])
        self.many = nn.ModuleList([nn.Conv2d(width, n_classes, 1) for _ in STRIDES])
        for layer in [*self.one, *self.many]:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, -math.log((1 - _PRIOR) / _PRIOR))

    @staticmethod
    def _towers(width: int) -> nn.ModuleList:
        return nn.ModuleList(
            [nn.Sequential(separable(width, width), separable(width, width)) for _ in STRIDES]
        )

    @staticmethod
    def _branch(towers: nn.ModuleList, predictors: nn.ModuleList, maps: list[Tensor]) -> Tensor:
        return _flat([p(t(m)) for t, p, m in zip(towers, predictors, maps, strict=True)])

    def forward(self, maps: list[Tensor], with_many: bool = False) -> DenseOutputs:
        return DenseOutputs(
            self._branch(self.box_tower, self.box, maps),
            self._branch(self.one_tower, self.one, maps),
            self._branch(self.many_tower, self.many, maps) if with_many else None,
        )


class PointHead(nn.Module):
    """A small MLP on neck features gathered at chosen points: the shape of every object head."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, features: Tensor) -> Tensor:
        """Features f32 [..., width] -> [..., out]."""
        out: Tensor = self.layers(features)
        return out


class EmbeddingHead(PointHead):
    """Unit-length appearance embeddings at chosen points (cf. FairMOT, arXiv 2004.01888)."""

    EPSILON = 1e-4  # survives float16

    def forward(self, features: Tensor) -> Tensor:
        raw = super().forward(features)
        norm = raw.pow(2).sum(-1, keepdim=True).sqrt()
        return raw / norm.clamp(min=self.EPSILON)


class ImageHead(nn.Module):
    """Image class logits from the deepest backbone features, pooled over the picture."""

    def __init__(self, channels: int, hidden: int, n_classes: int) -> None:
        super().__init__()
        self.mix = conv_bn_act(channels, hidden)
        self.drop = nn.Dropout(0.2)
        self.classify = nn.Linear(hidden, n_classes)

    def forward(self, deepest: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(self.mix(deepest), 1).flatten(1)
        out: Tensor = self.classify(self.drop(pooled))
        return out
