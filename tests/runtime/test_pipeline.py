"""The threaded run against a plain loop, and how it ends: stops, failures, Ctrl-C."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_files import pictures
from tiny_model import write_tiny

from edgemtl import ops
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.predict import read_scene
from edgemtl.errors import SourceError
from edgemtl.records import Detections, Frame, FrameResult, Tracks
from edgemtl.runtime.fuse import cut
from edgemtl.runtime.pipeline import PipelineConfig, RunSummary, run_pipeline
from edgemtl.runtime.source import open_source
from edgemtl.track import ByteTrackConfig, TrackerConfig
from edgemtl.track.presets import AnyTrackerConfig, make_tracker

LIMIT_S = 30.0
EAGER = TrackerConfig(birth_score=0.3, strong_score=0.3, confirm_score=0.5)
EAGER_BYTETRACK = ByteTrackConfig(track_thresh=0.3, high_thresh=0.3)


class Collect:
    """Keeps results; calls ``then`` at each."""

    def __init__(self, then: Callable[[Frame, FrameResult], None] | None = None) -> None:
        self.results: list[FrameResult] = []
        self._then = then

    def write(self, frame: Frame, result: FrameResult) -> None:
        if self._then is not None:
            self._then(frame, result)
        self.results.append(result)

    def close(self) -> None:
        """Nothing is open."""


class Frames:
    """A source of pictures in memory; ``before`` is called with each number."""

    fps, dropped, warning = 25.0, 0, None
    length: int | None = None

    def __init__(
        self, count: int, before: Callable[[int], None] | None = None, *, live: bool = False
    ) -> None:
        self._count, self._before, self.live = count, before, live
        self.handed_out = self.closed = 0
        self.finished = False

    def __iter__(self) -> Iterator[Frame]:
        ring = pictures(12)
        for n in range(self._count):
            if self._before is not None:
                self._before(n)
            self.handed_out += 1
            yield Frame(ring[n % 12], n, n * 40_000_000, time.monotonic_ns())
        self.finished = True

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and t.name.startswith("edgemtl_")]
    assert left == []


def _plain(
    session: OrtSession, path: Path, min_score: float, config: AnyTrackerConfig
) -> list[Any]:
    """(scene, detections, tracks) of each frame, one step after the other."""
    tracker = make_tracker(config, embedding_dim=session.manifest.embedding_dim)
    done = []
    with closing(open_source(str(path))) as source:
        for frame in source:
            planes = np.zeros((1, 3, 32, 64), np.int8)
            geometry = ops.letterbox(frame.pixels, planes[0], session.manifest.input)
            outputs = session.infer(planes)
            everything = ops.decode(outputs, 0, geometry, 0.0)
            found = everything.where(everything.scores >= min(min_score, config.min_score))
            tracks = tracker.step(found, frame.pts_ns, frame.size_hw)
            shown = found.where(found.scores >= min_score)
            index = np.where(tracks.det_index >= len(shown), -1, tracks.det_index)
            done.append((read_scene(outputs, 0), shown, replace(tracks, det_index=index)))
    return done


@pytest.mark.parametrize("tracker", [EAGER, EAGER_BYTETRACK], ids=["edgemtl", "bytetrack"])
@pytest.mark.parametrize("min_score", [0.0, 0.3, 0.6, 1.0])
def test_equals_a_plain_loop(
    session: OrtSession, clip: Path, min_score: float, tracker: AnyTrackerConfig
) -> None:
    config = PipelineConfig(min_score=min_score, tracker=tracker)
    sink = Collect()
    with closing(open_source(str(clip))) as source:
        summary = run_pipeline(session, source, [sink], config)
    want = _plain(session, clip, min_score, tracker)
    assert summary.frames == len(want) == 12
    assert sum(len(tracks) for _, _, tracks in want) > 20
    for result, (scene, found, tracks) in zip(sink.results, want, strict=True):
        np.testing.assert_array_equal(result.scene.probs, scene.probs)
        for name in ("boxes_src", "scores", "labels", "embeddings"):
            np.testing.assert_array_equal(getattr(result.detections, name), getattr(found, name))
        for name in ("track_ids", "boxes_src", "scores", "labels", "det_index"):
            np.testing.assert_array_equal(getattr(result.tracks, name), getattr(tracks, name))
        assert result.tracks.det_index.dtype == np.int32


def test_the_tracker_sees_detections_too_weak_to_report(session: OrtSession, clip: Path) -> None:
    results = {}
    for min_score in (0.0, 0.9):
        sink = Collect()
        with closing(open_source(str(clip))) as source:
            run_pipeline(session, source, [sink], PipelineConfig(min_score, tracker=EAGER))
        results[min_score] = sink.results
    shown = False
    for low, high in zip(results[0.0], results[0.9], strict=True):
        np.testing.assert_array_equal(low.tracks.boxes_src, high.tracks.boxes_src)
        assert (high.detections.scores >= 0.9).all()
        assert (high.tracks.det_index < len(high.detections)).all()
        shown |= bool((high.tracks.det_index == -1).any() and (low.tracks.det_index >= 0).all())
    assert shown, "a track must have lost its detection to the threshold"


@pytest.mark.parametrize("reported", [0, 1, 2, 3])
def test_tracks_of_detections_that_are_not_reported(reported: int) -> None:
    found = Detections(
        np.zeros((3, 4), np.float32), np.array([0.9, 0.5, 0.2], np.float32), np.zeros(3, np.int32)
    )
    index = np.array([2, 0, -1, 1], np.int32)
    tracks = Tracks(
        np.arange(1, 5), np.zeros((4, 4), np.float32), np.ones(4, np.float32), index * 0, index
    )
    detections, kept = cut(found, tracks, reported)
    np.testing.assert_array_equal(detections.scores, found.scores[:reported])
    assert kept.det_index.tolist() == [k if k < reported else -1 for k in index.tolist()]
    assert kept.track_ids.tolist() == [1, 2, 3, 4]


def test_the_models_threshold_is_the_default(session: OrtSession, clip: Path) -> None:
    sink = Collect()
    with closing(open_source(str(clip))) as source:
        run_pipeline(session, source, [sink], PipelineConfig())
    scores = np.concatenate([result.detections.scores for result in sink.results])
    assert scores.min() >= session.manifest.min_score


@pytest.mark.parametrize(
    "kw", [{"image_classes": ()}, {"classes": (), "embedding_dim": None}, {"embedding_dim": None}]
)
def test_any_tasks(tmp_path: Path, kw: dict[str, Any]) -> None:
    sink = Collect()
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx", **kw), threads=1)) as session:
        summary = run_pipeline(session, Frames(4), [sink], PipelineConfig(0.0))
    assert summary.frames == 4
    for result in sink.results:
        assert (result.scene is None) == (kw.get("image_classes") == ())
        assert (len(result.detections) == 0) == (kw.get("classes") == ())


@pytest.mark.parametrize("size", [1, 4])
def test_order_is_kept_and_queues_are_bounded(session: OrtSession, size: int) -> None:
    source = Frames(60)
    ahead: list[int] = []

    def look(frame: Frame, result: FrameResult) -> None:
        time.sleep(0.001)  # a sink that is slower than the source
        ahead.append(source.handed_out - result.index)

    sinks = [Collect(look), Collect()]
    summary = run_pipeline(session, source, sinks, PipelineConfig(queue=size))
    assert summary.frames == 60
    for sink in sinks:
        assert [result.index for result in sink.results] == list(range(60))
        assert [result.pts_ns for result in sink.results] == [40_000_000 * n for n in range(60)]
    # two queues; one frame each in the hands of the three threads, and one in the network
    assert max(ahead) <= 2 * size + 4


def test_results_do_not_wait_for_the_next_frame(session: OrtSession) -> None:
    """A camera's next frame may come late, or never."""
    written = [threading.Event() for _ in range(3)]

    def before(n: int) -> None:
        assert n == 0 or written[n - 1].wait(LIMIT_S), "the result waited for a frame"

    sink = Collect(lambda frame, result: written[result.index].set())
    run_pipeline(session, Frames(3, before, live=True), [sink], PipelineConfig())
    assert len(sink.results) == 3


