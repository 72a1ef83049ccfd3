"""What is made on the GPU is freed, whichever way a session ends, and by whichever thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from engine_files import open_onnx
from fake_cuda import FakeGpu
from fake_gpu import install_gpu
from session_contract import close_to

from edgemtl.errors import EngineError

PLACES = [(False, False), (False, True), (True, False), (True, True)]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return install_gpu(monkeypatch)


def elsewhere(work: Callable[[], None]) -> None:
    """Do it in a thread of its own, which did not make the context."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


@pytest.mark.parametrize(("integrated", "cuda_graph"), PLACES)
def test_memory_that_is_short_at_any_point(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    images: np.ndarray,
    want: dict[str, np.ndarray],
    integrated: bool,
    cuda_graph: bool,
) -> None:
    whole = install_gpu(monkeypatch, integrated=integrated)
    open_onnx(path, cuda_graph=cuda_graph).close()
    assert whole.alive == {}
    without_graphs = install_gpu(monkeypatch, integrated=integrated)
    open_onnx(path).close()
    assert whole.made == without_graphs.made + (4 if cuda_graph else 0)
    for nth in range(1, whole.made + 1):
        gpu = install_gpu(monkeypatch, integrated=integrated)
        gpu.fail_at = nth
        if nth > without_graphs.made:  # it runs without what it has no memory for
            with closing(open_onnx(path, cuda_graph=cuda_graph)) as session:
                assert "no CUDA graph: " in session.backend
                assert gpu.alive == without_graphs_of(gpu)
                close_to(session.infer(images[:1]), want, slice(0, 1))
        else:
            with pytest.raises(EngineError, match=r"out of memory|OutOfMemory") as caught:
                open_onnx(path, cuda_graph=cuda_graph)
            assert gpu.alive == {}, f"held by {caught.value}"
        assert (gpu.alive, gpu.depth, gpu.memory) == ({}, 0, {})


def without_graphs_of(gpu: FakeGpu) -> dict[str, int]:
    kept = {kind: n for kind, n in gpu.alive.items() if "graph" not in kind}
    return {**kept, "context": 1}


def test_short_memory_in_a_thread_that_did_not_make_the_context(gpu: FakeGpu, path: Path) -> None:
    with closing(open_onnx(path)):
        before = gpu.alive.copy()
        for nth in range(1, before.total() + 1):
            gpu.fail_at = gpu.made + nth
            with pytest.raises(EngineError, match=r"out of memory|OutOfMemory"):
                elsewhere(lambda: open_onnx(path))
            assert gpu.alive == before
    assert gpu.alive == {}


@pytest.mark.parametrize(("integrated", "cuda_graph"), PLACES)
def test_every_thread_may_run_and_close(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    images: np.ndarray,
    want: dict[str, np.ndarray],
    integrated: bool,
    cuda_graph: bool,
) -> None:
    gpu = install_gpu(monkeypatch, integrated=integrated)
    session = open_onnx(path, cuda_graph=cuda_graph)

    def use() -> None:
        close_to(session.infer(images[:1]), want, slice(0, 1))
        session.close()
        assert gpu.depth == 0

    elsewhere(use)
    assert (gpu.alive, gpu.depth) == ({}, 0)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_closing_with_work_under_way(gpu: FakeGpu, path: Path, cuda_graph: bool) -> None:
    session = open_onnx(path, cuda_graph=cuda_graph)
    tickets = [session.submit(session.acquire(), 1) for _ in range(2)]
    session.close()
    assert [kind for kind, _, _ in gpu.log].count("run") == (6 if cuda_graph else 2)
    assert (gpu.alive, gpu.depth) == ({}, 0)
    for ticket in tickets:
        with pytest.raises(ValueError, match="closed"):
            session.collect(ticket)
    with pytest.raises(ValueError, match="closed"):
        session.input(tickets[0])


def test_closing_a_gpu_that_has_failed(gpu: FakeGpu, path: Path) -> None:
    session = open_onnx(path)
    session.submit(session.acquire(), 1)
    gpu.fail_at_wait = True
    session.close()
    gc.collect()  # streams that are never worked off are cycles here
    assert (gpu.alive, gpu.depth) == ({}, 0)


def test_views_outlive_the_session(
    gpu: FakeGpu, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
) -> None:
    session = open_onnx(path)
    slot = session.acquire()
    session.input(slot)[0] = images[0]
    outputs = session.collect(session.submit(slot, 1))
    session.close()
    assert gpu.alive == {"pinned": 5}, "the outputs that somebody looks at"
    close_to(outputs, want, slice(0, 1))
    del outputs
    assert gpu.alive == {}


def test_closing_waits_for_who_collects(
    gpu: FakeGpu, path: Path, images: np.ndarray, want: dict[str, np.ndarray]
) -> None:
    session = open_onnx(path)
    slot = session.acquire()
    session.input(slot)[0] = images[0]
    ticket = session.submit(slot, 1)
    waiting, go_on = threading.Event(), threading.Event()

    def at_wait() -> None:
        waiting.set()
        assert go_on.wait(30)

    gpu.at_wait = at_wait
    got: list[object] = []
    collector = threading.Thread(target=lambda: got.append(session.collect(ticket)))
    collector.start()
    assert waiting.wait(30)
    with pytest.raises(ValueError, match="collected already"):
        session.collect(ticket)
    closer = threading.Thread(target=session.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    assert gpu.alive["device"]
    go_on.set()
    for thread in (collector, closer):
        thread.join(30)
        assert not thread.is_alive()
    close_to(got.pop(), want, slice(0, 1))
    assert gpu.alive == {}


@pytest.mark.parametrize("fault", ["fail_at_run", "fail_at_download", "fail_at_launch"])
def test_a_slot_whose_submit_failed_is_still_good(
    gpu: FakeGpu, path: Path, images: np.ndarray, want: dict[str, np.ndarray], fault: str
) -> None:
    with closing(open_onnx(path, cuda_graph=fault == "fail_at_launch")) as session:
        other = session.acquire()
        slot = session.acquire()
        for n in range(3):
            session.input(slot)[0] = images[n]
            setattr(gpu, fault, True)
            with pytest.raises(EngineError, match=r"out of tactics|invalid argument") as caught:
                session.submit(slot, 1)
            assert caught.value.hint
            setattr(gpu, fault, False)
            session.input(slot)[0] = images[n + 1]
            close_to(session.collect(session.submit(slot, 1)), want, slice(n + 1, n + 2))
            slot, other = other, session.acquire()
        assert gpu.depth == 0
    assert gpu.alive == {}, f"held by {caught.value}"


@pytest.mark.parametrize("fault", ["fail_at_run", "fail_at_wait"])
def test_no_slot_is_lost_by_errors(
    gpu: FakeGpu, path: Path, images: np.ndarray, want: dict[str, np.ndarray], fault: str
) -> None:
    with closing(open_onnx(path)) as session:
        setattr(gpu, fault, True)
        for _ in range(5):
            with pytest.raises(EngineError, match=r"out of tactics|illegal memory access"):
                session.infer(images[:1])
        setattr(gpu, fault, False)
        close_to(session.infer(images[:1]), want, slice(0, 1))
