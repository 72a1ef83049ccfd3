"""The TensorRT session, on a real GPU where there is one, and on a GPU in small (fake_gpu)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from engine_files import open_onnx, tiny_engine, write_engine
from fake_gpu import FakeGpu, install_gpu
from graph_tools import manifest_of, pictures, run
from session_contract import SessionContract, close_to
from tiny_model import tiny_model

from edgemtl.engine import gpu as gpu_module
from edgemtl.engine import open_session
from edgemtl.engine.gpu import Gpu
from edgemtl.engine.manifest import manifest_path
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.errors import ConfigError, EngineError, MissingExtraError, ModelError


class TestOnACard(SessionContract):
    """A GPU with memory of its own: uploads and downloads."""

    open = staticmethod(open_onnx)
    integrated = False
    test_files_that_are_no_models = None  # of .onnx files; engines below

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
        return install_gpu(monkeypatch, integrated=self.integrated)

    def test_facts(self, model: onnx.ModelProto, path: Path) -> None:
        with closing(self.open(path, batch=3)) as session:
            assert session.manifest == manifest_of(model)
            assert session.batch == 3
            assert session.backend == "tensorrt 10.3.0 (Fake Orin, fp32)"
            buffer = session.input(session.acquire())
            assert (buffer.shape, buffer.dtype) == ((3, 3, 32, 64), np.int8)


class TestOnAnIntegratedGpu(TestOnACard):
    """A GPU that shares the host's memory: no copies at all."""

    integrated = True

    def test_no_copies(self, path: Path, images: np.ndarray, gpu: FakeGpu) -> None:
        with closing(self.open(path)) as session:
            session.infer(images[:1])
        assert {entry[0] for entry in gpu.log} == {"run"}


def test_open_session_takes_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpu(monkeypatch)
    with closing(open_session(tiny_engine(tmp_path / "m.engine"), batch=2)) as session:
        assert session.backend.startswith("tensorrt 10.3.0")
        assert session.batch == 2


def test_rtx_engines_run_through_tensorrt_rtx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_gpu(monkeypatch, flavour="tensorrt_rtx", version="1.7.1")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    fields = {"flavour": "tensorrt_rtx", "version": "1.7.1", "gpu": None}
    images = pictures(manifest_of(tiny_model()), 2)
    with closing(TensorRTSession(tiny_engine(tmp_path / "m.engine", **fields), batch=2)) as session:
        assert session.backend == "tensorrt_rtx 1.7.1 (Fake Orin, fp32)"
        close_to(session.infer(images), run(tiny_model(), images), slice(0, 2))


def _stale(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-1])
    return path


def _no_manifest(path: Path) -> Path:
    manifest_path(path).unlink()
    return path


REFUSED: list[tuple[dict[str, object], Callable[[Path], Path], str]] = [
    ({}, _stale, "stale"),
    ({}, _no_manifest, "'m.engine.json' is missing"),
    ({"version": "10.3.1"}, Path, r"foreign: built by tensorrt 10\.3\.1, here is tensorrt 10\.3"),
    ({"gpu": Gpu(name="Other", compute_capability="8.7")}, Path, "built for Other"),
    ({"gpu": Gpu(name="Fake Orin", compute_capability="8.6")}, Path, "here is Fake Orin"),
]


@pytest.mark.parametrize(("changes", "spoil", "word"), REFUSED)
def test_stale_and_foreign_engines_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    spoil: Callable[[Path], Path],
    word: str,
) -> None:
    gpu = install_gpu(monkeypatch)
    path = spoil(tiny_engine(tmp_path / "m.engine", **changes))
    with pytest.raises(EngineError, match=word) as caught:
        TensorRTSession(path)
    assert "edgemtl build " in str(caught.value.hint)
    assert "--precision fp32" in str(caught.value.hint)
    assert str(path) in str(caught.value.hint)
    assert gpu.made == 0, "refused before the GPU is touched"


def test_an_engine_of_the_other_flavour_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_gpu(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingExtraError, match="tensorrt_rtx") as caught:
        TensorRTSession(tiny_engine(tmp_path / "m.engine", flavour="tensorrt_rtx"))
    assert caught.value.hint == 'pip install "edgemtl[rtx]"'


def test_a_damaged_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpu(monkeypatch)
    path = write_engine(b"damaged", tiny_model(), tmp_path / "m.engine")
    with pytest.raises(EngineError, match="Code 1: Serialization assertion failed") as caught:
        TensorRTSession(path)
    assert caught.value.hint == f"edgemtl build m.onnx --precision fp32 --out {path}"


def test_an_engine_that_contradicts_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = install_gpu(monkeypatch)
    plan = tiny_model(top_k=6).SerializeToString()
    with pytest.raises(ModelError, match="boxes") as caught:
        TensorRTSession(write_engine(plan, tiny_model(), tmp_path / "m.engine"))
    assert (gpu.alive, gpu.depth) == ({}, 0), f"held by {caught.value}"


def test_an_engine_of_several_pictures_runs_one(
    path: Path, images: np.ndarray, want: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = install_gpu(monkeypatch)
    plan = path.read_bytes()
    model = onnx.ModelProto.FromString(plan)
    engine = write_engine(plan, model, path.with_suffix(".engine"), batch=(2, 3, 4))
    with closing(TensorRTSession(engine)) as session:
        assert session.batch == 2
        close_to(session.infer(images[:1]), want, slice(0, 1))
        assert {entry[:2] for entry in gpu.log if entry[0] == "run"} == {("run", 2)}


@pytest.mark.parametrize(("batch", "error"), [(0, ValueError), (-1, ValueError), (5, ConfigError)])
def test_batches_that_the_engine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, error: type[Exception]
) -> None:
    install_gpu(monkeypatch)
    with pytest.raises(error, match="batch"):
        TensorRTSession(tiny_engine(tmp_path / "m.engine"), batch=batch)


def test_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpu(monkeypatch)
    monkeypatch.setattr(gpu_module, "_driver", lambda: None)
    with pytest.raises(EngineError, match=r"running 'm\.engine' needs an NVIDIA GPU") as caught:
        TensorRTSession(tiny_engine(tmp_path / "m.engine"))
    assert ".onnx" in str(caught.value.hint)


@pytest.mark.parametrize("missing", ["tensorrt", "pycuda"])
def test_without_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    install_gpu(monkeypatch, pycuda=missing != "pycuda")
    if missing == "tensorrt":
        monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=f"'m.engine' needs the package '{missing}'") as got:
        TensorRTSession(tiny_engine(tmp_path / "m.engine"))
    assert got.value.hint == 'pip install "edgemtl[tensorrt]"'
