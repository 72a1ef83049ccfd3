"""TensorRT-RTX takes the shipped networks in FP32 and, calibrated here, in INT8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.manifest import read_engine_manifest
from edgemtl.models import resolve_model, shipped_models
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate


class Blocks:
    """Coloured blocks of many sizes, by index: enough to give every range a value."""

    def __len__(self) -> int:
        return 3

    def file(self, index: int) -> str:
        return f"blocks/{index}.png"

    def image(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (6 + index, 9, 3), dtype=np.uint8)
        return np.kron(coarse, np.ones((24, 24, 1), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_models())
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_shipped_models_build(tmp_path: Path, name: str, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    model = resolve_model(name)
    if precision == "int8":
        options = CalibrateOptions(limit=2, held_out=1, batch=1)
        model = calibrate(model, Blocks(), tmp_path / f"{name}.int8.onnx", options).out
    out = tmp_path / f"{name}.engine"
    report = build_engine(model, out, BuildOptions(precision, flavour="tensorrt_rtx"))
    engine = read_engine_manifest(out)
    assert engine.source == (str(model) if precision == "int8" else name)
    assert engine.model.name == read_name(name)
    assert engine.model.precision == precision
    assert report.size_bytes > 100_000


def read_name(name: str) -> str:
    from edgemtl.graph.file import load_model

    return load_model(resolve_model(name))[1].name
