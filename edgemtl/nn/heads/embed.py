"""Appearance embeddings, to tell one object from another of its class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemtl.errors import ConfigError
from edgemtl.nn.depthwise import DepthwiseConv2d
from edgemtl.nn.heads.base import Chosen, Head, HeadPlan, Shared
from edgemtl.nn.heads.point import PointHead

_EPSILON = 1e-4  # survives float16
FINE_STRIDE = 4
_MARGIN_Y, _MARGIN_X = 0.08, 0.15  # of a box's sides: what lies further out is ground


def unit(raw: Tensor) -> Tensor:
    """Vectors [..., D] at length 1."""
    norm: Tensor = torch.linalg.vector_norm(raw, dim=-1, keepdim=True)
    return raw / norm.clamp(min=_EPSILON)


class EmbeddingHead(PointHead):
    """Unit-length appearance embeddings at chosen points (cf. FairMOT, arXiv 2004.01888)."""

    name = "embed"

    @classmethod
    def make(cls, plan: HeadPlan) -> EmbeddingHead | GridEmbeddingHead | None:
        config = plan.config
        if config.embedding_dim is None:
            return None
        hidden, out = config.embedding_hidden, config.embedding_dim
        if config.embedding_grid is not None:
            return GridEmbeddingHead(plan.fine, config.embedding_grid, hidden, out)
        return cls(plan.width, hidden, out)

    def forward(self, features: Tensor) -> Tensor:
        return unit(super().forward(features))

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        assert chosen is not None
        return {"embeddings": self(chosen.features)}


class GridEmbeddingHead(Head):
    """Unit-length embeddings of what is seen at a grid of places inside the box.

    One point of a deep map says what an object is, not which one: neighbours and ground are mixed
    into it, colours are gone. Re-identification networks look at parts of the crop (PCB, arXiv
    1711.09349, section 3.1); here the parts are places on the backbone's features of stride 4,
    which cost nothing more to compute, and a small MLP sees them all.
    """

    name = "embed"
    uses_maps = False

    def __init__(self, channels: int, grid: tuple[int, int], hidden: int, out: int) -> None:
        super().__init__()
        self.grid = grid
        # a place is a point: the mean around it is steadier under shifts of the box
        mean = DepthwiseConv2d(channels, 3)
        nn.init.constant_(mean.weight, 1 / 9)
        self.smooth = nn.Sequential(mean, nn.BatchNorm2d(channels, affine=False))
        n_seen = channels * grid[0] * grid[1]
        self.layers = nn.Sequential(nn.Linear(n_seen, hidden), nn.ReLU(), nn.Linear(hidden, out))

    def learn(self, shared: Shared) -> Tensor:
        """The fine map, smoothed and scaled, f32 [N, channels, h / 4, w / 4]."""
        scaled: Tensor = self.smooth(shared.fine)
        return scaled

    def places(self, boxes: Tensor) -> Tensor:
        """Points [N, M, places, 2] (x, y) of boxes f32 [N, M, 4] in any unit, row by row."""
        rows, columns = self.grid
        down = _spread(rows, _MARGIN_Y).repeat_interleave(columns)
        across = _spread(columns, _MARGIN_X).repeat(rows)
        share = torch.stack([across, down], -1)  # [places, 2]
        # each coordinate is a mean of two sides, so all places are one operator of the graph
        first, last = torch.diag_embed(1 - share), torch.diag_embed(share)
        mix = torch.cat([first, last], 2).flatten(0, 1).to(boxes.device)
        points: Tensor = (boxes @ mix.T).unflatten(-1, (rows * columns, 2))
        return points

    def forward(self, fine: Tensor, boxes: Tensor) -> Tensor:
        """Embeddings f32 [N, M, D] of boxes f32 [N, M, 4], in network pixels, of each picture."""
        height, width = fine.shape[2] * FINE_STRIDE, fine.shape[3] * FINE_STRIDE
        size = torch.tensor([2.0 / width, 2.0 / height] * 2, device=boxes.device)
        # from -1 to 1 over the map; the boxes are scaled, of which there are fewer than places
        grid = self.places(boxes * size - 1.0)
        seen = functional.grid_sample(fine.float(), grid, align_corners=False)
        # two dimensions, so that a layer and its bias are one operator of the graph
        rows: Tensor = self.layers(seen.permute(0, 2, 3, 1).flatten(2).flatten(0, 1))
        vectors: Tensor = unit(rows).unflatten(0, (boxes.shape[0], boxes.shape[1]))
        return vectors

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        if chosen is None:
            raise ConfigError(
                "network: embeddings at a grid of places need boxes, and nothing is detected",
                "train detect too, or leave network.embedding_grid out",
            )
        return {"embeddings": self(self.learn(shared), chosen.boxes)}


def _spread(count: int, margin: float) -> Tensor:
    """``count`` places from ``margin`` to 1 - ``margin``; one is in the middle."""
    if count == 1:
        return torch.tensor([0.5])
    return torch.linspace(margin, 1.0 - margin, count)
