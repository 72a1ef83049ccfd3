"""Thousands of frames: memory flat, tracks bounded, ids counting on. The benchmark runs longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RECORDED = BENCHMARKS / "results" / "tracker_soak.json"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The benchmark in a process of its own: this one's memory moves for other reasons."""
    if not Path("/proc/self/statm").is_file():
        pytest.skip("resident memory is read from /proc/self/statm, which only Linux has")
    folder = tmp_path_factory.mktemp("soak")
    command = [sys.executable, str(BENCHMARKS / "tracker_soak.py"), "--frames", "5000"]
    command += ["--seed", "3", "--out", str(folder / "soak.json")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    trackers: dict[str, Any] = json.loads((folder / "soak.json").read_text())["trackers"]
    return trackers


@pytest.mark.parametrize("name", ["edgemtl", "bytetrack"])
def test_memory_stays_flat(runs: dict[str, Any], name: str) -> None:
    facts = runs[name]
    assert len(facts["resident_kib"]) == 10
    assert facts["growth_kib"] < 2048
    assert facts["last_id"] > 200
    assert 20 < facts["most_tracks_in_a_frame"] <= facts["capacity"]
    assert facts["refused_births"] > 0


def test_the_recorded_run_was_long_and_flat() -> None:
    facts = json.loads(RECORDED.read_text())["trackers"]
    assert set(facts) == {"edgemtl", "bytetrack"}
    for run in facts.values():
        assert run["frames"] == 200_000
        assert run["growth_kib"] < 2048
        assert run["last_id"] > 10_000
