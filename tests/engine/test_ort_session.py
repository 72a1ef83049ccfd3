"""ONNX Runtime behind the session protocol: the contract, and what is this backend's own."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from graph_tools import manifest_of, measured, pictures, run
from session_contract import SessionContract, close_to, one_picture_inside
from tiny_model import tiny_model

from edgemtl.engine import ort
from edgemtl.engine.host import default_threads
from edgemtl.engine.ort import OrtSession
from edgemtl.errors import EngineError
from edgemtl.graph.dialect import TRT
from edgemtl.graph.file import save_model
from edgemtl.graph.qdq import quantise_model


class TestOrtSession(SessionContract):
    open = OrtSession

    def test_submit_returns_while_the_network_runs(
        self, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
    ) -> None:
        with closing(OrtSession(path, threads=1)) as session:
            runtime, gate = session._session, threading.Event()

            class Slow:
                def io_binding(self) -> onnxruntime.IOBinding:
                    return runtime.io_binding()

                def run_with_iobinding(self, binding: onnxruntime.IOBinding) -> None:
                    assert gate.wait(30)
                    runtime.run_with_iobinding(binding)

            session._session = Slow()
            tickets = []
            for n in range(2):
                slot = session.acquire()
                session.input(slot)[0] = images[n]
                tickets.append(session.submit(slot, 1))
            gate.set()
            for n, ticket in enumerate(tickets):
                close_to(session.collect(ticket), want, slice(n, n + 1))


def test_a_run_that_fails_is_told_every_time(tmp_path: Path) -> None:
    with closing(OrtSession(one_picture_inside(tmp_path / "m.onnx"), batch=2)) as session:
        images = np.zeros((2, 3, 32, 64), np.int8)
        for _ in range(3):
            with pytest.raises(EngineError, match="onnxruntime failed"):
                session.infer(images)
        assert session.infer(images[:1]).image_probs is not None


def test_one_core_is_left_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (2, 1), (8, 7)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False
        )
        assert default_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


def test_the_int8_of_tensorrt_is_computed_in_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's kernels for signed integers are not TensorRT's: `street` came out as noise."""
    model = tiny_model()
    images = pictures(manifest_of(model), 4)
    table = measured(model, images)
    quantised, manifest = quantise_model(model, manifest_of(model), table, TRT)
    save_model(quantised, manifest, tmp_path / "m.int8.trt.onnx")
    tried, load = [], ort._load
    monkeypatch.setattr(
        ort,
        "_load",
        lambda *a: tried.append(a[-1]) or load(*a),
    )
    want = run(quantised, images)
    with closing(OrtSession(tmp_path / "m.int8.trt.onnx", threads=1, batch=4)) as session:
        close_to(session.infer(images), want, slice(0, 4))
        assert session.backend.endswith("(CPU, 1 threads, INT8 in float)")
    assert tried == [True], "some graphs cannot even be loaded with fused kernels"
