"""Multiplications and parameters of graphs, by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of, measured, pictures
from onnx import TensorProto, helper, numpy_helper
from tiny_model import tiny_model

from edgemtl.graph.cost import graph_cost
from edgemtl.graph.dialect import TRT, host_dialect
from edgemtl.graph.qdq import quantise_model


def model(nodes: list, constants: dict[str, tuple[int, ...]], shape: list, out: list) -> object:
    tensors = [
        numpy_helper.from_array(np.ones(dims, np.float32), name) for name, dims in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def test_grouped_convolution_with_an_open_batch() -> None:
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, group=4
    )
    made = model([node], {"w": (8, 2, 3, 3), "b": (8,)}, ["N", 8, 10, 6], ["N", 8, 5, 3])
    found = graph_cost(made)
    assert found.macs == 8 * 5 * 3 * 2 * 9
    assert found.parameters == 8 * 2 * 9 + 8


def test_matrix_products_and_their_biases() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Gemm", ["q", "v", "c"], ["y"], transB=1),
    ]
    constants = {"w": (7, 5), "b": (5,), "v": (3, 5), "c": (3,)}
    found = graph_cost(model(nodes, constants, ["N", 7], ["N", 3]))
    assert found.macs == 7 * 5 + 5 * 3
    assert found.parameters == 35 + 5 + 15 + 3


def test_nothing_to_multiply() -> None:
    found = graph_cost(model([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", 4], ["N", 4]))
    assert (found.macs, found.parameters) == (0, 0)


@pytest.mark.parametrize("dialect", [TRT, host_dialect()])
def test_quantising_changes_neither(dialect: object) -> None:
    exact = tiny_model()
    manifest = manifest_of(exact)
    table = measured(exact, pictures(manifest))
    quantised, _ = quantise_model(exact, manifest, table, dialect)
    before, after = graph_cost(exact), graph_cost(quantised)
    assert before.macs == after.macs > 100_000
    weights = sum(
        int(np.prod(t.dims)) for t in exact.graph.initializer
        if t.data_type == TensorProto.FLOAT and len(t.dims) == 4
    )  # fmt: skip
    assert after.parameters == before.parameters > weights
    assert isinstance(exact, onnx.ModelProto)
