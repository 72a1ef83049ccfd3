"""Memory, streams, events and graphs of a real GPU, by the session's own module."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edgemtl.engine.cuda import Cuda
from edgemtl.errors import EngineError


@pytest.fixture
def gpu() -> Iterator[Cuda]:
    gpu = Cuda("a test")
    with gpu.active():
        yield gpu
        gpu.free()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 32, 64), (16, 3, 320, 416)])
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_what_goes_there_comes_back(gpu: Cuda, shape: tuple[int, ...], dtype: str) -> None:
    buffer, stream, done = gpu.buffer(np.zeros(shape, dtype)), gpu.stream(), gpu.event()
    assert not buffer.host.any()
    sent = np.random.default_rng(0).integers(-100, 100, shape).astype(dtype)
    buffer.host[...] = sent
    gpu.upload(buffer, len(sent), stream)
    stream.synchronize()
    if not gpu.mapped:
        buffer.host[...] = 0
    gpu.download(buffer, len(sent), stream)
    done.record(stream).synchronize()
    np.testing.assert_array_equal(buffer.host, sent)


def test_some_rows_leave_the_others_alone(gpu: Cuda) -> None:
    if gpu.mapped:
        pytest.skip("this GPU works on the host's own memory")
    buffer, stream = gpu.buffer(np.zeros((4, 8), np.int8)), gpu.stream()
    buffer.host[...] = 5
    gpu.upload(buffer, 2, stream)
    stream.synchronize()
    buffer.host[...] = 9
    gpu.download(buffer, 4, stream)
    stream.synchronize()
    np.testing.assert_array_equal(buffer.host[:, 0], [5, 5, 0, 0])


def test_a_stream_waits_for_another(gpu: Cuda) -> None:
    """Many uploads, then the download of what they brought: it must see the last one."""
    buffer, first, second = gpu.buffer(np.zeros((8, 1 << 20), np.int8)), gpu.stream(), gpu.stream()
    ready, done = gpu.event(), gpu.event()
    buffer.host[...] = 3
    for _ in range(20):
        gpu.upload(buffer, 8, first)
    ready.record(first)
    second.wait_for_event(ready)
    gpu.download(buffer, 8, second)
    done.record(second).synchronize()
    assert (buffer.host == 3).all()


def test_events_tell_time(gpu: Cuda) -> None:
    buffer, stream = gpu.buffer(np.zeros((8, 1 << 20), np.int8)), gpu.stream()
    begun, ended = gpu.event(timed=True), gpu.event(timed=True)
    begun.record(stream)
    gpu.upload(buffer, 8, stream)
    ended.record(stream).synchronize()
    assert 0 <= ended.time_since(begun) < 1e4


def test_a_graph_copies_what_lies_there_when_it_is_launched(gpu: Cuda) -> None:
    if gpu.mapped:
        pytest.skip("this GPU works on the host's own memory")
    buffer, stream = gpu.buffer(np.zeros((2, 64), np.int8)), gpu.stream()
    graph = gpu.capture(stream, lambda: gpu.upload(buffer, 2, stream))
    for value in (1, 2):
        buffer.host[...] = value
        graph.launch(stream)
        stream.synchronize()
        buffer.host[...] = 0
        gpu.download(buffer, 2, stream)
        stream.synchronize()
        assert (buffer.host == value).all()


def test_too_much_memory_is_told(gpu: Cuda) -> None:
    class Huge:
        """Eight times what any board has."""

        shape, dtype, nbytes = (1 << 43,), np.dtype(np.int8), 1 << 43

    with pytest.raises(EngineError) as caught:
        gpu.buffer(Huge())
    assert caught.value.hint
