"""The threaded run: source -> network -> tracker -> sinks, each in its own thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from edgemtl import ops
from edgemtl.engine.predict import read_scene
from edgemtl.engine.session import Session, Ticket
from edgemtl.engine.slots import give_back
from edgemtl.errors import EdgeMTLError
from edgemtl.records import (
    Detections,
    Frame,
    FrameResult,
    LetterboxGeometry,
    NetOutputs,
    Scene,
    Tracks,
)
from edgemtl.runtime.fuse import AttributeMemory, cut, no_tracks
from edgemtl.runtime.lane import END, Lane
from edgemtl.runtime.source import Source
from edgemtl.runtime.summary import RunSummary
from edgemtl.runtime.timing import StageTimes
from edgemtl.track import TrackerConfig
from edgemtl.track.presets import AnyTrackerConfig, make_tracker

__all__ = ["PipelineConfig", "RunSummary", "Sink", "run_pipeline"]

_POLL_S = 0.1


class Sink(Protocol):
    """Takes results in frame order. ``close`` finishes the output; calling it twice is harmless."""

    def write(self, frame: Frame, result: FrameResult) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """``min_score`` of reported detections (None: the model's). The tracker sees weaker ones too,
    from its own ``min_score`` on. ``policy`` None: by the source. ``queue``: frames between two
    threads."""

    min_score: float | None = None
    policy: Literal["all", "latest"] | None = None
    max_frames: int | None = None
    queue: int = 4
    tracker: AnyTrackerConfig = field(default_factory=TrackerConfig)


@dataclass(slots=True)
class _InFlight:
    """A frame whose network run has been submitted."""

    frame: Frame
    ticket: Ticket
    geometry: LetterboxGeometry
    stage_ns: dict[str, int]
    submitted_ns: int


def run_pipeline(
    session: Session, source: Source, sinks: Sequence[Sink], config: PipelineConfig
) -> RunSummary:
    """Run every frame of ``source`` through the network and the tracker into ``sinks``.

    Order is kept. An exception in any thread ends the run and is raised here, once. Ctrl-C ends it
    cleanly: what was done is written and ``interrupted`` is set. Source, session and sinks stay
    the caller's to close.
    """
    run = _Run(session, source, sinks, config)
    started = time.monotonic()
    interrupted = run.go()
    seconds = time.monotonic() - started
    return RunSummary(
        frames=run.written,
        dropped=source.dropped,
        seconds=seconds,
        fps=run.written / seconds if seconds > 0 else 0.0,
        stage_ms=run.times.p50_p95_ms(),
        interrupted=interrupted,
        warning=source.warning,
    )


class _Run:
    def __init__(
        self, session: Session, source: Source, sinks: Sequence[Sink], config: PipelineConfig
    ) -> None:
        self._session, self._source, self._sinks, self._config = session, source, sinks, config
        self._stop = threading.Event()
        # a live picture that waits in a queue grows old; what is decoded and has a result is kept
        self._frames = Lane(1 if source.live else config.queue, self._stop)
        self._results = Lane(config.queue, self._stop, drain=True)
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        manifest = session.manifest
        self._min_score = manifest.min_score if config.min_score is None else config.min_score
        self._tracker = (
            make_tracker(config.tracker, embedding_dim=manifest.embedding_dim)
            if manifest.classes
            else None
        )
        self._told = AttributeMemory()
        self.times = StageTimes()
        self.written = 0

    def go(self) -> bool:
        """Run to the end; whether Ctrl-C came first."""
        works: tuple[Callable[[], None], ...] = (self._read, self._infer, self._write)
        # Not Thread.join: before Python 3.13, one that Ctrl-C interrupts takes its thread for ended
        ended = [threading.Event() for _ in works]
        threads: list[threading.Thread] = []
        interrupted = False
        try:
            for work, end in zip(works, ended, strict=True):
                name = f"edgemtl{work.__name__}"
                thread = threading.Thread(target=self._guard, args=(work, end), name=name)
                thread.start()
                threads.append(thread)
            while not self._stop.is_set() and not all(end.is_set() for end in ended):
                ended[-1].wait(_POLL_S)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            early = interrupted or len(threads) < len(works) or self._stop.is_set()
            interrupted = self._settle(threads, ended, early) or interrupted
        if self._errors.empty():
            return interrupted
        error = self._errors.get()
        if isinstance(error, KeyboardInterrupt):  # a closed window ends a run like Ctrl-C
            return True
        raise error

    def _settle(
        self, threads: list[threading.Thread], ended: list[threading.Event], early: bool
    ) -> bool:
        """Wait for the threads, which use what the caller frees next: whoever presses Ctrl-C again
        waits, too. Whether somebody did."""
        interrupted = False
        while True:
            try:
                if early:
                    self._stop.set()
                    if self._source.live:
                        self._source.close()  # a reader may wait for a camera for ever
                for thread, end in zip(threads, ended, strict=False):
                    end.wait()
                    thread.join()
                return interrupted
            except KeyboardInterrupt:
                interrupted = early = True

    def _guard(self, work: Callable[[], None], end: threading.Event) -> None:
        try:
            work()
        except BaseException as error:  # raised again by go(), in the caller's thread
            self._errors.put(error)
            self._stop.set()
        finally:
            end.set()

    def _read(self) -> None:
        frames = iter(self._source)
        count = 0
        while self._config.max_frames is None or count < self._config.max_frames:
            started = time.perf_counter_ns()
            frame = next(frames, None)
            if frame is None:
                break
            spent = time.perf_counter_ns() - started
            if not self._frames.put((frame, spent)):
                return
            count += 1
        self._frames.put(END)

    def _infer(self) -> None:
        """Letterbox the next frame while the network runs on the one before it.

        Where frames come more slowly than the network runs, results do not wait for the next.
        """
        ahead: _InFlight | None = None
        item: Any = None
        try:
            while item is not END:
                item = self._frames.ready(None)
                if item is None and ahead is not None:
                    done, ahead = ahead, None
                    self._results.put(self._finish(done))
                if item is None:
                    item = self._frames.get()
                following = None if item is END else self._submit(*item)
                if ahead is not None:
                    done, ahead = ahead, following
                    self._results.put(self._finish(done))
                ahead = following
        finally:
            if ahead is not None:  # an error came between; its slot must not stay taken
                with suppress(EdgeMTLError):
                    self._session.collect(ahead.ticket)
        self._results.put(END)

    def _submit(self, frame: Frame, decode_ns: int) -> _InFlight:
        session, started = self._session, time.perf_counter_ns()
        slot = session.acquire()
        try:
            geometry = ops.letterbox_frame(frame, session.input(slot)[0], session.manifest.input)
        except (TypeError, ValueError):
            give_back(session, slot)
            raise
        ready = time.perf_counter_ns()
        ticket = session.submit(slot, 1)
        stages = {"decode": decode_ns, "preprocess": ready - started}
        return _InFlight(frame, ticket, geometry, stages, ready)

    def _finish(self, work: _InFlight) -> tuple[Frame, FrameResult]:
        outputs = self._session.collect(work.ticket)
        stages, at = work.stage_ns, time.perf_counter_ns()
        stages["infer"] = at - work.submitted_ns
        scene, found = self._decode(outputs, work.geometry)
        stages["postprocess"] = time.perf_counter_ns() - at
        at = time.perf_counter_ns()
        frame = work.frame
        tracks = self._track(found, frame)
        reported = int(np.searchsorted(-found.scores, -self._min_score, side="right"))
        detections, tracks = cut(found, tracks, reported)
        stages["track"] = time.perf_counter_ns() - at
        return frame, FrameResult(
            stream=frame.stream,
            index=frame.index,
            pts_ns=frame.pts_ns,
            size_hw=frame.size_hw,
            scene=scene,
            detections=detections,
            tracks=tracks,
            stage_ns=stages,
            file=frame.file,
        )

    def _decode(
        self, outputs: NetOutputs, geometry: LetterboxGeometry
    ) -> tuple[Scene | None, Detections]:
        lowest = min(self._min_score, self._config.tracker.min_score)
        return read_scene(outputs, 0), ops.decode(outputs, 0, geometry, lowest)

    def _track(self, found: Detections, frame: Frame) -> Tracks:
        if self._tracker is None:
            return no_tracks()
        tracks = self._tracker.step(found, frame.pts_ns, frame.size_hw)
        return self._told.add(tracks, found)

    def _write(self) -> None:
        while True:
            item = self._results.get()
            if item is END:
                return
            frame, result = item
            started = time.perf_counter_ns()
            for sink in self._sinks:
                sink.write(frame, result)
            self.times.add({**result.stage_ns, "sink": time.perf_counter_ns() - started})
            self.written += 1
