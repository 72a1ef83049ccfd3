"""TensorRT-RTX parses and builds every precision, without a GPU."""

from __future__ import annotations

import onnx
import pytest
from graph_tools import manifest_of, measured, pictures
from tiny_model import tiny_model

from edgemtl.graph.dialect import TRT
from edgemtl.graph.fp16 import to_fp16
from edgemtl.graph.qdq import insert_qdq

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


def _int8(model: onnx.ModelProto) -> onnx.ModelProto:
    return insert_qdq(model, measured(model, pictures(manifest_of(model))), TRT)


@pytest.mark.parametrize("change", [lambda m: m, to_fp16, _int8], ids=["fp32", "fp16", "int8"])
def test_strongly_typed_build(change) -> None:  # type: ignore[no-untyped-def]
    model = change(tiny_model())
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString()), parser.get_error(0)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("images", (1, 3, 32, 64), (1, 3, 32, 64), (4, 3, 32, 64))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
