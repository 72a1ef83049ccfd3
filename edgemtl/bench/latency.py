"""Latency per stage, from frame to result, one frame at a time and nothing overlapped.

Overlapping stages hides latency behind throughput; here each stage is timed alone, so that a
reader sees what a frame costs and where. ``edgemtl run`` overlaps them and is faster per second.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgemtl import ops
from edgemtl.bench.host import board_line, conditions, host_facts
from edgemtl.bench.plot import latency_svg
from edgemtl.engine.session import Session
from edgemtl.errors import SourceError
from edgemtl.files import write_text
from edgemtl.progress import track
from edgemtl.records import Frame
from edgemtl.track import Tracker

STAGES = ("decode", "preprocess", "infer", "postprocess", "track")
TOTAL = "total"
_UNSTABLE = 0.1  # halves of a run may differ by this part of the median
_CLOCK_DROP = 0.1
_ENOUGH = 20  # frames, for a p95 and a drift that mean something
_SPREAD = 1.5  # p95 / p50 of a network that does the same work every time
_SETTLE = 5  # frames after a network was loaded anew


class FrameSource(Protocol):
    """What can be measured: frames one after the other, closed at the end."""

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """``frames`` are measured after ``warmup`` others; a short source gives what it has.

    They are spread over ``loads`` of the network, each some percent faster or slower than another
    by where its memory lies: more frames of one load do not average that out.
    """

    frames: int = 200
    warmup: int = 20
    loads: int = 1
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p95: float
    p99: float
    mean: float

    @staticmethod
    def of(nanoseconds: list[int]) -> Percentiles:
        values = np.array(nanoseconds, np.float64) / 1e6
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        return Percentiles(float(p50), float(p95), float(p99), float(values.mean()))


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured, on what, under which conditions, and whether it may be believed."""

    model: str
    precision: str
    backend: str
    frames: int
    size_hw: tuple[int, int]
    stages: dict[str, Percentiles]
    series_ms: list[float]
    host: dict[str, Any]
    before: dict[str, float]
    after: dict[str, float]
    doubts: tuple[str, ...] = field(default=())
    loads_ms: tuple[float, ...] = field(default=())  # inference, p50 of each of several

    @property
    def verdict(self) -> str:
        """``stable``, or ``inconclusive`` if the host changed while it was measured."""
        return "inconclusive" if self.doubts else "stable"

    @property
    def fps(self) -> float:
        """Frames per second of this measurement: one frame at a time."""
        return 1e3 / self.stages[TOTAL].mean

    def to_dict(self) -> dict[str, Any]:
        stages = {
            name: {key: round(getattr(p, key), 4) for key in ("p50", "p95", "p99", "mean")}
            for name, p in self.stages.items()
        }
        return {
            "model": self.model,
            "precision": self.precision,
            "backend": self.backend,
            "frames": self.frames,
            "source_size_hw": list(self.size_hw),
            "latency_ms": stages,
            "frames_per_second": round(self.fps, 2),
            "infer_p50_of_loads": [round(ms, 4) for ms in self.loads_ms],
            "verdict": self.verdict,
            "doubts": list(self.doubts),
            "host": self.host,
            "before": self.before,
            "after": self.after,
        }

    def rows(self) -> list[list[object]]:
        """Table: a header, a row per stage in ms, and the run's conditions."""
        rows: list[list[object]] = [["ms", "p50", "p95", "p99"]]
        for name, p in self.stages.items():
            rows.append([name, f"{p.p50:.2f}", f"{p.p95:.2f}", f"{p.p99:.2f}"])
        rows.append(["frames per second", f"{self.fps:.1f}"])
        rows.append([f"{self.model} ({self.precision}) on {self.backend}"])
        rows.append([f"{self.host['cpu']}, {self.host['cores']} cores, {self.frames} frames"])
        if self.loads_ms:
            least, most = min(self.loads_ms), max(self.loads_ms)
            rows.append([f"infer, p50 of {len(self.loads_ms)} loads: {least:.2f} to {most:.2f} ms"])
        board = board_line(self.host)
        rows += [[board]] if board else []
        rows.append([f"verdict: {self.verdict}" + "".join(f"; {d}" for d in self.doubts)])
        return rows

    def plot_svg(self, path: Path) -> None:
        """Stages as bars and the latency of every frame, as one SVG file."""
        title = f"{self.model} ({self.precision}), {self.backend}, {self.host['cpu']}"
        bars = [(name, p.p50, p.p95) for name, p in self.stages.items()]
        write_text(path, latency_svg(title, bars, self.series_ms))


