"""From the losses of several tasks to the gradients of one step."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from edgemtl.errors import ConfigError, MissingExtraError
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.train.config import LossConfig
from edgemtl.train.losses import Losses


class Balance(Protocol):
    """Sets ``.grad`` of all trainable parameters. ``parameters`` are its own, to be trained too."""

    def backward(self, losses: Losses) -> None: ...

    def parameters(self) -> list[nn.Parameter]: ...


def make_balance(config: LossConfig, network: MultiTaskNetwork) -> Balance:
    """The balance that the config names."""
    weights = {"detect": config.detect, "classify": config.classify, "embed": config.embed}
    if config.balance == "uncertainty":
        return Uncertainty(weights)
    if config.balance == "fixed":
        return Fixed(weights)
    return Jacobian(config.balance, weights, network)


class Fixed:
    """A weighted sum."""

    def __init__(self, weights: dict[str, float]) -> None:
        self._weights = weights

    def backward(self, losses: Losses) -> None:
        named = losses.items()
        if named:
            torch.stack([self._weights[name] * value for name, value in named]).sum().backward()

    def parameters(self) -> list[nn.Parameter]:
        return []


class Uncertainty:
    """Learned homoscedastic uncertainty (arXiv 1705.07115, eq. 10): sum of w (exp(-s) L + s)."""

    def __init__(self, weights: dict[str, float]) -> None:
        self._weights = weights
        self._log_variance = {name: nn.Parameter(torch.zeros(())) for name in weights}

    def backward(self, losses: Losses) -> None:
        terms = []
        for name, value in losses.items():
            s = self._log_variance[name]
            terms.append(self._weights[name] * ((-s).exp() * value + s))
        if terms:
            torch.stack(terms).sum().backward()

    def parameters(self) -> list[nn.Parameter]:
        return list(self._log_variance.values())


class Jacobian:
    """An aggregator of torchjd on the parameters that tasks share (one Jacobian row per task).

    The heads get their own task's gradient. `upgrad` (arXiv 2406.16232), `aligned_mtl`
    (arXiv 2305.19000), `pcgrad` (arXiv 2001.06782), `mgda` (Desideri 2012).
    """

    def __init__(self, kind: str, weights: dict[str, float], network: MultiTaskNetwork) -> None:
        self._weights = weights
        self._aggregator = _aggregator(kind)
        shared = {id(p) for part in (network.backbone, network.neck) for p in part.parameters()}
        trained = [p for p in network.parameters() if p.requires_grad]
        self._shared = [p for p in trained if id(p) in shared]
        self._own = [p for p in trained if id(p) not in shared]

    def backward(self, losses: Losses) -> None:
        from torchjd.autojac import backward, jac_to_grad

        values = [self._weights[name] * value for name, value in losses.items()]
        if len(values) < 2:
            Fixed(self._weights).backward(losses)
            return
        stacked = torch.stack(values)
        stacked.sum().backward(inputs=self._own, retain_graph=True)
        backward(stacked, inputs=self._shared, parallel_chunk_size=1)
        jac_to_grad(self._shared, self._aggregator)

    def parameters(self) -> list[nn.Parameter]:
        return []


def _aggregator(kind: str) -> Any:
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise MissingExtraError("torchjd", "train", f"loss.balance = '{kind}'") from error
    names = {
        "upgrad": "UPGrad",
        "aligned_mtl": "AlignedMTL",
        "pcgrad": "PCGrad",
        "mgda": "MGDA",
    }
    try:
        return getattr(aggregation, names[kind])()
    except ImportError as error:
        # its solver, quadprog, is under the GPL: the user's to install, not ours to require
        raise ConfigError(
            f"loss.balance: '{kind}' needs a solver that is not installed",
            'pip install "torchjd[quadprog_projector]", or balance = "aligned_mtl"',
        ) from error
