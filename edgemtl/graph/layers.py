"""The convolutions of a network as layers that can stay in float, and what depends on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from edgemtl.graph.cost import node_macs
from edgemtl.graph.features import feature_nodes, plan_quantisation
from edgemtl.graph.index import GraphIndex

TASK_OUTPUTS = {
    "det": frozenset({"boxes", "scores", "labels"}),
    "cls": frozenset({"image_probs"}),
    "embed": frozenset({"embeddings"}),
}
"""Graph outputs of each task; any other counts as detection, as do the rows of adopted networks."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution. ``name``: its output tensor, as in RangeTable.float_layers; ``macs``: its
    multiply-accumulates for one picture."""

    name: str
    macs: int


def quantised_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """The convolutions that INT8 reaches, in graph order."""
    macs = node_macs(model)
    convs = plan_quantisation(GraphIndex(model)).convs
    return tuple(Layer(node.output[0], macs.get(node.output[0], 0)) for node in convs)


def with_sums(model: onnx.ModelProto, layers: Collection[str]) -> tuple[str, ...]:
    """``layers`` and the operators whose inputs all stay float, in graph order.

    A sum of two float convolutions would otherwise go to integers and back for nothing; where an
    INT8 convolution reads it, it is quantised there all the same.
    """
    index = GraphIndex(model)
    features = feature_nodes(index)
    left_out = set(layers)
    is_float = dict.fromkeys(index.inputs, True)
    for node in features:
        name = node.output[0]
        given = [is_float.get(tensor, True) for tensor in index.activations(node)]
        is_float[name] = name in left_out if node.op_type == "Conv" else all(given)
        if (
            node.op_type != "Conv" and is_float[name] and index.bounds(node) is None
        ):  # an activation is its convolution's
            left_out.add(name)
    return tuple(node.output[0] for node in features if node.output[0] in left_out)


def exits(model: onnx.ModelProto) -> dict[str, str]:
    """Where values leave the features: tensor -> the task of TASK_OUTPUTS that they become.

    Of several tasks behind one tensor it is the first: which boxes are chosen decides which
    embeddings are asked for, but that is not the embedding's error.
    """
    index = GraphIndex(model)
    features = {node.output[0] for node in feature_nodes(index)}
    found = {}
    for node in index.nodes:
        name = node.output[0] if node.output else ""
        readers = index.consumers.get(name, [])
        behind = [r for r in readers if r.output[0] not in features]
        if name in features and (behind or name in index.outputs):
            reached = _reached(index, [o for r in behind for o in r.output])
            reached |= index.outputs & {name}
            tasks = (t for t, outputs in TASK_OUTPUTS.items() if outputs & reached)
            found[name] = next(tasks, "det")
    return found


def _reached(index: GraphIndex, names: list[str]) -> set[str]:
    """The graph outputs that depend on the tensors."""
    waiting, seen = list(names), set(names)
    while waiting:
        for reader in index.consumers.get(waiting.pop(), []):
            fresh = set(reader.output) - seen
            seen |= fresh
            waiting += fresh
    return seen & index.outputs
