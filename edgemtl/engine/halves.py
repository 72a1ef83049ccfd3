"""Graphs with float16 Q/DQ, where ONNX Runtime computes them wrongly.

ONNX Runtime 1.23, the last one for Python 3.10 and so for JetPack 6, cuts float16 towards zero
where ONNX wants the nearest integer. There such a graph is computed in float32, with the same
scales, weights and integers.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def computable(graph: bytes) -> bytes:
    """An ONNX graph as this host's ONNX Runtime computes it rightly: as it is, or in float32."""
    if _rounds():
        return graph
    model = onnx.load_from_string(graph)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    quantised = (n for n in model.graph.node if n.op_type == "QuantizeLinear")
    if not any(kinds.get(node.input[1]) == TensorProto.FLOAT16 for node in quantised):
        return graph
    data: bytes = in_float32(model).SerializeToString()
    return data


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose float16 numbers are float32, and what is computed with them."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in wide.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    del wide.graph.value_info[:]
    return wide


@functools.cache
def _rounds() -> bool:
    """Whether float16 is quantised to the nearest integer here."""
    values = np.array([-0.97, -0.28, 0.37, 0.98], np.float16)
    scale, zero = np.array(0.5, np.float16), np.array(0, np.int8)
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])
    graph = helper.make_graph(
        [node], "rounds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, values.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, values.shape)],
        [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(zero, "zero")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": values})
    return bool((found == [-2, -1, 1, 2]).all())
