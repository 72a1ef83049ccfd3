"""The network that a run begins with, and the rounding that it learns to live with."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn

from edgemtl.errors import ConfigError
from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import copy_weights
from edgemtl.nn.network import MultiTaskNetwork, network_of
from edgemtl.train.config import TrainConfig
from edgemtl.train.distributed import is_first
from edgemtl.train.origin import Origin, fill, hold
from edgemtl.train.rounding import Rounder

_SAME = ("classes", "image_classes", "embedding_dim", "attributes", "further")


@dataclass(frozen=True, slots=True)
class Start:
    """``network``, with batch norm folded, does the tasks of ``manifest``; ``rounder`` is of its
    graph."""

    network: MultiTaskNetwork
    manifest: Manifest
    rounder: Rounder

    def fill(self, network: MultiTaskNetwork, manifest: Manifest) -> None:
        """Give a run's network these weights. Raises ConfigError if it is to do other tasks."""
        for field in _SAME:
            have, wanted = getattr(self.manifest, field), getattr(manifest, field)
            if have != wanted:
                raise ConfigError(
                    f"quantize: the data have the {field} {wanted!r}, the checkpoint {have!r}",
                    "name the config and data that it was trained with",
                )
        copy_weights(self.network, network)


def begin(
    config: TrainConfig, manifest: Manifest, start: Start | None, origin: Origin | None
) -> tuple[Any, list[nn.Module]]:
    """The network of a run (a MultiTaskNetwork), and its parts that are to stay as they are."""
    only = config.start.only
    shape = config.network.model_copy(update={"embedding_dim": manifest.embedding_dim})
    network = network_of(shape, manifest)
    if start is not None:
        start.fill(network, manifest)
    elif origin is not None:
        said = ", ".join(fill(network, manifest, origin, only))
        rest = "" if only is None else "; learning: " + ", ".join(only)
        if is_first():
            print(f"start: '{origin.where.name}': {said}{rest}", file=sys.stderr, flush=True)
    return network, hold(network, origin, only)


def rounded(
    start: Start | None, network: MultiTaskNetwork, number: int = 0
) -> AbstractContextManager[Any]:
    """``network`` rounds in this context, if a run began so; the dialects take turns with
    ``number``, the first one, this host's, is judged."""
    return nullcontext() if start is None else start.rounder.applied(network, number)