def test_pictures_of_a_camera_do_not_grow_old_in_a_queue(session: OrtSession) -> None:
    source = Frames(30, live=True)
    gate = threading.Event()

    def hold(frame: Frame, result: FrameResult) -> None:
        assert gate.wait(LIMIT_S)

    def open_gate() -> None:
        seen = -1
        while seen != source.handed_out:
            seen = source.handed_out
            time.sleep(0.1)
        held.append(seen)
        gate.set()

    held: list[int] = []
    thread = threading.Thread(target=open_gate)
    thread.start()
    run_pipeline(session, source, [Collect(hold)], PipelineConfig(queue=4))
    thread.join(LIMIT_S)
    # one at the sink, four results, one in the network, one each in the hands of reader and network
    # and one in the queue between them
    assert held[0] <= 9


@pytest.mark.parametrize("limit", [1, 5, 12, 100])
def test_max_frames(session: OrtSession, clip: Path, limit: int) -> None:
    sink = Collect()
    with closing(open_source(str(clip))) as source:
        summary = run_pipeline(session, source, [sink], PipelineConfig(max_frames=limit))
    assert summary.frames == len(sink.results) == min(limit, 12)
    assert not summary.interrupted
    assert summary.warning is None


def test_a_source_without_frames(session: OrtSession) -> None:
    summary = run_pipeline(session, Frames(0), [Collect()], PipelineConfig())
    assert (summary.frames, summary.stage_ms) == (0, {})
    assert "0 frames" in summary.text()


