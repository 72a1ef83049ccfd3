"""Whether float16 holds the activations, against all tensors of a plain run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of, run
from memory_set import MemorySet, scenery
from onnx import numpy_helper
from tiny_model import tiny_model, write_tiny

from edgemtl import ops
from edgemtl.engine.build_graph import choose_graph
from edgemtl.errors import CalibrationError, DataError, EngineError
from edgemtl.graph.file import save_model
from edgemtl.quantize.collect import watch
from edgemtl.quantize.overflow import require_fits

PICTURES = MemorySet("pictures", [scenery(seed) for seed in range(6)])


def largest_of(model: onnx.ModelProto) -> dict[str, float]:
    """Of each tensor that a convolution or a sum makes, over all pictures."""
    spec = manifest_of(model).input
    images = np.zeros((len(PICTURES), 3, *spec.size_hw), spec.dtype)
    for index in range(len(PICTURES)):
        ops.letterbox(PICTURES.image(index), images[index], spec)
    names = [n.output[0] for n in model.graph.node if n.op_type in ("Conv", "Add", "Clip")]
    return {name: float(np.abs(v).max()) for name, v in run(watch(model, names), images).items()}


def grown(factor: float) -> tuple[onnx.ModelProto, str]:
    """One convolution makes ``factor`` times as much; its output."""
    model = tiny_model()
    conv = [node for node in model.graph.node if node.op_type == "Conv"][3]
    for name in conv.input[1:]:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        values = numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    return model, conv.output[0]


def test_the_largest_activation_is_found(tmp_path: Path) -> None:
    model = tiny_model()
    found = require_fits(write_tiny(tmp_path / "m.onnx"), PICTURES)
    truth = largest_of(model)
    assert found.pictures == 6
    assert found.largest == pytest.approx(truth[found.tensor], rel=1e-5)
    typed = onnx.shape_inference.infer_shapes(choose_graph(tmp_path / "m.onnx", "fp16").model)
    half = {
        value.name.removesuffix("/half")
        for value in typed.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    halves = {name: value for name, value in truth.items() if name in half}
    assert 0 < len(halves) < len(truth)
    assert found.largest == pytest.approx(max(halves.values()), rel=1e-5)
    assert f"over 6 pictures {found.largest:.4g}" in found.text()


def test_what_float16_cannot_hold_is_named(tmp_path: Path) -> None:
    model, tensor = grown(1e5)
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match=f"fp16: '{tensor}' reaches .* on 'pictures/0'") as caught:
        require_fits(tmp_path / "m.onnx", PICTURES)
    assert caught.value.hint


def test_what_is_not_a_number_does_not_fit(tmp_path: Path) -> None:
    model, tensor = grown(float("nan"))
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match=f"'{tensor}' reaches nan"):
        require_fits(tmp_path / "m.onnx", PICTURES)


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx")
    with pytest.raises(CalibrationError, match="at least one picture"):
        require_fits(path, MemorySet("none", []))
    half = choose_graph(path, "fp16")
    save_model(half.model, half.manifest, tmp_path / "half.onnx")
    with pytest.raises(CalibrationError, match="expected the float32 model, this one is fp16"):
        require_fits(tmp_path / "half.onnx", PICTURES)

    class Broken(MemorySet):
        def image(self, index: int) -> np.ndarray:
            raise DataError("picture 0 is broken")

    with pytest.raises(DataError, match="broken"):
        require_fits(path, Broken("broken", [scenery(0)]))
