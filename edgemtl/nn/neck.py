"""A light feature pyramid (FPN, arXiv 1612.03144): one width, top-down, separable smoothing."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgemtl.nn.blocks import conv_bn_act, separable


class LightFPN(nn.Module):
    """Features at strides 8, 16, 32 of any widths -> three maps of ``width`` channels."""

    def __init__(self, channels: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.width = width
        self.lateral = nn.ModuleList([conv_bn_act(c, width) for c in channels])
        # 5x5 on the coarsest map: large objects need context that the cut backbone lacks
        self.context = separable(width, width, 5)
        self.smooth = nn.ModuleList([separable(width, width) for _ in channels])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = [layer(f) for layer, f in zip(self.lateral, features, strict=True)]
        maps[2] = self.context(maps[2])
        for fine, coarse in ((1, 2), (0, 1)):
            maps[fine] = maps[fine] + functional.interpolate(maps[coarse], scale_factor=2.0)
        return [layer(m) for layer, m in zip(self.smooth, maps, strict=True)]
