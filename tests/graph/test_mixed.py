"""INT8 and float16 in one graph, as TensorRT gets it: types, numbers, and what float16 cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of, measured, pictures, run
from onnx import TensorProto, numpy_helper, shape_inference
from tiny_model import tiny_model

from edgemtl.graph.dialect import ORT_X86, TRT
from edgemtl.graph.features import feature_nodes, plan_quantisation
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.qdq import insert_qdq
from edgemtl.graph.ranges import RangeTable

FULL = replace(TRT, half=False)


def _measured(model: onnx.ModelProto, **changes: object) -> RangeTable:
    return measured(model, pictures(manifest_of(model)), **changes)


def _third(model: onnx.ModelProto) -> tuple[str, ...]:
    return (plan_quantisation(GraphIndex(model)).convs[2].output[0],)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    typed = shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {t.name: t.data_type for t in typed.initializer}
    values = (*typed.input, *typed.value_info, *typed.output)
    return found | {v.name: v.type.tensor_type.elem_type for v in values}


@pytest.mark.parametrize("in_float", [False, True], ids=["int8", "a layer in float16"])
def test_types_are_written_down(in_float: bool) -> None:
    model = tiny_model()
    made = insert_qdq(model, _measured(model, float_layers=_third(model) if in_float else ()), TRT)
    types, features = _types(made), {n.output[0] for n in feature_nodes(GraphIndex(model))}
    index = GraphIndex(made)
    for node in made.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            assert types[node.input[1]] == TensorProto.FLOAT16
        if node.op_type == "Conv" and node.output[0].removesuffix("/float") in features:
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}
        if node.op_type in {"TopK", "Exp", "Softmax", "Gemm", "MatMul", "ReduceMax", "Div"}:
            assert types[node.input[0]] == TensorProto.FLOAT
    assert all(types[o.name] != TensorProto.FLOAT16 for o in made.graph.output)
    stored = [n for n in made.graph.node if n.op_type == "Conv" and n.input[1] in index.constants]
    assert [node.output[0] for node in stored] == (list(_third(model)) if in_float else [])


@pytest.mark.parametrize("in_float", [False, True], ids=["int8", "a layer in float16"])
def test_half_scales_hardly_change_what_it_computes(in_float: bool) -> None:
    """The scales are quantised with as the graph names them, so that rounding them costs little."""
    model = tiny_model()
    table = _measured(model, float_layers=_third(model) if in_float else ())
    images = pictures(manifest_of(model), count=8, seed=1)
    exact = run(model, images)["image_probs"]
    errors = {
        dialect.half: np.abs(run(insert_qdq(model, table, dialect), images)["image_probs"] - exact)
        for dialect in (TRT, FULL)
    }
    assert errors[True].mean() < 1.5 * errors[False].mean() + 1e-3


def test_integers_stand_for_the_weights_at_the_half_scales() -> None:
    model = tiny_model()
    made = insert_qdq(model, _measured(model), TRT)
    before, after = GraphIndex(model), GraphIndex(made)
    for conv in plan_quantisation(before).convs:
        weights = before.value(conv.input[1])
        scale = after.value(f"{conv.output[0]}/weight_scale/half").astype(np.float32)
        integers = after.value(f"{conv.output[0]}/weight_quantised")
        restored = integers * scale.reshape(-1, 1, 1, 1)
        assert (np.abs(restored - weights) <= 0.5001 * scale.reshape(-1, 1, 1, 1)).all()


@pytest.mark.parametrize("what", ["weights", "activations"])
def test_what_float16_cannot_hold_stays_float32(what: str) -> None:
    model = tiny_model()
    if what == "weights":
        conv = next(n for n in model.graph.node if n.op_type == "Conv")
        stored = next(t for t in model.graph.initializer if t.name == conv.input[2])
        values = numpy_helper.to_array(stored).copy()
        values[0] = 1e5
        stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    table = _measured(model)
    if what == "activations":
        name = next(iter(table.ranges))
        table = table.model_copy(update={"ranges": {**table.ranges, name: (-1e5, 1.0)}})
    assert TensorProto.FLOAT16 not in _types(insert_qdq(model, table, TRT)).values()


def test_what_lies_between_layers_in_float_counts_too() -> None:
    """A layer may be left in float for the very values that float16 does not hold."""
    model = tiny_model()
    index = GraphIndex(model)
    whole = plan_quantisation(index)
    floats = tuple(node.output[0] for node in whole.convs[:-1])
    inner = set(whole.tensors) - set(plan_quantisation(index, floats).tensors)
    assert inner
    table = _measured(model, float_layers=floats)
    assert TensorProto.FLOAT16 in _types(insert_qdq(model, table, TRT)).values()
    for name in sorted(inner):
        huge = table.model_copy(update={"ranges": {**table.ranges, name: (-1.0, 1e5)}})
        assert TensorProto.FLOAT16 not in _types(insert_qdq(model, huge, TRT)).values(), name
    # a table need not know them: they are not quantised
    known = {k: v for k, v in table.ranges.items() if k not in inner}
    bare = table.model_copy(update={"ranges": known})
    assert TensorProto.FLOAT16 in _types(insert_qdq(model, bare, TRT)).values()


def test_a_host_has_no_half() -> None:
    model = tiny_model()
    assert TensorProto.FLOAT16 not in _types(insert_qdq(model, _measured(model), ORT_X86)).values()
