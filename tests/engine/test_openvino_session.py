"""OpenVINO behind the session protocol: the contract, the precisions, and what it cannot do."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_tools import as_uint8, manifest_of, measured, pictures, run
from session_contract import SessionContract, one_picture_inside
from tiny_model import tiny_model

pytest.importorskip("openvino")

from edgemtl.engine.openvino import OpenVinoSession
from edgemtl.errors import EngineError
from edgemtl.graph.dialect import ORT_ARM, ORT_X86, TRT, Dialect
from edgemtl.graph.file import save_model
from edgemtl.graph.fp16 import to_fp16
from edgemtl.graph.qdq import quantise_model


class TestOpenVinoSession(SessionContract):
    open = OpenVinoSession


def _written(folder: Path, dialect: Dialect, **kw: Any) -> tuple[Path, Any, np.ndarray]:
    """(file, graph, other pictures in its dtype) of a tiny model in a dialect."""
    model = tiny_model(**kw)
    manifest = manifest_of(model)
    table = measured(model, pictures(manifest))
    int8, described = quantise_model(model, manifest, table, dialect)
    save_model(int8, described, folder / "int8.onnx")
    images = pictures(manifest, count=8, seed=1)
    unsigned = dialect.activation == "uint8"
    return folder / "int8.onnx", int8, as_uint8(images) if unsigned else images


@pytest.mark.parametrize("dialect", [ORT_X86, ORT_ARM, TRT], ids=["x86", "arm", "trt"])
def test_every_int8_dialect_runs(tmp_path: Path, dialect: Dialect) -> None:
    """Against Q/DQ computed in float, one by one: integer operators round differently."""
    path, int8, images = _written(tmp_path, dialect)
    want = run(int8, images)
    with closing(OpenVinoSession(path, threads=1, batch=8)) as session:
        assert session.input(session.acquire()).dtype == images.dtype
        have = session.infer(images)
    assert have.image_probs is not None
    assert np.abs(want["image_probs"] - have.image_probs).max() < 0.01
    assert np.abs(want["scores"] - have.scores).mean() < 0.03
    assert np.abs(want["scores"] - have.scores).max() < 0.25


def test_float16_files_run(tmp_path: Path) -> None:
    model = tiny_model()
    manifest = manifest_of(model)
    described = manifest.model_copy(update={"precision": "fp16"})
    save_model(to_fp16(model), described, tmp_path / "m.onnx")
    images = pictures(manifest)
    with closing(OpenVinoSession(tmp_path / "m.onnx", threads=1, batch=4)) as session:
        have = session.infer(images)
    want = run(model, images)
    assert have.image_probs is not None
    assert np.abs(want["image_probs"] - have.image_probs).max() < 2e-3
    assert np.abs(want["scores"] - have.scores).max() < 2e-3


def test_a_graph_that_contradicts_its_batch(tmp_path: Path) -> None:
    path = one_picture_inside(tmp_path / "m.onnx")
    with closing(OpenVinoSession(path, batch=1)) as session:
        assert session.infer(np.zeros((1, 3, 32, 64), np.int8)).image_probs is not None
    with pytest.raises(EngineError, match=r"image_probs.*expected") as caught:
        OpenVinoSession(path, batch=2)
    assert caught.value.hint


class _Fails:
    def start_async(self) -> None:
        return None

    def wait(self) -> None:
        raise RuntimeError("no memory\nat some line of a file")


def test_a_run_that_fails_is_told_every_time(tmp_path: Path) -> None:
    path, _, images = _written(tmp_path, TRT, classes=(), embedding_dim=None)
    with closing(OpenVinoSession(path, threads=1)) as session:
        session._requests = [_Fails(), _Fails()]
        for _ in range(3):
            with pytest.raises(EngineError, match=r"openvino failed: no memory$"):
                session.infer(images[:1])
