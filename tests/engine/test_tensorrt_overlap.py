"""Uploads, runs and downloads of neighbouring frames: what waits for what, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from engine_files import open_onnx
from fake_cuda import FakeGpu, FakeStream
from fake_gpu import install_gpu
from session_contract import close_to

from edgemtl.engine.tensorrt import TensorRTSession

PICTURE = 3 * 32 * 64
OUTPUTS = (8 * 4 * 4, 8 * 4, 8 * 4, 8 * 4 * 4, 2 * 4)
COMPUTE, UPLOAD, DOWNLOAD = range(3)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return install_gpu(monkeypatch)


@pytest.fixture
def session(gpu: FakeGpu, path: Path) -> Iterator[TensorRTSession]:
    with closing(open_onnx(path, batch=4)) as session:
        yield session


def streams(gpu: FakeGpu) -> dict[int, FakeStream]:
    return {stream.number: stream for stream in gpu.streams.values()}


def ahead(session: TensorRTSession, *rows: int) -> list[int]:
    """Submit a slot for each of ``rows``."""
    return [session.submit(session.acquire(), n) for n in rows]


def test_submit_does_not_wait(session: TensorRTSession, gpu: FakeGpu) -> None:
    gpu.fail_at_wait = True
    ahead(session, 3, 1)
    assert gpu.log == []
    gpu.fail_at_wait = False


def test_a_ticket_waits_for_its_own_work_alone(session: TensorRTSession, gpu: FakeGpu) -> None:
    tickets = ahead(session, 3, 1)
    session.collect(tickets[0])
    first = [("htod", 3 * PICTURE, UPLOAD), ("run", 3, COMPUTE)]
    first += [("dtoh", 3 * size, DOWNLOAD) for size in OUTPUTS]
    assert gpu.log == first
    session.collect(tickets[1])
    second = [("htod", PICTURE, UPLOAD), ("run", 1, COMPUTE)]
    second += [("dtoh", size, DOWNLOAD) for size in OUTPUTS]
    assert gpu.log == first + second


def test_an_upload_does_not_wait_for_the_run_before_it(
    session: TensorRTSession, gpu: FakeGpu
) -> None:
    tickets = ahead(session, 4, 2)
    streams(gpu)[UPLOAD].drain()
    assert gpu.log == [("htod", 4 * PICTURE, UPLOAD), ("htod", 2 * PICTURE, UPLOAD)]
    streams(gpu)[COMPUTE].drain()
    assert gpu.log[2:] == [("run", 4, COMPUTE), ("run", 2, COMPUTE)]
    for ticket in tickets:
        session.collect(ticket)


def test_a_run_does_not_wait_for_the_download_before_it(
    session: TensorRTSession, gpu: FakeGpu
) -> None:
    tickets = ahead(session, 1, 1)
    streams(gpu)[COMPUTE].drain()
    kinds = [kind for kind, _, _ in gpu.log]
    assert kinds == ["htod", "run", "htod", "run"], "each run after its own upload"
    for ticket in tickets:
        session.collect(ticket)


@pytest.mark.parametrize("first", [UPLOAD, COMPUTE, DOWNLOAD])
def test_outputs_are_right_whichever_stream_is_fast(
    session: TensorRTSession,
    gpu: FakeGpu,
    images: np.ndarray,
    want: dict[str, np.ndarray],
    first: int,
) -> None:
    """Five frames in two slots, one always ahead, with one stream that runs as far as it can."""
    tickets: list[int] = []
    for n in range(5):
        slot = session.acquire()
        session.input(slot)[0] = images[n]
        tickets.append(session.submit(slot, 1))
        streams(gpu)[first].drain()
        if n:
            close_to(session.collect(tickets[n - 1]), want, slice(n - 1, n))
    close_to(session.collect(tickets[4]), want, slice(4, 5))


@pytest.mark.parametrize(("integrated", "count"), [(False, 3), (True, 1)])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_submit_makes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    images: np.ndarray,
    integrated: bool,
    count: int,
    cuda_graph: bool,
) -> None:
    gpu = install_gpu(monkeypatch, integrated=integrated)
    with closing(open_onnx(path, batch=2, cuda_graph=cuda_graph)) as session:
        made = gpu.made
        for n in (1, 2, 1, 2, 2):
            session.infer(images[:n])
        assert gpu.made == made
        assert gpu.alive["stream"] == count


@pytest.mark.parametrize("integrated", [False, True])
def test_the_gpu_notes_times_if_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch, integrated: bool
) -> None:
    """The clock counts pieces of work: which event follows what is all that is asked here."""
    gpu = install_gpu(monkeypatch, integrated=integrated)
    with closing(open_onnx(path, timed=True)) as session:
        ticket = session.submit(session.acquire(), 1)
        session.collect(ticket)
        told = session.gpu_ms(ticket)
        assert all(ms > 0 for ms in told.values())
        assert list(told) == (["run"] if integrated else ["upload", "run", "download"])
        assert gpu.depth == 0
    assert gpu.alive == {}
    with closing(open_onnx(path)) as session:
        ticket = session.submit(session.acquire(), 1)
        session.collect(ticket)
        with pytest.raises(ValueError, match="timed=True"):
            session.gpu_ms(ticket)
