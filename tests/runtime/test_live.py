"""Cameras and streams with a capture that the tests hold in their hands."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edgemtl.errors import SourceError
from edgemtl.runtime.live import LiveSource
from edgemtl.runtime.source import open_source

URL = "rtsp://camera/1"
LIMIT_S = 30.0
"""For what must happen; nothing here takes that long unless it is broken."""


class Camera:
    """Connections in turn: each is a queue of grey levels, ended by None. No connection: refused.

    ``seen`` are the levels read so far; reading waits while the queue is empty.
    """

    def __init__(self) -> None:
        self.lines: list[queue.Queue[int | None] | None] = []
        self.seen: list[int] = []
        self.opened = self.released = 0
        self.failure: Exception | None = None
        self.announced: int | None = None

    def add(self, *levels: int | None) -> queue.Queue[int | None]:
        line: queue.Queue[int | None] = queue.Queue()
        for level in levels:
            line.put(level)
        self.lines.append(line)
        return line

    def open(self, target: str | int) -> Any:
        self.opened += 1
        line = self.lines.pop(0) if self.lines else None
        camera = self

        class Capture:
            opened = line is not None
            fps: float | None = 12.5
            frames = camera.announced

            def read(self) -> tuple[np.ndarray, float] | None:
                if camera.failure is not None:
                    raise camera.failure
                level = None if line is None else line.get(timeout=LIMIT_S)
                if level is None:
                    return None
                camera.seen.append(level)
                return np.full((4, 6, 3), level, np.uint8), 0.0

            def release(self) -> None:
                camera.released += 1
                if line is not None:
                    line.put(None)

        return Capture()


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    camera = Camera()
    monkeypatch.setattr("edgemtl.runtime.live.Capture", camera.open)
    return camera


@pytest.fixture
def live() -> Iterator[Callable[..., LiveSource]]:
    made: list[LiveSource] = []

    def make(target: str | int, policy: Any = "all", retry_s: tuple[float, ...] = ()) -> LiveSource:
        made.append(LiveSource(target, str(target), policy, retry_s))
        return made[-1]

    yield make
    for source in made:
        source.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _levels(source: LiveSource) -> list[int]:
    return [int(frame.pixels[0, 0, 0]) for frame in source]


def test_policy_all_loses_nothing(camera: Camera, live: Callable[..., LiveSource]) -> None:
    camera.add(*range(50), None)
    source = live(0)
    assert (source.fps, source.live, source.length) == (12.5, True, None)
    frames = list(source)
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == list(range(50))
    assert [frame.index for frame in frames] == list(range(50))
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(times)
    assert times == [frame.captured_ns for frame in frames]
    assert source.dropped == 0


def test_policy_latest_hands_out_the_newest_and_counts_the_others(
    camera: Camera, live: Callable[..., LiveSource]
) -> None:
    line = camera.add(1, 2, 3)
    source = live(0, "latest")
    _until(lambda: source.dropped == 2)
    frames = iter(source)
    assert int(next(frames).pixels[0, 0, 0]) == 3
    for level in (4, 5, 6, 7):
        line.put(level)
    _until(lambda: source.dropped == 5)
    second = next(frames)
    assert int(second.pixels[0, 0, 0]) == 7
    assert second.index == 1
    line.put(None)
    assert list(frames) == []
    assert source.dropped == 5


def test_a_lost_stream_is_opened_again(camera: Camera, live: Callable[..., LiveSource]) -> None:
    camera.add(1, 2, None)
    camera.lines.append(None)  # refused once
    camera.add(3, None)
    camera.add(4, None)
    source = live(URL, "all", (0.001, 0.001))
    assert _levels(source) == [1, 2, 3, 4]
    assert source.warning is not None
    assert URL in source.warning
    # four connections with frames or refusals, then both attempts fail
    assert camera.opened == 6
    assert camera.released >= 5


@pytest.mark.parametrize("announced", [3, 2])
def test_a_file_on_a_server_ends(
    camera: Camera, live: Callable[..., LiveSource], announced: int
) -> None:
    """It does not begin anew as a lost stream does, and no frame is dropped."""
    camera.announced = announced
    for _ in range(3):
        camera.add(1, 2, 3, None)
    source = live("http://server/clip.mp4", None, (0.001,))
    assert source.length == announced
    assert _levels(source) == [1, 2, 3]
    assert camera.opened == 1
    assert source.dropped == 0


def test_a_file_on_a_server_that_is_cut_off_is_tried_again(
    camera: Camera, live: Callable[..., LiveSource]
) -> None:
    camera.announced = 9
    camera.add(1, 2, None)
    source = live("http://server/clip.mp4", None, (0.001,))
    assert _levels(source) == [1, 2]
    assert camera.opened == 2


def test_attempts_wait_longer_and_longer_and_start_anew_after_a_frame(
    camera: Camera, live: Callable[..., LiveSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    plain = LiveSource._reopen

    def reopen(source: LiveSource, wait_s: float) -> None:
        waits.append(wait_s)
        plain(source, 0.0)

    monkeypatch.setattr(LiveSource, "_reopen", reopen)
    camera.add(1, None)
    camera.lines += [None, None]
    camera.add(2, None)
    source = LiveSource(URL, URL, "all")
    assert _levels(source) == [1, 2]
    source.close()
    assert waits == [0.5, 1.0, 2.0, 0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_camera_that_ends_is_not_opened_again(
    camera: Camera, live: Callable[..., LiveSource]
) -> None:
    camera.add(1, None)
    camera.add(2, None)
    source = live(0, "all", (0.001,))
    assert _levels(source) == [1]
    assert camera.opened == 1
    assert source.warning == "'0' ended"


@pytest.mark.parametrize("policy", ["all", "latest"])
def test_close_from_another_thread_ends_the_iteration(
    camera: Camera, live: Callable[..., LiveSource], policy: str
) -> None:
    line = camera.add(1)
    source = live(0, policy)
    got: list[int] = []

    def read() -> None:
        got.extend(_levels(source))

    reader = threading.Thread(target=read)
    reader.start()
    _until(lambda: camera.seen == [1])
    closer = threading.Thread(target=source.close)
    closer.start()
    line.put(None)  # the device lets go of the read that hangs in it
    for thread in (reader, closer):
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert got in ([], [1])
    assert source.warning is None, "closing is no accident"
    assert camera.released == 1
    source.close()


def test_close_while_waiting_to_connect_again(
    camera: Camera, live: Callable[..., LiveSource]
) -> None:
    camera.add(None)
    source = live(URL, "all", (3600.0,))
    source.close()
    assert _levels(source) == []
    assert camera.opened == 1


def test_a_reader_that_fails_is_told_to_whom_iterates(
    camera: Camera, live: Callable[..., LiveSource]
) -> None:
    line = camera.add(1)
    source = live(0)
    frames = iter(source)
    assert next(frames).index == 0
    camera.failure = RuntimeError("the driver is gone")
    line.put(2)
    with pytest.raises(RuntimeError, match="driver"):
        list(frames)


def test_what_cannot_be_opened(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=URL) as caught:
        open_source(URL)
    assert caught.value.hint
    camera.add(1, None)
    source = open_source(URL)
    assert isinstance(source, LiveSource)
    assert source._policy == "latest"
    source.close()
