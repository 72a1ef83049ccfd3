"""CUDA graphs: captured once, launched for full batches, never stale, and never a must."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from engine_files import open_onnx, tiny_engine
from fake_cuda import FakeGpu
from fake_gpu import FakeDriver, install_gpu
from graph_tools import manifest_of
from session_contract import SessionContract, close_to

from edgemtl.engine import gpu as gpu_module
from edgemtl.engine import open_session
from edgemtl.engine.cuda import Cuda
from edgemtl.errors import ConfigError, EngineError


class TestOnACard(SessionContract):
    """All that every session must do."""

    open = staticmethod(partial(open_onnx, cuda_graph=True))
    integrated = False
    test_files_that_are_no_models = None  # of .onnx files

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
        return install_gpu(monkeypatch, integrated=self.integrated)

    def test_facts(self, model: onnx.ModelProto, path: Path) -> None:
        with closing(self.open(path, batch=3)) as session:
            assert session.manifest == manifest_of(model)
            assert session.backend == "tensorrt 10.3.0 (Fake Orin, fp32, CUDA graph)"

    def test_full_batches_are_launched_and_others_enqueued(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray], gpu: FakeGpu
    ) -> None:
        """In any order: the shape of one does not spoil the graph of the other."""
        with closing(self.open(path, batch=2)) as session:
            assert (gpu.enqueued, gpu.launched) == (4, 2), "run, captured, tried, for each slot"
            enqueued, launched = gpu.enqueued, gpu.launched
            for first, n in ((0, 2), (1, 1), (2, 2), (4, 2), (0, 1), (5, 1), (3, 2)):
                close_to(session.infer(images[first : first + n]), want, slice(first, first + n))
                enqueued, launched = enqueued + (n == 1), launched + (n == 2)
                assert (gpu.enqueued, gpu.launched) == (enqueued, launched)

    def test_each_slot_has_its_own(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray], gpu: FakeGpu
    ) -> None:
        with closing(self.open(path, slots=3)) as session:
            assert gpu.alive["graph"] == 3
            assert gpu.alive["captured graph"] == 0, "only needed until it is instantiated"
            slots = [session.acquire() for _ in range(3)]
            for n, slot in enumerate(slots):
                session.input(slot)[0] = images[n]
            tickets = [session.submit(slot, 1) for slot in slots]
            for n in (2, 0, 1):
                close_to(session.collect(tickets[n]), want, slice(n, n + 1))


class TestOnAnIntegratedGpu(TestOnACard):
    integrated = True


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return install_gpu(monkeypatch)


def test_not_without_being_asked_for(gpu: FakeGpu, path: Path) -> None:
    with closing(open_onnx(path)) as session:
        assert session.backend == "tensorrt 10.3.0 (Fake Orin, fp32)"
        assert gpu.alive["graph"] == gpu.launched == 0
        assert gpu.alive["context"] == 1


def test_an_engine_that_cannot_be_captured_runs_without(
    gpu: FakeGpu, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
) -> None:
    gpu.capturable = False
    with closing(open_onnx(path, cuda_graph=True)) as session:
        assert session.backend.startswith("tensorrt 10.3.0 (Fake Orin, fp32, no CUDA graph: ")
        assert "operation not permitted when stream is capturing" in session.backend
        for n in range(3):
            close_to(session.infer(images[n : n + 1]), want, slice(n, n + 1))
        assert gpu.alive["context"] == 1, "the graph's is gone"
        assert gpu.launched == 0


def test_a_driver_without_graphs(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, path: Path, images: np.ndarray
) -> None:
    monkeypatch.setattr(gpu_module, "_driver", FakeDriver)
    with closing(open_onnx(path, cuda_graph=True)) as session:
        assert "the NVIDIA driver lacks cuStreamBeginCapture_v2" in session.backend
        session.infer(images[:1])
    assert gpu.alive == {}


def test_a_driver_before_cuda_11_4(
    gpu: FakeGpu, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
) -> None:
    gpu.old_driver = True
    with closing(open_onnx(path, cuda_graph=True)) as session:
        assert session.backend.endswith("CUDA graph)")
        close_to(session.infer(images[:1]), want, slice(0, 1))
        assert gpu.launched == 3
    assert gpu.alive == {}


def test_a_gpu_that_fails_while_graphs_are_made(gpu: FakeGpu, path: Path) -> None:
    gpu.fail_at_wait = True
    with pytest.raises(EngineError, match="illegal memory access") as caught:
        open_onnx(path, cuda_graph=True)
    assert (gpu.alive, gpu.depth) == ({}, 0), f"held by {caught.value}"


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError])
def test_a_capture_that_breaks_off_leaves_the_stream_usable(
    gpu: FakeGpu, error: type[BaseException]
) -> None:
    cuda = Cuda("this")

    def enqueue() -> None:
        raise error("stop")

    with cuda.active():
        stream = cuda.stream()
        with pytest.raises(error, match="stop"):
            cuda.capture(stream, enqueue)
        cuda.capture(stream, lambda: None).launch(stream)
        stream.synchronize()
        del stream
        cuda.free()
    assert gpu.alive == {}
    assert gpu.graphs == {}


def test_open_session(gpu: FakeGpu, tmp_path: Path, path: Path) -> None:
    engine = tiny_engine(tmp_path / "m.engine")
    with closing(open_session(engine, cuda_graph=True)) as session:
        assert session.backend.endswith(", CUDA graph)")
    for backend in ("auto", "onnxruntime", "openvino"):
        with pytest.raises(ConfigError, match=r"cuda_graph: .*'tiny\.onnx'") as caught:
            open_session(path, backend=backend, cuda_graph=True)
        assert "edgemtl build" in str(caught.value.hint)
