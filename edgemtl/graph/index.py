"""Who makes and who reads each tensor of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper


class GraphIndex:
    """Look-ups over one graph; made anew after every change of it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.inputs = {value.name for value in graph.input}
        self.outputs = {value.name for value in graph.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producer: dict[str, NodeProto] = {}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.output:
                self.producer[name] = node
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)

    def activations(self, node: NodeProto) -> list[str]:
        """The node's inputs that are neither constant nor left out."""
        return [name for name in node.input if name and name not in self.constants]

    def value(self, name: str) -> NDArray[Any]:
        """A constant's numbers."""
        return numpy_helper.to_array(self.constants[name])

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that reads this tensor, if nothing else does."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def bounds(self, node: NodeProto) -> tuple[float, float] | None:
        """The closed interval that a Relu or a constant Clip keeps values in, else None."""
        if node.op_type == "Relu":
            return (0.0, np.inf)
        if node.op_type != "Clip":
            return None
        limits = [-np.inf, np.inf]
        for side, name in enumerate(node.input[1:3]):
            if name and name not in self.constants:
                return None
            if name:
                limits[side] = float(self.value(name))
        return (limits[0], limits[1])
