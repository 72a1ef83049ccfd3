"""Detection: boxes and classes at all anchor points, and the choice of the K best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgemtl.manifest import Manifest
from edgemtl.nn.blocks import separable
from edgemtl.nn.heads.base import STRIDES, Chosen, Head, HeadPlan, Shared, anchor_points, flat

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


def decode_boxes(box_raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Raw [N, M, 4] at points [.., M, 2] -> boxes_net xyxy [N, M, 4] (FCOS, arXiv 1904.01355).

    The four numbers are logarithms of the distances left, top, right, bottom in strides.
    """
    distance = box_raw.clamp(-_MAX_LOG_DISTANCE, _MAX_LOG_DISTANCE).exp() * strides.unsqueeze(-1)
    return torch.cat([points - distance[..., :2], points + distance[..., 2:]], -1)


class DetectionHead(Head):
    """Decoupled, anchor-free and NMS-free (YOLOv10, arXiv 2405.14458, section 3.1).

    The box tower serves both assignments; one-to-one and one-to-many have class towers of their
    own, because only the former must learn to silence duplicates. The latter exists for training.
    """

    name = "detect"

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

    @classmethod
    def make(cls, plan: HeadPlan) -> DetectionHead | None:
        return cls(plan.width, plan.n_classes) if plan.n_classes else None

    def outputs(self, manifest: Manifest) -> dict[str, tuple[str, ...]]:
        layers = [f"{part}.{level}" for part in ("one", "many") for level in range(len(STRIDES))]
        return dict.fromkeys(layers, manifest.classes)

    @staticmethod
    def _towers(width: int) -> nn.ModuleList:
        return nn.ModuleList(
            [nn.Sequential(separable(width, width), separable(width, width)) for _ in STRIDES]
        )

    @staticmethod
    def _branch(towers: nn.ModuleList, predictors: nn.ModuleList, maps: list[Tensor]) -> Tensor:
        return flat([p(t(m)) for t, p, m in zip(towers, predictors, maps, strict=True)])

    def forward(self, maps: list[Tensor], with_many: bool = False) -> DenseOutputs:
        return DenseOutputs(
            self._branch(self.box_tower, self.box, maps),
            self._branch(self.one_tower, self.one, maps),
            self._branch(self.many_tower, self.many, maps) if with_many else None,
        )

    def learn(self, shared: Shared) -> DenseOutputs:
        dense: DenseOutputs = self(shared.maps, with_many=True)
        return dense

    def choose(self, shared: Shared, top_k: int, with_features: bool) -> Chosen:
        """The ``top_k`` best points (all, if there are fewer) and what detection says of them.

        TopK runs on class-max logits, the sigmoid and everything per object on the survivors.
        """
        dense: DenseOutputs = self(shared.maps)
        fine = shared.maps[0]
        size_hw = (int(fine.shape[2]) * STRIDES[0], int(fine.shape[3]) * STRIDES[0])
        points, strides = (t.to(fine.device) for t in anchor_points(size_hw))
        best, labels = dense.logits_one.max(1)
        top, index = best.topk(min(top_k, len(strides)), dim=1)
        raw = _columns(dense.box_raw, index)
        return Chosen(
            decode_boxes(raw, points[index], strides[index]),
            top.sigmoid(),
            labels.gather(1, index).to(torch.int32),
            _columns(flat(shared.maps), index) if with_features else None,
        )

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        assert chosen is not None
        return {"boxes": chosen.boxes, "scores": chosen.scores, "labels": chosen.labels}


def _columns(values: Tensor, index: Tensor) -> Tensor:
    """Columns index i64 [N, K] of values [N, c, A], as [N, K, c]."""
    wide = index.unsqueeze(1).expand(-1, values.shape[1], -1)
    return values.gather(2, wide).transpose(1, 2)
