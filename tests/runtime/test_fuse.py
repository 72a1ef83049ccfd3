"""Attributes over a track's life; and what a run writes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny

from edgemtl.engine.ort import OrtSession
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.manifest_tasks import Attribute
from edgemtl.records import Detections, FrameResult, Tracks
from edgemtl.runtime import fuse
from edgemtl.runtime.fuse import AttributeMemory
from edgemtl.runtime.pipeline import PipelineConfig, run_pipeline
from edgemtl.runtime.sink import JsonlSink, result_to_dict
from edgemtl.runtime.source import open_source

MANIFEST = Manifest(
    name="m",
    input=InputSpec(size_hw=(32, 64)),
    classes=("a",),
    attributes=(Attribute(name="colour", values=("red", "green")),),
)


def detections(scores: list[float], probs: list[list[float]]) -> Detections:
    n = len(scores)
    boxes = np.tile(np.array([1, 2, 3, 4], np.float32), (n, 1))
    told = {"colour": np.array(probs, np.float32).reshape(n, 2)}
    return Detections(boxes, np.array(scores, np.float32), np.zeros(n, np.int32), None, told)


def tracks(ids: list[int], det_index: list[int]) -> Tracks:
    n = len(ids)
    return Tracks(
        np.array(ids, np.int64), np.ones((n, 4), np.float32), np.ones(n, np.float32),
        np.zeros(n, np.int32), np.array(det_index, np.int32),
    )  # fmt: skip


def test_the_mean_is_weighted_by_score_and_survives_coasting() -> None:
    memory = AttributeMemory()
    memory.add(tracks([7], [0]), detections([0.5], [[1.0, 0.0]]))
    memory.add(tracks([7, 9], [1, 0]), detections([0.9, 0.25], [[0.2, 0.8], [0.0, 1.0]]))
    found = memory.add(tracks([9, 7, 11], [-1, -1, -1]), detections([], []))
    expected = [[0.2, 0.8], [0.5 / 0.75, 0.25 / 0.75], [0.5, 0.5]]
    np.testing.assert_allclose(found.attributes["colour"], expected, rtol=1e-6)
    assert found.attributes["colour"].dtype == np.float32


def test_without_attributes_nothing_is_added() -> None:
    plain = tracks([1], [0])
    found = Detections.empty()
    assert AttributeMemory().add(plain, found) is plain


def test_memory_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "_MOST_TRACKS", 3)
    memory = AttributeMemory()
    for one in range(1, 6):
        memory.add(tracks([1, one + 10], [0, 0]), detections([1.0], [[1.0, 0.0]]))
    assert set(memory._sums) == {1, 14, 15}


def test_a_lines_words() -> None:
    found = detections([0.9], [[0.25, 0.75]])
    seen = AttributeMemory().add(tracks([3], [0]), found)
    line = result_to_dict(FrameResult(0, 0, 0, (10, 10), None, found, seen), MANIFEST)
    told = {"colour": {"value": "green", "score": 0.75}}
    assert line["detections"][0]["attributes"] == line["tracks"][0]["attributes"] == told


def test_a_run_writes_them(tmp_path: Path, clip: Path) -> None:
    told = {"colour": ("red", "green", "blue"), "size": ("small", "large")}
    path = write_tiny(tmp_path / "m.onnx", attributes=told)
    session = OrtSession(path, threads=1)
    assert session.manifest.tasks == ("detect", "classify", "embed", "attributes")
    sink, source = JsonlSink(tmp_path / "r.jsonl", session.manifest), open_source(str(clip))
    run_pipeline(session, source, [sink], PipelineConfig(min_score=0.1, max_frames=8))
    sink.close()
    source.close()
    session.close()
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    objects = [o for line in lines for o in (*line["detections"], *line["tracks"])]
    assert any(line["tracks"] for line in lines)
    for one in objects:
        assert set(one["attributes"]) == set(told)
        assert all(one["attributes"][n]["value"] in values for n, values in told.items())
        assert one["attributes"]["size"]["score"] >= 0.5
