"""What a graph costs: multiplications and parameters, counted from its shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import NodeProto, shape_inference

from edgemtl.graph.index import GraphIndex

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_PASSES_VALUES = frozenset({"DequantizeLinear", "Cast", "Transpose", "Reshape", "Identity"})


@dataclass(frozen=True, slots=True)
class GraphCost:
    """For one picture. ``macs``: multiply-accumulates of convolutions and matrix products;
    ``parameters``: the numbers in their weights and biases.
    """

    macs: int
    parameters: int


def graph_cost(model: onnx.ModelProto) -> GraphCost:
    """Count a float or a Q/DQ graph; where the batch is open, it is 1.

    A product of which a shape is not known from the graph counts as nothing.
    """
    sized = _sized(model)
    index = GraphIndex(sized)
    weights = set()
    for node in index.nodes:
        if node.op_type in _PRODUCTS:
            used = [*node.input[1:], *_added(node, index)]
            weights |= {name for name in (_source(name, index) for name in used) if name}
    numbers = (math.prod(index.constants[name].dims) for name in weights)
    return GraphCost(sum(node_macs(model).values()), sum(numbers))


def node_macs(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of each convolution and matrix product, by its output's name."""
    sized = _sized(model)
    shapes = _shapes(sized.graph)
    return {n.output[0]: _macs(n, shapes) for n in sized.graph.node if n.op_type in _PRODUCTS}


def _sized(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with shapes."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in (*sized.graph.input, *sized.graph.output):
        first = value.type.tensor_type.shape.dim
        if first and not first[0].HasField("dim_value"):
            first[0].dim_value = 1
    del sized.graph.value_info[:]
    return shape_inference.infer_shapes(sized, data_prop=True)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Whole shapes only."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(d.dim_value for d in dims)
    return shapes


def _macs(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Every element of the output is a sum over as many products."""
    first, second = shapes.get(node.input[0]), shapes.get(node.input[1])
    out = shapes.get(node.output[0])
    if first is None or second is None or out is None:
        return 0
    if node.op_type == "Conv":  # weights [out, in / groups, kh, kw]
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":  # weights [in, out / groups, kh, kw]
        return math.prod(first) * math.prod(second[1:])
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(out) * first[-2 if turned else -1]


def _source(name: str, index: GraphIndex) -> str | None:
    """The constant behind a tensor, through what only changes its form; None if it is computed."""
    while name and name not in index.constants:
        node = index.producer.get(name)
        if node is None or node.op_type not in _PASSES_VALUES:
            return None
        name = node.input[0]
    return name or None


def _added(node: NodeProto, index: GraphIndex) -> list[str]:
    """The bias of a matrix product is an Add of its own."""
    reader = index.only_reader(node.output[0])
    if node.op_type != "MatMul" or reader is None or reader.op_type != "Add":
        return []
    return [name for name in reader.input if name != node.output[0]]
