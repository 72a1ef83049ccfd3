"""Batch norm in training: which batches tell it nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from edgemtl.nn.heads import STRIDES


def norms_of(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch norms of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def too_small(images: Tensor) -> bool:
    """Whether the deepest map of images [N, 3, h, w] is a single value, which has no variance."""
    count, _, height, width = images.shape
    return count * (height // STRIDES[-1]) * (width // STRIDES[-1]) < 2


@contextmanager
def norms_still(network: nn.Module, still: bool) -> Iterator[None]:
    """With ``still``, batch norm takes its running statistics, and leaves them as they are.

    It gets copies of them: the step's backward pass needs what the forward pass took, and another
    batch of the step may have moved the statistics by then.
    """
    learning = [norm for norm in norms_of(network) if norm.training] if still else []
    kept = [(norm, norm.running_mean, norm.running_var) for norm in learning]
    for norm, mean, variance in kept:
        norm.eval()
        norm.running_mean, norm.running_var = _copy(mean), _copy(variance)
    try:
        yield
    finally:
        for norm, mean, variance in kept:
            norm.running_mean, norm.running_var = mean, variance
            norm.train()


def _copy(statistics: Tensor | None) -> Tensor | None:
    return None if statistics is None else statistics.clone()
