"""Attributes in every precision: calibrated, in float16, and built by TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny

from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.manifest import read_engine_manifest
from edgemtl.engine.ort import OrtSession
from edgemtl.quantize.calibrate import calibrate

TOLD = {"colour": ("red", "green", "blue"), "size": ("small", "large")}


class Noise:
    """Blocky pictures, by index."""

    def __len__(self) -> int:
        return 12

    def file(self, index: int) -> str:
        return f"noise/{index}"

    def image(self, index: int) -> np.ndarray:
        levels = np.random.default_rng(index).integers(0, 256, (4, 8, 3))
        return np.kron(levels, np.ones((8, 8, 1), int)).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    calibrate(write_tiny(folder / "m.onnx", attributes=TOLD), Noise(), folder / "m.int8.onnx")
    return folder


def probabilities(path: Path) -> dict[str, np.ndarray]:
    session = OrtSession(path, threads=1)
    rng = np.random.default_rng(3)
    images = np.kron(rng.integers(-100, 100, (1, 3, 4, 8)), np.ones((8, 8), int))
    dtype = session.manifest.input.dtype
    images = images.astype(np.int8) if dtype == "int8" else (images + 128).astype(np.uint8)
    told = {name: values.copy() for name, values in session.infer(images).attributes.items()}
    session.close()
    return told


def test_int8_tells_the_same(models: Path) -> None:
    exact, whole = probabilities(models / "m.onnx"), probabilities(models / "m.int8.onnx")
    assert {name: values.shape for name, values in whole.items()} == {
        "colour": (1, 8, 3),
        "size": (1, 8, 2),
    }
    for name in TOLD:
        np.testing.assert_allclose(whole[name].sum(-1), 1, atol=1e-5)
        # candidates may change places; the best one's attributes hardly change
        assert np.abs(np.sort(whole[name][0, 0]) - np.sort(exact[name][0, 0])).max() < 0.2


@pytest.mark.parametrize(
    ("given", "precision"), [("m.onnx", "fp16"), ("m.int8.onnx", "int8"), ("m.onnx", "fp32")]
)
def test_rtx_builds_it(models: Path, tmp_path: Path, given: str, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    options = BuildOptions(precision, flavour="tensorrt_rtx")
    build_engine(models / given, tmp_path / "m.engine", options)
    engine = read_engine_manifest(tmp_path / "m.engine")
    assert {a.name: a.values for a in engine.model.attributes} == TOLD
    assert set(engine.model.expected_outputs()) >= {"attributes_colour", "attributes_size"}
