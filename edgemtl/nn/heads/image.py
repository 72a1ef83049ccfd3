"""The class of the whole picture."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgemtl.manifest import Manifest
from edgemtl.nn.blocks import conv_bn_act
from edgemtl.nn.heads.base import Chosen, Head, HeadPlan, Shared


class ImageHead(Head):
    """Image class logits from the deepest backbone features, pooled over the picture."""

    name = "classify"
    uses_maps = False
    of_objects = False

    def __init__(self, channels: int, hidden: int | None, n_classes: int) -> None:
        """``hidden`` None: the features are mixed well enough already."""
        super().__init__()
        self.mix = nn.Identity() if hidden is None else conv_bn_act(channels, hidden)
        self.drop = nn.Dropout(0.2)
        self.classify = nn.Linear(hidden or channels, n_classes)

    @classmethod
    def make(cls, plan: HeadPlan) -> ImageHead | None:
        if not plan.n_image_classes:
            return None
        hidden = None if plan.config.image_top else plan.config.image_hidden
        return cls(plan.deepest, hidden, plan.n_image_classes)

    def outputs(self, manifest: Manifest) -> dict[str, tuple[str, ...]]:
        return {"classify": manifest.image_classes}

    def forward(self, deepest: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(self.mix(deepest), 1).flatten(1)
        out: Tensor = self.classify(self.drop(pooled))
        return out

    def learn(self, shared: Shared) -> Tensor:
        logits: Tensor = self(shared.deepest)
        return logits

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        return {"image_probs": self(shared.deepest).softmax(1)}
