"""From the losses of several tasks to the gradients of one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edgemtl.errors import ConfigError, MissingExtraError
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.train.config import LossConfig
from edgemtl.train.distributed import add_gradients, add_up
from edgemtl.train.losses import Losses
from edgemtl.train.projector import ExactProjector

Scale = Callable[[Tensor], Tensor]


def unscaled(loss: Tensor) -> Tensor:
    """The scale of full precision."""
    return loss


class Balance(Protocol):
    """Sets ``.grad`` of all trainable parameters. ``parameters`` are its own, to be trained too.

    ``weights``: what each task counts in the step at present, for the log; empty if that is fixed.
    ``scale`` multiplies what is differentiated, so that gradients in float16 do not vanish. Of
    several processes, each gets the gradient of all.
    """

    def backward(self, losses: Losses, scale: Scale = unscaled) -> None: ...

    def parameters(self) -> list[nn.Parameter]: ...

    def weights(self) -> dict[str, float]: ...


def make_balance(config: LossConfig, network: MultiTaskNetwork) -> Balance:
    """The balance that the config names."""
    weights = loss_weights(config, network)
    if config.balance == "uncertainty":
        return Uncertainty(weights, network)
    if config.balance == "fixed":
        return Fixed(weights, network)
    return Jacobian(config.balance, weights, network)


def loss_weights(config: LossConfig, network: MultiTaskNetwork) -> dict[str, float]:
    """A weight for each head's loss: its key of [loss], else of [loss.further], else the head's.

    Raises ConfigError if [loss.further] names a task that this network does not have.
    """
    own = {"detect": config.detect, "classify": config.classify, "embed": config.embed}
    present = [head.name for head in network.heads]
    for name in config.further:
        if name not in present or name in own:
            known = sorted(set(present) - set(own))
            raise ConfigError(
                f"loss.further: '{name}' is no further task of this run (it has {known})",
                "detect, classify and embed have keys of their own in [loss]",
            )
    return {
        head.name: own.get(head.name, config.further.get(head.name, head.loss_weight))
        for head in network.heads
    }


class Fixed:
    """A weighted sum."""

    def __init__(self, weights: dict[str, float], network: nn.Module) -> None:
        self._weights, self._network = weights, network

    def backward(self, losses: Losses, scale: Scale = unscaled) -> None:
        named = losses.items()
        if named:
            terms = [self._weights[name] * value for name, value in named]
            scale(torch.stack(terms).sum()).backward()
            add_gradients(self._network.parameters())

    def parameters(self) -> list[nn.Parameter]:
        return []

    def weights(self) -> dict[str, float]:
        return {}


class Uncertainty:
    """Learned homoscedastic uncertainty (arXiv 1705.07115, eq. 10): sum of w (exp(-s) L + s)."""

    def __init__(self, weights: dict[str, float], network: nn.Module) -> None:
        self._weights, self._network = weights, network
        where = next(network.parameters()).device
        self._log_variance = {name: nn.Parameter(torch.zeros((), device=where)) for name in weights}

    def backward(self, losses: Losses, scale: Scale = unscaled) -> None:
        terms = []
        for name, value in losses.items():
            s = self._log_variance[name]
            terms.append(self._weights[name] * ((-s).exp() * value + s))
        if terms:
            scale(torch.stack(terms).sum()).backward()
            # its own are the same everywhere already: losses have the value of all processes
            add_gradients(self._network.parameters())

    def parameters(self) -> list[nn.Parameter]:
        return list(self._log_variance.values())

    def weights(self) -> dict[str, float]:
        return {
            name: weight * float((-self._log_variance[name].detach()).exp())
            for name, weight in self._weights.items()
        }


class Jacobian:
    """An aggregator of torchjd on the parameters that tasks share (one Jacobian row per task).

    The heads get their own task's gradient. `upgrad` (arXiv 2406.16232), `aligned_mtl`
    (arXiv 2305.19000), `pcgrad` (arXiv 2001.06782), `mgda` (Desideri 2012).
    """

    def __init__(self, kind: str, weights: dict[str, float], network: MultiTaskNetwork) -> None:
        self._weights, self._fixed = weights, Fixed(weights, network)
        self._aggregator = _aggregator(kind)
        shared = {id(p) for part in network.shared for p in part.parameters()}
        trained = [p for p in network.parameters() if p.requires_grad]
        self._shared = [p for p in trained if id(p) in shared]
        self._own = [p for p in trained if id(p) not in shared]
        self._last: dict[str, float] = {}

    def backward(self, losses: Losses, scale: Scale = unscaled) -> None:
        from torchjd.autojac import backward, jac_to_grad

        named = losses.items()
        if len(named) < 2 or not self._shared:
            self._fixed.backward(losses, scale)
            return
        stacked = scale(torch.stack([self._weights[name] * value for name, value in named]))
        stacked.sum().backward(inputs=self._own, retain_graph=True)
        add_gradients(self._own)
        backward(stacked, inputs=self._shared, parallel_chunk_size=1)
        # aggregators are not linear: the rows of all processes come first
        add_up([p.jac for p in self._shared])  # type: ignore[attr-defined]
        if self._usable():
            weights = jac_to_grad(self._shared, self._aggregator)
            if weights is not None:  # newer releases of torchjd tell them
                self._last = {n: float(w) for (n, _), w in zip(named, weights, strict=True)}
        else:
            self._sum()

    def _usable(self) -> bool:
        """Whether all inner products of the rows are finite numbers, which aggregators expect."""
        squares = [p.jac.square().sum() for p in self._shared]  # type: ignore[attr-defined]
        return bool(torch.isfinite(torch.stack(squares).sum()))

    def _sum(self) -> None:
        """The plain sum of a bad batch: its norm is not finite, so the loop leaves the step out."""
        for p in self._shared:
            p.grad = p.jac.sum(0)  # type: ignore[attr-defined]
            del p.jac  # type: ignore[attr-defined]

    def parameters(self) -> list[nn.Parameter]:
        return []

    def weights(self) -> dict[str, float]:
        return self._last


def _aggregator(kind: str) -> Any:
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise MissingExtraError("torchjd", "train", f"loss.balance = '{kind}'") from error
    if kind == "upgrad":
        # torchjd's own projector wants quadprog, which is under the GPL
        return aggregation.UPGrad(projector=ExactProjector())  # type: ignore[arg-type]
    names = {"aligned_mtl": "AlignedMTL", "pcgrad": "PCGrad", "mgda": "MGDA"}
    return getattr(aggregation, names[kind])()
