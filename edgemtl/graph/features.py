"""The part of a network that lower precision speeds up: convolutions and what lies between them.

It starts at the picture and ends where values become coordinates, logits or embeddings. What lies
behind (TopK, box decode, sigmoid, softmax, normalisation) stays float32 in every precision.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from onnx import NodeProto

from edgemtl.graph.index import GraphIndex

FEATURE_KINDS = frozenset({
    "Conv", "Clip", "Relu", "Sigmoid", "Mul", "Add", "MaxPool", "AveragePool", "Resize", "Concat",
    "Slice",
})  # fmt: skip
"""Sigmoid and Mul where they are SiLU together: x times sigmoid of x."""
_KEEPS_VALUES = frozenset({"MaxPool", "Resize", "Slice"})
_SAMPLERS = frozenset({"GridSample"})
"""They read a few places of a whole map, which is a feature for all that; but not where a depthwise
convolution makes it, whose integers cost more on the way there and back than they save."""


@dataclass(frozen=True, slots=True)
class QuantisationPlan:
    """What runs in INT8, before any number is known.

    convs: the convolutions with INT8 weights, in graph order; predictors: those of them whose raw
    output leaves the features, as coordinates or logits; tensors: the activations that get Q/DQ,
    in graph order; shared: tensor -> tensors of its group, which must have one common range
    because an operator between them passes integers through unchanged.
    """

    convs: tuple[NodeProto, ...]
    predictors: frozenset[str]
    tensors: tuple[str, ...]
    shared: dict[str, tuple[str, ...]]


def feature_nodes(index: GraphIndex) -> list[NodeProto]:
    """Nodes of feature kinds that depend on the picture through such nodes only, in order."""
    alive = set(index.inputs)
    found = []
    for node in index.nodes:
        inputs = index.activations(node)
        fed = bool(inputs) and all(name in alive for name in inputs)
        if fed and node.op_type == "DequantizeLinear":
            alive.update(node.output)
        elif fed and _fits(node, index):
            alive.update(node.output)
            found.append(node)
    return found


def _fits(node: NodeProto, index: GraphIndex) -> bool:
    if node.op_type == "Conv":
        return all(name in index.constants for name in node.input[1:])
    if node.op_type == "Add":
        return len(index.activations(node)) == 2
    if node.op_type == "Clip":
        return index.bounds(node) is not None
    if node.op_type == "Slice":
        return all(name in index.constants for name in node.input[1:] if name)
    if node.op_type == "Sigmoid":
        reader = index.only_reader(node.output[0])
        return reader is not None and _is_silu(reader, index)
    if node.op_type == "Mul":
        return _is_silu(node, index)
    return node.op_type in FEATURE_KINDS


def _is_silu(node: NodeProto, index: GraphIndex) -> bool:
    """x * sigmoid(x), in either order."""
    makers = [index.producer.get(name) for name in node.input]
    return node.op_type == "Mul" and any(
        maker is not None and maker.op_type == "Sigmoid" and maker.input[0] == other
        for maker, other in zip(makers, reversed(node.input), strict=True)
    )


def activation_of(conv: NodeProto, index: GraphIndex) -> NodeProto | None:
    """The Relu or Clip that every reader of this convolution sees, fused into it by backends."""
    reader = index.only_reader(conv.output[0])
    if conv.op_type == "Conv" and reader is not None and index.bounds(reader) is not None:
        return reader
    return None


def plan_quantisation(
    index: GraphIndex, float_layers: Collection[str] = (), share_concat: bool = False
) -> QuantisationPlan:
    """Decide what runs in INT8; ``float_layers`` names output tensors of nodes to be left out.

    ``share_concat`` gives the inputs and the output of a Concat one range too.
    """
    features = feature_nodes(index)
    outputs = {node.output[0] for node in features}
    chosen = [n for n in features if not _is_float(n, index, float_layers)]
    fused = {n.output[0] for n in features if activation_of(n, index) is not None}
    wanted: dict[str, None] = {}
    predictors = set()
    for node in chosen:
        wanted.update(dict.fromkeys(index.activations(node)))
        readers = index.consumers.get(node.output[0], [])
        stays = any(r.output[0] in outputs for r in readers)
        sampled = any(r.op_type in _SAMPLERS for r in readers) and not _depthwise(node, index)
        if node.op_type == "Conv" and not (stays or sampled):
            predictors.add(node.output[0])
        else:
            wanted[node.output[0]] = None
    order = [*sorted(index.inputs), *(name for node in index.nodes for name in node.output)]
    tensors = tuple(t for t in order if t in wanted and t not in fused and not _ready(t, index))
    convs = tuple(n for n in chosen if n.op_type == "Conv")
    kinds = _KEEPS_VALUES | {"Concat"} if share_concat else _KEEPS_VALUES
    groups = _groups([n for n in chosen if n.op_type in kinds], index)
    return QuantisationPlan(convs, frozenset(predictors), tensors, groups)


def _depthwise(node: NodeProto, index: GraphIndex) -> bool:
    """One channel in for each channel out."""
    return node.op_type == "Conv" and index.value(node.input[1]).shape[1] == 1


def _is_float(node: NodeProto, index: GraphIndex, float_layers: Collection[str]) -> bool:
    """An activation belongs to its convolution: either name leaves out both."""
    names = {node.output[0]}
    reader = activation_of(node, index)
    if reader is not None:
        names.add(reader.output[0])
    before = index.producer.get(node.input[0])
    if before is not None and activation_of(before, index) is node:
        names.add(before.output[0])
    return not names.isdisjoint(float_layers)


def _ready(tensor: str, index: GraphIndex) -> bool:
    """Comes from DequantizeLinear already: the int8 front."""
    producer = index.producer.get(tensor)
    return producer is not None and producer.op_type == "DequantizeLinear"


def _groups(nodes: list[NodeProto], index: GraphIndex) -> dict[str, tuple[str, ...]]:
    group: dict[str, list[str]] = {}
    for node in nodes:
        members: list[str] = []
        for name in (*index.activations(node), node.output[0]):
            for member in group.get(name, [name]):
                if member not in members:
                    members.append(member)
        for member in members:
            group[member] = members
    return {name: tuple(members) for name, members in group.items()}
