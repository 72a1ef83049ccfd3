"""What Q/DQ will do on TensorRT: which convolutions run on integers, and what is in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import NodeProto, TensorProto

from edgemtl.graph.index import GraphIndex

_ON_INTEGERS = frozenset({
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool",
    "MatMul", "MaxPool", "Relu", "Reshape", "Resize", "Slice", "Transpose",
})  # fmt: skip
"""Operators that TensorRT computes on integers, or moves them through (its guide, explicit
quantisation)."""
_NAMES = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}


def convolution_precisions(model: onnx.ModelProto) -> dict[str, str]:
    """Output tensor of each convolution -> ``int8``, ``fp16`` or ``fp32``.

    int8 is where input and weights both come from integers.
    """
    index = GraphIndex(model)
    return {n.output[0]: _precision(n, index) for n in index.nodes if n.op_type == "Conv"}


def counted(precisions: dict[str, str]) -> str:
    """``85 int8, 3 fp16``, for people."""
    return ", ".join(f"{n} {kind}" for kind, n in Counter(precisions.values()).most_common())


def unfused(model: onnx.ModelProto) -> Iterator[str]:
    """Q/DQ of a graph that will not become integer arithmetic, in words."""
    index = GraphIndex(model)
    for node in index.nodes:
        if node.op_type == "Conv":
            yield from _half_quantised(node, index)
        elif node.op_type == "DequantizeLinear":
            yield from _round_trips(node, index)


def _half_quantised(conv: NodeProto, index: GraphIndex) -> Iterator[str]:
    """A convolution of which only one side is integers; pixels are, as they come."""
    front = index.producer.get(conv.input[0])
    pixels = front is not None and front.input[0] in index.inputs
    x, w = (_is_dequantised(name, index) for name in conv.input[:2])
    if x != w and not (pixels and x):
        has, lacks = ("input", "weights") if x else ("weights", "input")
        called = f"convolution '{conv.output[0]}'"
        yield f"{called}: its {has} has Q/DQ, its {lacks} has none: it runs in float"


def _round_trips(node: NodeProto, index: GraphIndex) -> Iterator[str]:
    """An activation that nobody reads as integers, nor a convolution makes as such."""
    maker = index.producer.get(node.input[0])
    readers = index.consumers.get(node.output[0], [])
    if maker is None or maker.op_type != "QuantizeLinear" or not readers:
        return
    source = _before_bounds(maker.input[0], index)
    exit_of_integers = source is not None and source.op_type == "Conv"
    if not exit_of_integers and not any(reader.op_type in _ON_INTEGERS for reader in readers):
        kinds = ", ".join(sorted({reader.op_type for reader in readers}))
        yield f"'{node.output[0]}' goes to integers and back: only {kinds} reads it"


def _precision(node: NodeProto, index: GraphIndex) -> str:
    if all(_is_dequantised(name, index) for name in node.input[:2]):
        return "int8"
    weights = index.constants.get(node.input[1])
    if weights is None:  # dequantised: the type is its scale's
        maker = index.producer.get(node.input[1])
        weights = None if maker is None else index.constants.get(maker.input[1])
    return "unknown" if weights is None else _NAMES.get(weights.data_type, "unknown")


def _is_dequantised(name: str, index: GraphIndex) -> bool:
    maker = _before_bounds(name, index)
    return maker is not None and maker.op_type == "DequantizeLinear"


def _before_bounds(name: str, index: GraphIndex) -> NodeProto | None:
    """What makes a tensor, bounds aside: backends fuse them with what comes before."""
    maker = index.producer.get(name)
    while maker is not None and maker.op_type in {"Relu", "Clip"}:
        maker = index.producer.get(maker.input[0])
    return maker
