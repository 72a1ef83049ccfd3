"""Appearance embeddings, to tell one object from another of its class."""

from __future__ import annotations

from torch import Tensor

from edgemtl.nn.heads.base import Chosen, HeadPlan, Shared
from edgemtl.nn.heads.point import PointHead


class EmbeddingHead(PointHead):
    """Unit-length appearance embeddings at chosen points (cf. FairMOT, arXiv 2004.01888)."""

    name = "embed"
    EPSILON = 1e-4  # survives float16

    @classmethod
    def make(cls, plan: HeadPlan) -> EmbeddingHead | None:
        config = plan.config
        if config.embedding_dim is None:
            return None
        return cls(plan.width, config.embedding_hidden, config.embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        raw = super().forward(features)
        norm = raw.pow(2).sum(-1, keepdim=True).sqrt()
        return raw / norm.clamp(min=self.EPSILON)

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        assert chosen is not None
        return {"embeddings": self(chosen.features)}
