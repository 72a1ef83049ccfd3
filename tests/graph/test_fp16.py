"""float16: which tensors are half precision, and how close the outputs stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graph_tools import manifest_of, pictures, run
from onnx import TensorProto, numpy_helper, shape_inference
from tiny_model import tiny_model

from edgemtl.errors import ModelError
from edgemtl.graph.file import save_model
from edgemtl.graph.fp16 import to_fp16


def test_outputs_stay_close_and_float32(tmp_path: Path) -> None:
    model = tiny_model()
    half = to_fp16(model)
    manifest = manifest_of(model).model_copy(update={"precision": "fp16"})
    save_model(half, manifest, tmp_path / "m.onnx")
    images = pictures(manifest)
    want, have = run(model, images), run(half, images)
    for name in ("scores", "embeddings", "image_probs"):
        assert have[name].dtype == np.float32
        assert np.abs(want[name] - have[name]).max() < 0.02, name


def test_types_are_written_down() -> None:
    half = shape_inference.infer_shapes(to_fp16(tiny_model()), strict_mode=True)
    kinds = {v.name: v.type.tensor_type.elem_type for v in half.graph.value_info}
    of = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    for node in half.graph.node:
        if node.op_type == "Conv":
            assert {of[name] for name in node.input[1:]} == {TensorProto.FLOAT16}
            assert kinds[node.output[0]] == TensorProto.FLOAT16
        if node.op_type in {"TopK", "Exp", "Softmax", "Gemm", "MatMul", "ReduceMax", "Div"}:
            assert {kinds.get(n, TensorProto.FLOAT) for n in node.input[:1]} == {TensorProto.FLOAT}
    assert half.graph.node[0].op_type == "DequantizeLinear"
    assert of[half.graph.node[0].input[1]] == TensorProto.FLOAT16
    names = [name for node in half.graph.node for name in node.input]
    assert all(tensor.name in names for tensor in half.graph.initializer), "no float copies left"


@pytest.mark.parametrize("value", [1e6, -1e6, np.nan, np.inf])
def test_weights_outside_float16_are_refused(value: float) -> None:
    model = tiny_model()
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    weight = next(t for t in model.graph.initializer if t.name == conv.input[1])
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = value
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(ModelError, match="float16"):
        to_fp16(model)


def test_float_pixels_are_cast() -> None:
    model = tiny_model(classes=(), embedding_dim=None)
    renamed = model.graph.node[0].output[0]
    del model.graph.node[0]
    for node in model.graph.node:
        node.input[:] = ["images" if name == renamed else name for name in node.input]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    images = pictures(manifest_of(model)).astype(np.float32) / 128
    want, have = run(model, images), run(to_fp16(model), images)
    assert np.abs(want["image_probs"] - have["image_probs"]).max() < 0.02
