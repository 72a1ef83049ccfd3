"""What else is told of every object: any number of attributes, each one of a few values."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edgemtl.manifest import Manifest
from edgemtl.manifest_tasks import output_of_attribute
from edgemtl.nn.heads.base import Chosen, Head, HeadPlan, Shared


class AttributeHeads(Head):
    """One small MLP at the chosen points: a common layer, and a last one for each attribute."""

    name = "attributes"
    uses_points = True
    loss_weight = 0.3

    def __init__(self, width: int, hidden: int, attributes: Mapping[str, int]) -> None:
        super().__init__()
        self.names = tuple(attributes)
        self.common = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        # by place, not by name: an attribute may be called anything
        self.last = nn.ModuleList([nn.Linear(hidden, n) for n in attributes.values()])

    @classmethod
    def make(cls, plan: HeadPlan) -> AttributeHeads | None:
        if not plan.attributes or not plan.n_classes:
            return None
        return cls(plan.width, plan.config.attribute_hidden, plan.attributes)

    def outputs(self, manifest: Manifest) -> dict[str, tuple[str, ...]]:
        return {
            f"last.{place}": tuple(f"{attribute.name}: {value}" for value in attribute.values)
            for place, attribute in enumerate(manifest.attributes)
        }

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features f32 [..., width] -> logits [..., V] of each attribute, by its name."""
        seen = self.common(features)
        return {name: layer(seen) for name, layer in zip(self.names, self.last, strict=True)}

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, Tensor]:
        assert chosen is not None
        logits: dict[str, Tensor] = self(chosen.features)
        return {output_of_attribute(name): v.softmax(-1) for name, v in logits.items()}
