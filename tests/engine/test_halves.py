"""float16 Q/DQ on an ONNX Runtime that cuts instead of rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graph_tools import manifest_of, measured, pictures, run
from onnx import TensorProto
from tiny_model import tiny_model

from edgemtl.engine import halves
from edgemtl.engine.ort import OrtSession
from edgemtl.graph.dialect import TRT
from edgemtl.graph.file import save_model
from edgemtl.graph.fp16 import to_fp16
from edgemtl.graph.qdq import quantise_model


def _half() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A float model, and its graph for TensorRT."""
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    return model, quantise_model(model, manifest_of(model), table, TRT)[0]


def _kinds(data: bytes) -> set[int]:
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    return {tensor.data_type for tensor in model.graph.initializer}


def test_the_host_rounds_or_computes_in_float32() -> None:
    """Whatever the version: the outputs are those of the numbers in the graph."""
    model, half = _half()
    images = pictures(manifest_of(model), count=4, seed=2)
    exact = run(model, images)["image_probs"]
    wide = halves.in_float32(half)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        wide.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (want,) = session.run(["image_probs"], {"images": images})
    have = run(half, images)["image_probs"]
    assert np.abs(have - want).max() < 0.5 * np.abs(want - exact).max() + 5e-3


@pytest.mark.parametrize("rounds", [True, False])
def test_only_what_would_be_wrong_is_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rounds: bool
) -> None:
    monkeypatch.setattr(halves, "_rounds", lambda: rounds)
    model, half = _half()
    for graph in (model, to_fp16(model)):  # no float16 is quantised there
        data = graph.SerializeToString()
        assert halves.computable(data) == data
    data = half.SerializeToString()
    assert (halves.computable(data) == data) == rounds
    assert (TensorProto.FLOAT16 in _kinds(halves.computable(data))) == rounds
    manifest = manifest_of(model).model_copy(update={"precision": "int8", "dialect": "trt"})
    save_model(half, manifest, tmp_path / "m.onnx")
    session = OrtSession(tmp_path / "m.onnx", threads=1)
    assert session.manifest.dialect == "trt"
    session.close()
