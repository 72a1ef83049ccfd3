"""One model file, pictures, and what plain onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of, pictures, run
from tiny_model import tiny_model

pytest.register_assert_rewrite("session_contract")


@pytest.fixture(scope="session")
def model() -> onnx.ModelProto:
    return tiny_model()


@pytest.fixture(scope="session")
def path(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "tiny.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def images(model: onnx.ModelProto) -> np.ndarray:
    return pictures(manifest_of(model), count=6)


@pytest.fixture(scope="session")
def want(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    found = run(model, images)
    assert np.ptp(found["image_probs"][:, 0]) > 1e-3, "pictures must differ in their results"
    return found