def test_what_the_source_says_is_reported(session: OrtSession) -> None:
    source = Frames(3)
    source.dropped, source.warning = 7, "half of it is missing"
    summary = run_pipeline(session, source, [], PipelineConfig())
    assert (summary.dropped, summary.warning) == (7, "half of it is missing")
    assert "7 dropped" in summary.text()
    assert "warning: half of it is missing" in summary.text()


class _WorseError(Exception):
    """Raised once by a part of the run."""


def _fail_at(number: int) -> Callable[[int], None]:
    def before(n: int) -> None:
        if n == number:
            raise _WorseError(f"at {n}")

    return before


@pytest.mark.parametrize("number", [0, 1, 7])
@pytest.mark.parametrize("live", [False, True])
def test_a_failure_of_the_source(session: OrtSession, number: int, live: bool) -> None:
    source, sink = Frames(500, _fail_at(number), live=live), Collect()
    with pytest.raises(_WorseError, match=f"at {number}"):
        run_pipeline(session, source, [sink], PipelineConfig())
    assert [result.index for result in sink.results] == list(range(len(sink.results)))
    assert len(sink.results) <= number
    assert bool(source.closed) == live


@pytest.mark.parametrize("number", [0, 1, 7])
def test_a_failure_of_a_sink(session: OrtSession, number: int) -> None:
    fail = _fail_at(number)
    source, first = Frames(500), Collect()
    failing = Collect(lambda frame, result: fail(result.index))
    with pytest.raises(_WorseError, match=f"at {number}"):
        run_pipeline(session, source, [first, failing], PipelineConfig())
    assert len(first.results) == number + 1
    assert len(failing.results) == number
    assert not source.finished


@pytest.mark.parametrize("good", [0, 1, 5])
def test_a_frame_that_is_no_picture_leaves_the_session_usable(
    session: OrtSession, good: int
) -> None:
    class Wrong(Frames):
        def __iter__(self) -> Iterator[Frame]:
            yield from Frames(good)
            yield Frame(np.zeros((4, 4), np.uint8), good, good * 40_000_000, 0)

    for _ in range(3):  # more often than the session has slots
        with pytest.raises((TypeError, ValueError)):
            run_pipeline(session, Wrong(0), [Collect()], PipelineConfig())
    assert run_pipeline(session, Frames(4), [], PipelineConfig()).frames == 4


