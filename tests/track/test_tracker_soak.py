"""Thousands of frames: memory flat, tracks bounded, ids counting on. The benchmark runs longer."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

RECORDED = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "tracker_soak.json"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("tracker_soak")


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory as Linux tells it")
@pytest.mark.parametrize("name", ["edgemtl", "bytetrack"])
def test_memory_stays_flat(script: ModuleType, name: str) -> None:
    facts = script.soak(name, 5000, seed=3)
    assert len(facts["resident_kib"]) == script.MARKS
    assert facts["growth_kib"] < 2048
    assert facts["last_id"] > 200
    assert 20 < facts["most_tracks_in_a_frame"] <= script.CAPACITY
    assert facts["refused_births"] > 0


def test_the_recorded_run_was_long_and_flat() -> None:
    facts = json.loads(RECORDED.read_text())["trackers"]
    assert set(facts) == {"edgemtl", "bytetrack"}
    for run in facts.values():
        assert run["frames"] == 200_000
        assert run["growth_kib"] < 2048
        assert run["last_id"] > 10_000
