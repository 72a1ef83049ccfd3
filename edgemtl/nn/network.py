"""The network: one backbone and neck, and a head for each task that it is to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from edgemtl.manifest import Manifest
from edgemtl.nn import heads
from edgemtl.nn.backbone import build_backbone
from edgemtl.nn.blocks import fold_batch_norm
from edgemtl.nn.config import NetworkConfig
from edgemtl.nn.heads import (
    STRIDES,
    DenseOutputs,
    DetectionHead,
    EmbeddingHead,
    GridEmbeddingHead,
    Head,
    HeadPlan,
    ImageHead,
    Shared,
)
from edgemtl.nn.heads.base import first_points, flat
from edgemtl.nn.neck import LightFPN

__all__ = ["PIXEL_ZERO", "MultiTaskNetwork", "NetworkConfig", "TrainingOutputs", "network_of"]

PIXEL_ZERO = 128.0
"""Network input x = (p - 128) / 128 for a pixel level p; the letterbox pad 128 is 0."""


@dataclass(frozen=True, slots=True)
class TrainingOutputs:
    """Everything that the losses look at.

    features f32 [N, A, width] of the neck, None without maps; raw: what each head's ``learn``
    gave, by the head's name.
    """

    features: Tensor | None
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def dense(self) -> DenseOutputs:
        """What detection says at all points."""
        dense: DenseOutputs = self.raw[DetectionHead.name]
        return dense

    @property
    def image_logits(self) -> Tensor | None:
        """f32 [N, Ci], or None without the task."""
        return self.raw.get(ImageHead.name)


class MultiTaskNetwork(nn.Module):
    """Shared backbone and neck, and the heads of ``edgemtl.nn.heads.HEADS`` that are asked for.

    Each head is an attribute under its own name, None where the network lacks the task.
    """

    detect: DetectionHead | None
    embed: EmbeddingHead | GridEmbeddingHead | None
    classify: ImageHead | None

    def __init__(
        self,
        config: NetworkConfig,
        n_classes: int,
        n_image_classes: int = 0,
        *,
        attributes: Mapping[str, int] | None = None,
        further: Mapping[str, int] | None = None,
    ) -> None:
        """Numbers of classes by task; see ``HeadPlan`` for ``attributes`` and ``further``."""
        super().__init__()
        self.config = config
        self.backbone = build_backbone(
            config.backbone,
            weights=config.weights,
            pretrained=config.pretrained,
            frozen_stages=config.frozen_stages,
            fold=config.fold_batch_norm,
            width=config.backbone_width,
            top=config.image_top and n_image_classes > 0,
        )
        channels = self.backbone.channels
        # made before the heads, so that a seed gives the same network whatever its tasks
        neck = LightFPN(channels[1:], config.neck_width)
        plan = HeadPlan(
            config,
            n_classes,
            n_image_classes,
            attributes or {},
            further or {},
            config.neck_width,
            self.backbone.deepest_channels,
            channels[0],
        )
        made = {kind.name: kind.make(plan) for kind in heads.HEADS}
        looked_at = any(head is not None and head.uses_maps for head in made.values())
        self.neck: LightFPN | None = neck if looked_at else None
        for name, head in made.items():
            self.register_module(name, head)
        self._names = tuple(name for name, head in made.items() if head is not None)

    @property
    def heads(self) -> list[Head]:
        """The heads that this network has, in their fixed order."""
        return [getattr(self, name) for name in self._names]

    @property
    def learning(self) -> list[Head]:
        """Those of them that training changes."""
        return [h for h in self.heads if any(p.requires_grad for p in h.parameters())]

    @property
    def shared(self) -> list[nn.Module]:
        """The parts that all tasks train."""
        return [self.backbone] if self.neck is None else [self.backbone, self.neck]

    def _see(self, x: Tensor, maps: bool = True) -> Shared:
        h, w = int(x.shape[2]), int(x.shape[3])
        if h < STRIDES[-1] or w < STRIDES[-1] or h % STRIDES[-1] or w % STRIDES[-1]:
            raise ValueError(f"x: expected sides that are multiples of {STRIDES[-1]}, got {h}x{w}")
        features = self.backbone(x)
        seen = self.neck(features[1:]) if maps and self.neck is not None else []
        return Shared(seen, self.backbone.deepest(features[-1]), features[0])

    def forward(self, x: Tensor, objects: bool = True) -> TrainingOutputs:
        """x f32 [N, 3, h, w] = (p - 128) / 128, h and w multiples of 32, else ValueError.

        ``objects`` False leaves out the neck and the heads of objects: no picture labels any.
        """
        shared = self._see(x, objects)
        points = flat(shared.maps).transpose(1, 2) if shared.maps else None
        asked = [head for head in self.heads if objects or not head.of_objects]
        return TrainingOutputs(points, {head.name: head.learn(shared) for head in asked})

    def select(self, x: Tensor) -> dict[str, Tensor]:
        """The inference path: the graph's outputs by name, in the manifest's shapes."""
        shared = self._see(x)
        present = self.heads
        asked = any(head.uses_points for head in present)
        chosen = None
        if self.detect is not None:
            chosen = self.detect.choose(shared, self.config.top_k, asked)
        elif asked:
            chosen = first_points(shared.maps, self.config.top_k)
        outputs: dict[str, Tensor] = {}
        for head in present:
            outputs.update(head.infer(shared, chosen))
        return outputs


def network_of(config: NetworkConfig, manifest: Manifest) -> MultiTaskNetwork:
    """The network of this shape for the tasks of ``manifest``, with fresh weights."""
    network = MultiTaskNetwork(
        config,
        len(manifest.classes),
        len(manifest.image_classes),
        attributes={a.name: len(a.values) for a in manifest.attributes},
        further={task.name: len(task.classes) for task in manifest.further},
    )
    return folded(network).train() if config.folded else network


def folded(network: MultiTaskNetwork) -> MultiTaskNetwork:
    """The same network without batch norm, in place: it is in the convolutions, as when deployed.

    It is in eval mode then, and its shape says so.
    """
    fold_batch_norm(network.eval())
    network.config = network.config.model_copy(update={"folded": True})
    return network