def test_a_failure_of_the_network_leaves_the_session_usable(
    session: OrtSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = session.collect, [0]

    def collect(ticket: Any) -> Any:
        outputs = plain(ticket)
        calls[0] += 1
        if calls[0] == 3:
            raise _WorseError("the network")
        return outputs

    monkeypatch.setattr(session, "collect", collect)
    with pytest.raises(_WorseError):
        run_pipeline(session, Frames(100), [Collect()], PipelineConfig())
    assert run_pipeline(session, Frames(5), [], PipelineConfig()).frames == 5


def test_ctrl_c_ends_cleanly(session: OrtSession) -> None:
    source = Frames(100_000, live=True)

    def press(frame: Frame, result: FrameResult) -> None:
        if result.index == 10:
            _thread.interrupt_main()

    sink = Collect(press)
    summary = run_pipeline(session, source, [sink], PipelineConfig())
    assert summary.interrupted
    assert 10 < summary.frames == len(sink.results) < 100_000
    assert [result.index for result in sink.results] == list(range(summary.frames))
    assert summary.text().startswith("interrupted after ")
    assert source.closed
    assert not source.finished
    assert run_pipeline(session, Frames(5), [], PipelineConfig()).frames == 5


def test_ctrl_c_again_and_again_waits_for_what_is_written(session: OrtSession) -> None:
    """What the threads use is freed by the caller as soon as it returns."""
    writing = threading.Event()

    def press(frame: Frame, result: FrameResult) -> None:
        if result.index == 10:
            writing.set()
            for _ in range(3):
                _thread.interrupt_main()
                time.sleep(0.05)
            writing.clear()

    sink = Collect(press)
    summary = run_pipeline(session, Frames(100_000, live=True), [sink], PipelineConfig())
    assert summary.interrupted
    assert not writing.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("edgemtl_")]


def test_a_window_that_is_closed_ends_it_like_ctrl_c(session: OrtSession) -> None:
    def close(frame: Frame, result: FrameResult) -> None:
        if result.index == 4:
            raise KeyboardInterrupt

    sink = Collect(close)
    summary = run_pipeline(session, Frames(100_000), [sink], PipelineConfig())
    assert summary.interrupted
    assert summary.frames == len(sink.results) == 4


def test_a_queue_without_room(session: OrtSession) -> None:
    with pytest.raises(ValueError, match="queue"):
        run_pipeline(session, Frames(1), [], PipelineConfig(queue=0))


def test_real_failures_of_sources_arrive_as_they_are(session: OrtSession, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with (
        closing(open_source(str(tmp_path))) as source,
        pytest.raises(SourceError, match="none of 2"),
    ):
        run_pipeline(session, source, [], PipelineConfig())


def test_summary_as_a_dict(session: OrtSession, clip: Path) -> None:
    with closing(open_source(str(clip))) as source:
        summary = run_pipeline(session, source, [Collect()], PipelineConfig())
    stages = ["decode", "preprocess", "infer", "postprocess", "track", "sink"]
    assert list(summary.stage_ms) == stages
    assert summary.fps == pytest.approx(summary.frames / summary.seconds)
    fixed = RunSummary(12, 1, 1.23456, 9.7249, {"infer": (1.23456, 2.0)}, True, "w")
    assert fixed.to_dict() == {
        "frames": 12,
        "dropped": 1,
        "seconds": 1.235,
        "frames_per_second": 9.72,
        "latency_ms": {"infer": {"p50": 1.2346, "p95": 2.0}},
        "interrupted": True,
        "warning": "w",
    }
    assert fixed.text() == (
        "interrupted after 12 frames in 1.2 s, 9.7 frames per second, 1 dropped\n"
        "p50/p95 in ms: infer 1.2/2.0\nwarning: w"
    )
