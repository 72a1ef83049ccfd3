"""What an INT8 graph rounds: read from the graph itself, for whoever trains with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from edgemtl.graph.dialect import Dialect
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.qdq import insert_qdq, require_table_of
from edgemtl.graph.ranges import RangeTable
from edgemtl.graph.weights import IntegerWeights, quantise_convolution


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that an activation may have: (q - zero) * scale, for q from low to high."""

    scale: float
    zero: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class RoundedConvolution:
    """A convolution with integer weights. ``output``: its tensor in the float graph; ``weight``:
    the name of its weights there."""

    output: str
    weight: str
    _scale_x: NDArray[np.float32]
    _means: NDArray[np.float64] | None
    _dialect: Dialect

    def quantised(self, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> IntegerWeights:
        """Its integers if it had these numbers, f32 [O, I, kh, kw] and [O]."""
        return quantise_convolution(weights, bias, self._scale_x, self._means, self._dialect)


@dataclass(frozen=True, slots=True)
class Roundings:
    """``grids``: tensor of the float graph -> its grid; all others keep their numbers."""

    grids: Mapping[str, Grid]
    convolutions: tuple[RoundedConvolution, ...]


def read_roundings(model: onnx.ModelProto, ranges: RangeTable, dialect: Dialect) -> Roundings:
    """What :func:`edgemtl.graph.qdq.insert_qdq` rounds of a float model, float16 apart.

    Raises CalibrationError as it does, and for a table of another model.
    """
    require_table_of(model, ranges)
    dialect = replace(dialect, half=False)
    before, after = GraphIndex(model), GraphIndex(insert_qdq(model, ranges, dialect))
    grids: dict[str, Grid] = {}
    scales: dict[str, NDArray[np.float32]] = {}
    for node in after.nodes:
        if node.op_type != "DequantizeLinear" or node.input[0] in after.constants:
            continue
        name, scale = node.output[0].removesuffix("/dequantised"), after.value(node.input[1])
        if node.input[0] in after.inputs:
            scales[name] = scale  # pixels are integers already
        elif scale.ndim == 0:
            zero = after.value(node.input[2])
            limits = np.iinfo(zero.dtype)
            scales[name] = scale
            grids[name] = Grid(float(scale), int(zero), int(limits.min), int(limits.max))
    return Roundings(grids, tuple(_convolutions(before, after, scales, ranges, dialect)))


def _convolutions(
    before: GraphIndex,
    after: GraphIndex,
    scales: Mapping[str, NDArray[np.float32]],
    ranges: RangeTable,
    dialect: Dialect,
) -> list[RoundedConvolution]:
    found = []
    for node in before.nodes:
        name = node.output[0]
        if node.op_type == "Conv" and f"{name}/weight_quantised" in after.constants:
            means = np.asarray(ranges.channel_means(node.input[0])) if ranges.means else None
            found.append(
                RoundedConvolution(name, node.input[1], scales[node.input[0]], means, dialect)
            )
    return found
