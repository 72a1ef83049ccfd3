"""A network to begin with, and the rounding that it learns to live with."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from edgemtl.errors import ConfigError
from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import copy_weights
from edgemtl.nn.network import MultiTaskNetwork
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


def rounded(
    start: Start | None, network: MultiTaskNetwork, number: int = 0
) -> AbstractContextManager[Any]:
    """``network`` rounds in this context, if a run began so; the dialects take turns with
    ``number``, the first one, this host's, is judged."""
    return nullcontext() if start is None else start.rounder.applied(network, number)
