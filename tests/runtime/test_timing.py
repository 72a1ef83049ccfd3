"""Percentiles of the stages against numpy's own."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.runtime.timing import STAGES, StageTimes


def test_percentiles_of_each_stage() -> None:
    rng = np.random.default_rng(0)
    times = StageTimes()
    values = {stage: rng.integers(1_000, 9_000_000, 101) for stage in ("infer", "decode", "sink")}
    for n in range(101):
        times.add({stage: int(values[stage][n]) for stage in values})
    found = times.p50_p95_ms()
    assert list(found) == ["decode", "infer", "sink"], "in the order of the pipeline"
    for stage, (p50, p95) in found.items():
        ordered = np.sort(values[stage]) / 1e6
        assert p50 == pytest.approx(ordered[50])
        assert p95 == pytest.approx(ordered[95])


def test_the_last_frames_count() -> None:
    times = StageTimes(kept=3)
    for value in (900, 900, 900, 1, 2, 3):
        times.add({"infer": value * 1_000_000, "own": value * 1_000_000})
    assert times.p50_p95_ms()["infer"][0] == times.p50_p95_ms()["own"][0] == 2.0


def test_stages_seen_seldom_or_never() -> None:
    times = StageTimes()
    assert times.p50_p95_ms() == {}
    times.add({"infer": 2_000_000})
    times.add({"own": 1_000_000, "infer": 4_000_000})
    assert times.p50_p95_ms() == {
        "infer": (pytest.approx(3.0), pytest.approx(3.9)),
        "own": (1.0, 1.0),
    }
    assert "own" not in STAGES
