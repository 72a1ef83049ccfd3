"""Latency per stage: the figures against numpy, the report's keys, and when it is in doubt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from small_files import pictures, write_clip
from tiny_model import write_tiny

from edgemtl.bench import latency
from edgemtl.bench.latency import (
    STAGES,
    BenchConfig,
    BenchReport,
    Percentiles,
    _doubts,
    bench,
)
from edgemtl.engine.ort import OrtSession
from edgemtl.errors import OutputError, SourceError
from edgemtl.records import Frame
from edgemtl.runtime.source import open_source

MS = 1_000_000


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrtSession]:
    path = write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")
    with closing(OrtSession(path, threads=1)) as session:
        yield session


class Frames:
    """Pictures in memory; counts what is asked of it."""

    def __init__(self, count: int, pause_s: float = 0.0) -> None:
        self._count, self._pause_s = count, pause_s
        self.taken = self.closed = 0

    def __iter__(self) -> Iterator[Frame]:
        ring = pictures(4)
        for n in range(self._count):
            time.sleep(self._pause_s)
            self.taken += 1
            yield Frame(ring[n % 4], n, n * 40 * MS, time.monotonic_ns())

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_percentiles_are_numpys(count: int) -> None:
    values = np.random.default_rng(count).integers(1, 50 * MS, count)
    have = Percentiles.of(values.tolist())
    for name, q in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert getattr(have, name) == pytest.approx(np.percentile(values, q) / MS)
    assert have.mean == pytest.approx(values.mean() / MS)


def test_percentiles_interpolate() -> None:
    have = Percentiles.of([n * MS for n in range(101)])
    assert (have.p50, have.p95, have.p99, have.mean) == (50.0, 95.0, 99.0, 50.0)
    assert Percentiles.of([MS, 3 * MS]).p50 == 2.0


@pytest.mark.parametrize(
    ("there", "frames", "warmup", "measured"),
    [(50, 10, 5, 10), (12, 10, 5, 7), (6, 10, 5, 1), (3, 10, 0, 3), (11, 1, 10, 1)],
)
def test_so_many_frames_after_the_warm_up(
    session: OrtSession, there: int, frames: int, warmup: int, measured: int
) -> None:
    source = Frames(there)
    report = bench(session, source, BenchConfig(frames=frames, warmup=warmup))
    assert report.frames == len(report.series_ms) == measured
    assert source.taken == min(there, frames + warmup)
    assert source.closed == 1
    assert list(report.stages) == [*STAGES, "total"]
    assert report.size_hw == (48, 96)


@pytest.mark.parametrize("there", [0, 4, 5])
def test_a_source_that_ends_within_the_warm_up(session: OrtSession, there: int) -> None:
    source = Frames(there)
    with pytest.raises(SourceError, match="warm-up of 5 frames") as caught:
        bench(session, source, BenchConfig(frames=10, warmup=5))
    assert "--warmup 0" in (caught.value.hint or "")
    assert source.closed == 1


class Opened:
    """Sessions that are counted while they are open."""

    def __init__(self, session: OrtSession) -> None:
        self._session, self.made, self.open = session, 0, 0

    def again(self) -> Any:
        self.made, self.open = self.made + 1, self.open + 1
        assert self.open == 1, "one after the other"
        return self

    def close(self) -> None:
        self.open -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.mark.parametrize(
    ("there", "frames", "loads", "measured", "made", "told"),
    [
        (90, 20, 1, 20, 0, 0),
        (90, 20, 3, 20, 2, 3),
        (90, 3, 8, 3, 2, 3),  # each load measures a frame at least
        (14, 20, 2, 10, 1, 0),  # the source ends with the first
        (22, 30, 3, 13, 2, 2),
    ],
)
def test_frames_are_spread_over_loads_of_the_network(
    session: OrtSession, there: int, frames: int, loads: int, measured: int, made: int, told: int
) -> None:
    source, opened = Frames(there), Opened(session)
    config = BenchConfig(frames=frames, warmup=4, loads=loads)
    report = bench(session, source, config, opened.again)
    assert (report.frames, opened.made, opened.open, source.closed) == (measured, made, 0, 1)
    assert len(report.loads_ms) == len(report.to_dict()["infer_p50_of_loads"]) == told
    said = [str(row[0]) for row in report.rows() if "loads" in str(row[0])]
    wanted = f"infer, p50 of {told} loads: {min(report.loads_ms):.2f} to " if told else ""
    assert [words[: len(wanted)] for words in said] == [wanted] * bool(told)


def test_one_load_where_nobody_opens_another(session: OrtSession) -> None:
    report = bench(session, Frames(30), BenchConfig(frames=20, warmup=4, loads=3))
    assert (report.frames, report.loads_ms) == (20, ())


def test_the_total_is_the_sum_of_the_stages(session: OrtSession) -> None:
    report = bench(session, Frames(30, pause_s=0.002), BenchConfig(frames=25, warmup=5))
    parts = sum(report.stages[name].mean for name in STAGES)
    assert report.stages["total"].mean == pytest.approx(parts, rel=1e-6)
    assert report.stages["total"].mean == pytest.approx(np.mean(report.series_ms))
    assert report.fps == pytest.approx(1e3 / report.stages["total"].mean)
    assert report.stages["decode"].p50 >= 2.0, "the wait for a frame belongs to decoding"
    for p in report.stages.values():
        assert 0 < p.p50 <= p.p95 <= p.p99


def test_the_conditions_are_read_outside_the_measured_time(
    session: OrtSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    source, now = Frames(4), [0]

    def clock() -> int:
        now[0] += 1000
        return now[0]

    def slow() -> dict[str, float]:
        calls.append(source.taken)
        now[0] += 10**12
        return {"clock_mhz": 1000.0}

    monkeypatch.setattr(latency.time, "perf_counter_ns", clock)
    monkeypatch.setattr(latency, "conditions", slow)
    report = bench(session, source, BenchConfig(frames=3, warmup=1))
    assert calls == [2, 4], "before the first measured frame and after the last"
    assert report.series_ms == pytest.approx([0.005] * 3), "five stages of one tick"
    assert report.before == report.after == {"clock_mhz": 1000.0}


def test_weak_detections_reach_the_tracker_as_in_a_run(
    session: OrtSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    plain = latency.ops.decode

    def decode(outputs: Any, n: int, geometry: Any, min_score: float) -> Any:
        asked.append(min_score)
        return plain(outputs, n, geometry, min_score)

    monkeypatch.setattr(latency.ops, "decode", decode)
    for wanted, used in ((None, 0.1), (0.5, 0.1), (0.02, 0.02)):
        bench(session, Frames(2), BenchConfig(frames=1, warmup=1, min_score=wanted))
        assert asked[-1] == used


@pytest.mark.parametrize("kw", [{"classes": (), "embedding_dim": None}, {"image_classes": ()}])
def test_any_tasks(tmp_path: Path, kw: dict[str, Any]) -> None:
    with closing(OrtSession(write_tiny(tmp_path / "m.onnx", **kw), threads=1)) as session:
        assert bench(session, Frames(3), BenchConfig(frames=2, warmup=1)).frames == 2


@pytest.fixture(scope="module")
def report(session: OrtSession, tmp_path_factory: pytest.TempPathFactory) -> BenchReport:
    clip = write_clip(tmp_path_factory.mktemp("video") / "clip.avi", 12)
    return bench(session, open_source(str(clip)), BenchConfig(frames=8, warmup=2))


def test_the_report_as_a_dict(report: BenchReport) -> None:
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(data) == {
        "model", "precision", "backend", "frames", "source_size_hw", "latency_ms",
        "frames_per_second", "infer_p50_of_loads", "verdict", "doubts", "host", "before", "after",
    }  # fmt: skip
    assert list(data["latency_ms"]) == [*STAGES, "total"]
    for stage in data["latency_ms"].values():
        assert set(stage) == {"p50", "p95", "p99", "mean"}
    assert (data["model"], data["precision"], data["frames"]) == ("tiny", "fp32", 8)
    assert data["backend"].startswith("onnxruntime ")
    assert data["source_size_hw"] == [48, 96]
    assert data["host"]["cpu"]
    assert "onnxruntime" in data["host"]["packages"]


def test_the_report_as_rows(report: BenchReport) -> None:
    rows = report.rows()
    assert rows[0] == ["ms", "p50", "p95", "p99"]
    assert [row[0] for row in rows[1:7]] == [*STAGES, "total"]
    assert rows[3][1] == f"{report.stages['infer'].p50:.2f}"
    text = "\n".join(str(row[0]) for row in rows[7:])
    for word in ("frames per second", "tiny (fp32) on onnxruntime", report.host["cpu"], "verdict"):
        assert word in text


def test_a_jetsons_report_names_mode_and_clocks(report: BenchReport) -> None:
    jetson = {"model": "Orin", "release": "JetPack 6.2", "power_mode": "15W", "clocks_fixed": True}
    rows = replace(report, host={**report.host, "jetson": jetson}).rows()
    assert ["Orin, JetPack 6.2, 15W, clocks fixed"] in rows
    assert len(rows) == len(replace(report, host={**report.host, "jetson": None}).rows()) + 1


def test_the_verdict_follows_the_doubts(report: BenchReport) -> None:
    assert replace(report, doubts=()).verdict == "stable"
    doubted = replace(report, doubts=("the clock fell",))
    assert doubted.verdict == "inconclusive"
    assert doubted.to_dict()["doubts"] == ["the clock fell"]
    assert "verdict: inconclusive; the clock fell" in str(doubted.rows()[-1][0])


STEADY = [10 * MS] * 40
COOL = {"clock_mhz": 3000.0, "gpu_clock_mhz": 1500.0, "load_1min": 1.0}


@pytest.mark.parametrize(
    ("infer_ns", "after", "words"),
    [
        (STEADY, COOL, []),
        ([10 * MS] * 20 + [12 * MS] * 20, COOL, ["halves"]),
        ([12 * MS] * 20 + [10 * MS] * 20, COOL, ["halves"]),
        ([10 * MS] * 20 + [10_900_000] * 20, COOL, []),
        ([10 * MS, 20 * MS] * 20, COOL, []),
        ([10 * MS] * 36 + [30 * MS] * 4, COOL, ["p95 is 3.0 times"]),
        ([10 * MS] * 39 + [90 * MS], COOL, []),
        (STEADY, {**COOL, "clock_mhz": 2600.0}, ["clock_mhz fell from 3000 to 2600"]),
        (STEADY, {**COOL, "clock_mhz": 2800.0, "gpu_clock_mhz": 900.0}, ["gpu_clock_mhz fell"]),
        (STEADY, {"clock_mhz": 9000.0}, []),
        (STEADY, {}, []),
        ([10 * MS], {}, ["1 frames are too few"]),
        ([10 * MS] * 9 + [14 * MS] * 9, {}, ["18 frames are too few"]),
        ([10 * MS] * 20, {}, []),
    ],
)
def test_doubts(infer_ns: list[int], after: dict[str, float], words: list[str]) -> None:
    doubts = _doubts(infer_ns, COOL, after)
    assert len(doubts) == len(words)
    for doubt, word in zip(doubts, words, strict=True):
        assert word in doubt


def test_a_host_that_drifts_makes_the_verdict_inconclusive(
    session: OrtSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = session.collect, [0]

    def collect(ticket: Any) -> Any:
        calls[0] += 1
        time.sleep(0.001 if calls[0] <= 14 else 0.02)
        return plain(ticket)

    monkeypatch.setattr(session, "collect", collect)
    report = bench(session, Frames(30), BenchConfig(frames=28, warmup=0))
    assert report.verdict == "inconclusive"
    assert "halves" in report.doubts[0]


def test_the_plot_is_an_svg_file(report: BenchReport, tmp_path: Path) -> None:
    odd = replace(report, model='m <&> "x"\x07')
    odd.plot_svg(tmp_path / "latency.svg")
    root = ElementTree.fromstring((tmp_path / "latency.svg").read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any('m <&> "x"' in word for word in words)
    assert {*STAGES, "total"} <= set(words)
    with pytest.raises(OutputError):
        report.plot_svg(tmp_path / "absent" / "latency.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["latency.svg"]
