"""A network that computes as its INT8 graph will: rounded where the graph rounds.

Where that is, is read from the graph, and followed through the network call by call: a convolution
is known by its weights, what reads its output by what the graph says reads it. So nothing about the
placement is said a second time, and any backbone will do. Rounding has no slope; gradients pass
through it as if it were not there (straight-through estimator, arXiv 1308.3432, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgemtl.errors import ModelError
from edgemtl.graph.dialect import Dialect
from edgemtl.graph.features import feature_nodes
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.ranges import RangeTable
from edgemtl.graph.rounding import Grid, RoundedConvolution, Roundings, read_roundings

_PREFIX, _SUFFIX = "network.", ".weight"
"""Around a module's path in the name of its weights in an exported graph."""
_KINDS = {
    "add": "Add", "add_": "Add", "__add__": "Add", "__iadd__": "Add",
    "relu": "Relu", "relu_": "Relu",
    "relu6": "Clip", "hardtanh": "Clip", "interpolate": "Resize", "cat": "Concat",
    "max_pool2d": "MaxPool", "avg_pool2d": "AveragePool",
}  # fmt: skip
"""Functions of torch and the operators that an exporter makes of them."""


class Rounder:
    """``model``: the float graph of a network with batch norm folded; ``ranges``: its table."""

    def __init__(
        self, model: onnx.ModelProto, ranges: RangeTable, dialects: Sequence[Dialect]
    ) -> None:
        """Raises CalibrationError for a table of another model, and for one that lacks a range."""
        self._index = GraphIndex(model)
        self._roundings = [read_roundings(model, ranges, dialect) for dialect in dialects]
        convs = [node for node in feature_nodes(self._index) if node.op_type == "Conv"]
        self._outputs = {node.input[1]: node.output[0] for node in convs}

    @contextmanager
    def applied(self, network: nn.Module, number: int = 0) -> Iterator[Followed]:
        """``network`` rounds within this context, in the dialect whose turn ``number`` is.

        The parameters that it rounds are hidden meanwhile: take them before. Raises ModelError for
        a network that is not the graph's.
        """
        rounding = self._roundings[number % len(self._roundings)]
        modules = {f"{_PREFIX}{name}{_SUFFIX}": m for name, m in network.named_modules()}
        lost = sorted(self._outputs.keys() - modules.keys())
        if lost:
            raise ModelError(
                f"rounding: the network has no weights '{lost[0]}', its graph has",
                "fold its batch norm, and export it again",
            )
        followed = Followed(self._index, rounding, next(iter(self._outputs.values())))
        with ExitStack() as stack:
            for weight, output in self._outputs.items():
                hook = modules[weight].register_forward_hook(followed.hook(output))
                stack.callback(hook.remove)
            for conv in rounding.convolutions:
                stack.enter_context(_rounded(modules[conv.weight], conv))
            stack.enter_context(followed)
            yield followed


class Followed(TorchFunctionMode):
    """Names the results of functions as the graph does, and rounds those that it rounds.

    ``first``: what the first convolution makes, where another picture begins.
    """

    def __init__(self, index: GraphIndex, rounding: Roundings, first: str) -> None:
        super().__init__()
        self._index, self._grids, self._first = index, rounding.grids, first
        # by identity; the tensor is kept, so that no other one gets its number
        self._names: dict[int, tuple[Tensor, str]] = {}

    def tensors(self) -> dict[str, Tensor]:
        """What the last picture's tensors are, by their names in the graph.

        One that a function changed in place is gone.
        """
        return {name: tensor for tensor, name in self._names.values()}

    def hook(self, output: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        """For the convolution that makes ``output``."""

        def made(module: nn.Module, args: Any, out: Tensor) -> Tensor:
            if output == self._first:
                self._names.clear()  # another picture: let go of the last one's
            return self._made(out, output)

        return made

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = _KINDS.get(getattr(func, "__name__", ""))
        given = [] if kind is None else self._given(args)
        out = func(*args, **(kwargs or {}))
        if not given or not isinstance(out, Tensor):
            return out
        self._names.pop(id(out), None)  # changed in place
        for node in self._index.consumers.get(given[0], []):
            if node.op_type == kind and sorted(self._index.activations(node)) == sorted(given):
                return self._made(out, node.output[0])
        return out

    def _given(self, args: Sequence[Any]) -> list[str]:
        """The names of all tensors among the arguments; none if one has no name."""
        parts = [part for arg in args for part in (arg if isinstance(arg, list) else [arg])]
        known = [self._names.get(id(part)) for part in parts if isinstance(part, Tensor)]
        names = [entry[1] for entry in known if entry is not None]
        return names if len(names) == len(known) else []

    def _made(self, out: Tensor, name: str) -> Tensor:
        grid = self._grids.get(name)
        if grid is not None:
            out = _on_grid(out, grid)
        self._names[id(out)] = out, name
        return out


def _on_grid(values: Tensor, grid: Grid) -> Tensor:
    found: Tensor = torch.fake_quantize_per_tensor_affine(
        values.float(), grid.scale, grid.zero, grid.low, grid.high
    )
    return found


@contextmanager
def _rounded(module: nn.Module, conv: RoundedConvolution) -> Iterator[None]:
    """``module``, a convolution, has rounded weights meanwhile, and the bias that belongs to them.

    They are plain tensors in the place of the parameters, which they depend on.
    """
    kept = dict(module._parameters)
    weight, bias = kept["weight"], kept["bias"]
    assert weight is not None
    zero = torch.zeros(len(weight), device=weight.device)
    integers = conv.quantised(_numbers(weight), _numbers(zero if bias is None else bias))
    shown = {
        "weight": _towards(weight, integers.restored),
        "bias": _towards(zero if bias is None else bias, integers.bias.astype(np.float32)),
    }
    for name in kept:
        del module._parameters[name]
    try:
        for name, value in shown.items():
            setattr(module, name, value)
        yield
    finally:
        for name in shown:
            module.__dict__.pop(name, None)
        module._parameters.update(kept)


def _numbers(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.detach().cpu().float().numpy())


def _towards(values: Tensor, rounded: NDArray[np.float32]) -> Tensor:
    """``rounded``, with the gradient of ``values``."""
    there = torch.from_numpy(rounded).to(values.device)
    return values + (there - values.detach())
