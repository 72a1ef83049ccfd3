"""What the small heads cost: the graph without them, the interval, and the published verdict."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import load_script

from edgemtl.graph.file import load_model
from edgemtl.models import resolve_model

RESULT = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "head_cost.json"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("head_cost")


def test_detection_alone_says_the_same_with_fewer_nodes(script: ModuleType) -> None:
    whole = load_model(resolve_model("toy"))[0]
    cut = script.detection_only(whole)
    assert [value.name for value in cut.graph.output] == list(script.DETECTION)
    assert len(cut.graph.node) < len(whole.graph.node) - 10
    sessions = [script.session_of(model) for model in (cut, whole)]
    entry = sessions[0].get_inputs()[0]
    picture = np.random.default_rng(1).integers(-128, 128, (1, *entry.shape[1:])).astype(np.int8)
    said = [one.run(list(script.DETECTION), {entry.name: picture}) for one in sessions]
    for ours, theirs in zip(*said, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_interval_frames_the_median_and_narrows_with_the_loads(script: ModuleType) -> None:
    drawn = np.random.default_rng(0).normal(0.04, 0.03, 400)
    few, many = script.interval(drawn[:25]), script.interval(drawn)
    assert few[0] < np.median(drawn[:25]) < few[1]
    assert many[1] - many[0] < 0.5 * (few[1] - few[0])
    # of a normal sample the median's standard error is 1.253 s / sqrt(n)
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * 1.253 * 0.03 / 20, rel=0.3)
    assert script.interval(np.full(9, 0.05)) == pytest.approx([0.05, 0.05])


def test_the_whole_graph_is_compared_with_detection(script: ModuleType) -> None:
    found = script.compare(load_model(resolve_model("toy"))[0], 2)
    assert found["all"]["gmac"] > found["detection"]["gmac"] > 0
    assert min(found[name]["processor_ms"] for name in ("all", "detection")) > 0
    low, high = found["processor_cost"]["interval"]
    assert low <= found["processor_cost"]["median"] <= high


def test_published_misses_follow_from_the_figures(script: ModuleType) -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    above = [
        f"{name} {precision}"
        for name, kinds in result["models"].items()
        for precision, one in kinds.items()
        if one["processor_cost"]["median"] > script.MOST
    ]
    assert [words.split(":")[0] for words in result["missed"]] == above
