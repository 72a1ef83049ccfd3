"""The weights that are judged and shipped: a running average of those that are trained."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgemtl.nn.network import MultiTaskNetwork


class WeightAverage:
    """Exponential moving average of parameters and buffers, warmed up over the first steps."""

    def __init__(self, network: MultiTaskNetwork, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._copies: list[tuple[Tensor, Tensor]] = []
        theirs = dict(network.named_parameters()) | dict(network.named_buffers())
        for name, target in self.network.state_dict().items():
            source = theirs[name]
            if isinstance(source, nn.Parameter) and not source.requires_grad:
                continue  # frozen: equal for ever
            into = self._pairs if target.is_floating_point() else self._copies
            into.append((target, source.data))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step ``step``, from 1. The decay grows with it, so the random start fades."""
        decay = min(self._decay, (1 + step) / (10 + step))
        targets = [target for target, _ in self._pairs]
        torch._foreach_lerp_(targets, [source for _, source in self._pairs], 1 - decay)
        for target, source in self._copies:
            target.copy_(source)
