"""The shape of a network, as a training file or a checkpoint gives it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from edgemtl.nn.sizes import with_size


class NetworkConfig(BaseModel):
    """The shape of a network; travels inside every checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: str | None = Field(default=None, description="n or s: sets backbone and widths")
    backbone: str = Field(
        default="mobilenet_v2",
        description="efficientnet_lite0 or _lite2, mobilenet_v2, resnet18, regnet_x_400mf",
    )
    backbone_width: float = Field(
        default=1.0, gt=0, description="of its channels; mobilenet_v2 alone"
    )
    weights: Path | None = Field(default=None, description="local file with backbone weights")
    pretrained: bool = Field(default=False, description="download torchvision's weights")
    fold_batch_norm: bool = Field(default=False, description="fold the backbone's before training")
    folded: bool = Field(
        default=False, description="fold all batch norm: what `edgemtl train --quantize` makes"
    )
    frozen_stages: int = Field(
        default=0, ge=0, le=5, description="first of five that keep their weights"
    )
    neck_width: int = Field(default=64, ge=8, description="channels of the three maps")
    embedding_hidden: int = Field(default=128, ge=8, description="hidden width of its MLP")
    embedding_dim: int | None = Field(default=64, ge=4, description="numbers of an embedding")
    embedding_grid: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="rows and columns of the places inside a box where the embedding looks at the "
        "backbone's features of stride 4; none: it looks at the neck's features of one point",
    )
    image_hidden: int = Field(default=192, ge=8, description="channels before the image class")
    image_top: bool = Field(
        default=False,
        description="image class from the backbone's own last layers, which detection does "
        "without: for networks that are to classify above all",
    )
    attribute_hidden: int = Field(
        default=64, ge=8, description="hidden width of an attribute's MLP"
    )
    top_k: int = Field(default=100, ge=1, description="candidates of a picture")

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, given: Any) -> Any:
        return with_size(given) if isinstance(given, Mapping) else given
