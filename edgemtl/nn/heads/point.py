"""The shape of every head that looks at objects one by one."""

from __future__ import annotations

from torch import Tensor, nn

from edgemtl.nn.heads.base import Head


class PointHead(Head):
    """A small MLP on neck features gathered at chosen points."""

    uses_points = True

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def forward(self, features: Tensor) -> Tensor:
        """Features f32 [..., width] -> [..., out]."""
        out: Tensor = self.layers(features)
        return out
