"""The shape of a network, as a training file or a checkpoint gives it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgemtl.nn.sizes import with_size


class NetworkConfig(BaseModel):
    """The shape of a network; travels inside every checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str | None = Field(default=None, description="n or s: sets backbone and widths")
    backbone: str = "mobilenet_v2"
    backbone_width: float = Field(default=1.0, gt=0)
    weights: Path | None = Field(default=None, description="local file with backbone weights")
    pretrained: bool = Field(default=False, description="download torchvision's weights")
    fold_batch_norm: bool = Field(default=False, description="fold the backbone's before training")
    frozen_stages: int = Field(default=0, ge=0, le=5)
    neck_width: int = Field(default=64, ge=8)
    embedding_hidden: int = Field(default=128, ge=8)
    embedding_dim: int | None = Field(default=64, ge=4)
    embedding_grid: tuple[int, int] | None = Field(
        default=None,
        description="rows and columns of the places inside a box where the embedding looks at the "
        "backbone's features of stride 4; none: it looks at the neck's features of one point",
    )
    image_hidden: int = Field(default=192, ge=8)
    attribute_hidden: int = Field(default=64, ge=8)
    top_k: int = Field(default=100, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, given: Any) -> Any:
        return with_size(given) if isinstance(given, Mapping) else given