def bench(
    session: Session,
    source: FrameSource,
    config: BenchConfig,
    again: Callable[[], Session] | None = None,
) -> BenchReport:
    """Measure ``session`` over the frames of ``source``, which is closed.

    ``again`` opens the same network for each further load of ``config.loads``; what it opens is
    closed. Raises SourceError if there is no frame after the warm-up.
    """
    times: dict[str, list[int]] = {name: [] for name in (*STAGES, TOTAL)}
    loads_ms: list[float] = []
    parts = _parts(config, 1 if again is None else config.loads)
    size_hw = (0, 0)
    before: dict[str, float] = {}
    with closing(source), ExitStack() as opened:
        passes = _Passes(session, config)
        wanted = sum(skipped + counted for skipped, counted in parts)
        frames = iter(track(_timed(source, wanted), "bench", wanted))
        for skipped, counted in parts:
            if loads_ms and again is not None:
                opened.close()
                passes.session = opened.enter_context(closing(again()))
            known = len(times["infer"])
            for number, (frame, decode_ns) in enumerate(islice(frames, skipped + counted)):
                if number == skipped and not before:
                    before = conditions()
                spent = {"decode": decode_ns, **passes.run(frame)}
                size_hw = frame.size_hw
                if number >= skipped:
                    for name, value in spent.items():
                        times[name].append(value)
                    times[TOTAL].append(sum(spent.values()))
            if len(times["infer"]) == known:
                break
            loads_ms.append(statistics.median(times["infer"][known:]) / 1e6)
    if not loads_ms:
        raise SourceError(
            f"source: it ended within the warm-up of {config.warmup} frames",
            "use a longer source, or --warmup 0",
        )
    after = conditions()
    return BenchReport(
        model=session.manifest.name,
        precision=session.manifest.precision,
        backend=session.backend,
        frames=len(times[TOTAL]),
        size_hw=size_hw,
        stages={name: Percentiles.of(values) for name, values in times.items() if values},
        series_ms=[value / 1e6 for value in times[TOTAL]],
        host=host_facts(),
        before=before,
        after=after,
        doubts=tuple(_doubts(times["infer"], before, after)),
        loads_ms=tuple(loads_ms) if loads_ms[1:] else (),
    )


def _parts(config: BenchConfig, loads: int) -> list[tuple[int, int]]:
    """For each load, how many frames to skip and to count then; every load counts one or more."""
    loads = min(loads, config.frames)
    ends = [config.frames * load // loads for load in range(loads + 1)]
    counted = [end - start for start, end in pairwise(ends)]
    return [(_SETTLE if load else config.warmup, count) for load, count in enumerate(counted)]


class _Passes:
    """One frame through all stages, each timed."""

    def __init__(self, session: Session, config: BenchConfig) -> None:
        manifest = session.manifest
        self.session = session
        self._tracker = Tracker(embedding_dim=manifest.embedding_dim)
        reported = manifest.min_score if config.min_score is None else config.min_score
        # as in a run: the tracker's second association takes detections too weak to report
        self._min_score = min(reported, self._tracker.config.min_score)

    def run(self, frame: Frame) -> dict[str, int]:
        session, clock = self.session, time.perf_counter_ns
        at = [clock()]
        slot = session.acquire()
        geometry = ops.letterbox_frame(frame, session.input(slot)[0], session.manifest.input)
        at.append(clock())
        outputs = session.collect(session.submit(slot, 1))
        at.append(clock())
        detections = ops.decode(outputs, 0, geometry, self._min_score)
        at.append(clock())
        self._tracker.step(detections, frame.pts_ns, frame.size_hw)
        at.append(clock())
        return {name: at[i + 1] - at[i] for i, name in enumerate(STAGES[1:])}


def _timed(frames: Iterable[Frame], wanted: int) -> Iterator[tuple[Frame, int]]:
    """Up to ``wanted`` frames, each with the time that it took to come."""
    iterator = iter(frames)
    for _ in range(wanted):
        started = time.perf_counter_ns()
        frame = next(iterator, None)
        if frame is None:
            return
        yield frame, time.perf_counter_ns() - started


def _doubts(infer_ns: list[int], before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Why these figures may not hold: the run drifted, or the clock fell."""
    doubts = []
    half = len(infer_ns) // 2
    if len(infer_ns) < _ENOUGH:
        doubts.append(f"{len(infer_ns)} frames are too few to tell, {_ENOUGH} are the least")
    else:
        early, late = statistics.median(infer_ns[:half]), statistics.median(infer_ns[half:])
        drift = abs(late - early) / statistics.median(infer_ns)
        if drift > _UNSTABLE:
            doubts.append(f"the two halves of the run differ by {100 * drift:.0f} %")
    spread = float(np.percentile(infer_ns, 95) / np.percentile(infer_ns, 50))
    if spread > _SPREAD:
        doubts.append(f"inference: p95 is {spread:.1f} times p50, something else was running")
    for key in ("clock_mhz", "gpu_clock_mhz"):
        if key in before and key in after and after[key] < (1 - _CLOCK_DROP) * before[key]:
            doubts.append(f"{key} fell from {before[key]:.0f} to {after[key]:.0f}")
    return doubts
