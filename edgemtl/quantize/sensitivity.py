"""How much each layer disturbs each task when it alone runs in INT8."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgemtl.graph.dialect import Dialect
from edgemtl.graph.features import feature_nodes
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.layers import Layer, exits, quantised_layers
from edgemtl.graph.qdq import insert_qdq
from edgemtl.graph.ranges import RangeTable
from edgemtl.progress import track
from edgemtl.quantize.collect import open_onnx, watch
from edgemtl.quantize.report import convert_pixels

ERRORS_OF = {"det": ("det",), "cls": ("cls",), "embed": ("embed",), "track": ("det", "embed")}
"""Task of a budget -> the exits (see graph.layers.exits) whose errors it feels."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """``errors``: exit task -> mean over its exits of the error's power over the signal's, with
    this layer alone in INT8; of several dialects the largest."""

    layer: Layer
    errors: Mapping[str, float]

    def of(self, tasks: Collection[str]) -> float:
        """The worst over tasks of a budget."""
        felt = {part for task in tasks for part in ERRORS_OF[task]}
        return max((self.errors.get(part, 0.0) for part in felt), default=0.0)


def measure_sensitivity(
    model: onnx.ModelProto,
    ranges: RangeTable,
    dialects: Sequence[Dialect],
    batches: Iterable[NDArray[Any]],
    threads: int = 0,
) -> tuple[Sensitivity, ...]:
    """Every layer's, in graph order, over a few float inputs of the network.

    Integers are computed in float32 with their Q/DQ: what is asked is what rounding to them does,
    neither what a kernel does nor what float16 does to the other layers. All batches are kept in
    memory, with what the float model makes of them.
    """
    parts = exits(model)
    kept = [batch.copy() for batch in batches]
    exact = _outputs(model, parts, kept, threads)
    power = [_power(values, values.mean()) for values in exact]
    found = []
    index = GraphIndex(model)
    every = [n.output[0] for n in feature_nodes(index) if index.bounds(n) is None]
    layers = quantised_layers(model)
    for layer in track(layers, "each layer alone in INT8"):
        others = tuple(name for name in every if name != layer.name)
        alone = ranges.model_copy(update={"float_layers": others})
        worst = dict.fromkeys(parts.values(), 0.0)
        for dialect in (replace(one, half=False) for one in dialects):
            values = _outputs(insert_qdq(model, alone, dialect), parts, kept, threads)
            errors: dict[str, list[float]] = {}
            for part, right, wrong, whole in zip(parts.values(), exact, values, power, strict=True):
                errors.setdefault(part, []).append(_power(wrong - right, 0.0) / max(whole, 1e-12))
            worst = {part: max(worst[part], float(np.mean(e))) for part, e in errors.items()}
        found.append(Sensitivity(layer, worst))
    return tuple(found)


def _outputs(
    graph: onnx.ModelProto,
    names: Mapping[str, str],
    batches: Sequence[NDArray[Any]],
    threads: int,
) -> list[NDArray[np.float32]]:
    """The tensors over all batches, f32 [pictures, ...] each."""
    session = open_onnx(watch(graph, list(names)), emulate=True, threads=threads)
    entry = session.get_inputs()[0]
    shown = "uint8" if entry.type == "tensor(uint8)" else "int8"
    rows = [
        session.run(list(names), {entry.name: convert_pixels(batch, str(batch.dtype), shown)})
        for batch in batches
    ]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _power(values: NDArray[np.float32], middle: float) -> float:
    return float(np.square(values.astype(np.float64) - middle).mean())
