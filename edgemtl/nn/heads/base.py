"""What every head has in common: what it sees, what it is asked, and the points of the maps.

Anchor points are the cell centres of the three feature maps, finest first; A of them in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgemtl.errors import ConfigError
from edgemtl.manifest import Manifest
from edgemtl.manifest_tasks import FurtherTask
from edgemtl.nn.config import NetworkConfig

STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Shared:
    """What backbone and neck give to all heads.

    maps: the neck's, finest first, f32 [N, width, h / stride, w / stride] (none if no head looks
    at them); deepest, fine: the backbone's last features, f32 [N, channels, h / 32, w / 32] (its
    top's, if that is kept), and
    those of its second stage, f32 [N, channels, h / 4, w / 4].
    """

    maps: list[Tensor]
    deepest: Tensor
    fine: Tensor


@dataclass(frozen=True, slots=True)
class Chosen:
    """The K selected points: boxes f32 [N, K, 4] in network pixels, scores f32 [N, K] sorted,
    labels i32 [N, K], and features f32 [N, K, width] of the neck there (None if nobody asks).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    features: Tensor | None


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """What a head is made from: the network's shape, how many classes each task has, and the
    channels of the neck's maps (``width``) and of the backbone's ``deepest`` and ``fine`` features.

    ``attributes``: how many values each has; ``further``: how many classes each other task has,
    by the task's name.
    """

    config: NetworkConfig
    n_classes: int
    n_image_classes: int
    attributes: Mapping[str, int]
    further: Mapping[str, int]
    width: int
    deepest: int
    fine: int


class Head(nn.Module):
    """One task. ``name`` is its own in the network, in the log, and of its loss and weight.

    ``forward`` is the head's own function, of whatever it looks at; the network asks through
    ``learn`` and ``infer`` only, in one shape for all. ``loss_weight`` is the default of [loss].
    """

    name: ClassVar[str]
    uses_maps: ClassVar[bool] = True
    uses_points: ClassVar[bool] = False
    loss_weight: ClassVar[float] = 1.0
    of_objects: ClassVar[bool] = True
    """Whether it says something of objects; otherwise of the whole picture."""

    @classmethod
    def make(cls, plan: HeadPlan) -> Head | None:
        """The head for this network, or None if it does not have this task."""
        raise TypeError(f"{cls.__name__} does not say how it is made")

    @classmethod
    def contract(cls, classes: tuple[str, ...]) -> FurtherTask:
        """What a manifest says of this task. For tasks of which the manifest knows nothing else."""
        raise ConfigError(f"tasks: '{cls.name}' is no further task: it comes with the data")

    def outputs(self, manifest: Manifest) -> dict[str, tuple[str, ...]]:
        """The layers whose outputs have a name each, by the layer's own: fine-tuning keeps what is
        known of a class by its name."""
        return {}

    def learn(self, shared: Shared) -> Any:
        """What the loss looks at, in training; None where the loss asks the head itself."""
        return None

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        """Outputs of the graph by their name in the manifest; ``chosen`` None: no detection."""
        raise TypeError(f"{type(self).__name__} does not say what it gives")


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


def first_points(maps: list[Tensor], top_k: int) -> Chosen:
    """The first ``top_k`` points (all, if there are fewer), in order: without detection nobody
    selects any, and whoever has boxes from elsewhere looks theirs up."""
    every = flat(maps).transpose(1, 2)
    none = every[:, :0, 0]
    return Chosen(every[:, :0, :4], none, none.int(), every[:, :top_k])


def flat(maps: list[Tensor]) -> Tensor:
    """Maps [N, c, h, w] as one [N, c, A]."""
    return torch.cat([m.flatten(2) for m in maps], 2)
