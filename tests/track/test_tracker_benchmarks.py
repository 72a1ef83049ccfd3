"""What the tracker's benchmarks measure with: scenes, disturbances, jitter, one call shape."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scripts import load_script

from edgemtl.track import TrackerConfig


@pytest.fixture(scope="module")
def robustness() -> ModuleType:
    """Loading it puts benchmarks/ on the path for the modules below."""
    return load_script("tracker_robustness")


@pytest.fixture(scope="module")
def scene(robustness: ModuleType) -> Any:
    return importlib.import_module("tracker_scenes").scene


@pytest.fixture(scope="module")
def client(robustness: ModuleType) -> ModuleType:
    return importlib.import_module("peers.client")


@pytest.mark.parametrize(("objects", "sparse"), [(20, False), (100, False), (1000, True)])
def test_scene(scene: Any, objects: int, sparse: bool) -> None:
    made = scene(objects, 60, sparse, 3)
    again = scene(objects, 60, sparse, 3)
    assert np.array_equal(made.boxes, again.boxes)
    assert len(made.counts) == len(made.times_s) == 60
    assert made.counts.sum() == len(made.boxes) == len(made.scores) == len(made.labels)
    # 8 % missed, false ones as many as 2 % of the objects
    assert made.counts.mean() == pytest.approx(objects * (0.92 + 0.02), rel=0.03)
    assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()
    assert made.scores.min() >= 0.2
    assert made.scores.max() <= 0.95
    height, width = made.size_hw
    assert height * width == pytest.approx(1080 * 1920 * (objects / 20 if sparse else 1), rel=0.01)
    assert np.abs(made.boxes).max() < width + 40


def test_disturbances(robustness: ModuleType, scene: Any) -> None:
    stream = scene(20, 300, False)
    for draw in range(3):
        dropped = robustness.kept("drop_30", draw, stream, 1)
        assert dropped.mean() == pytest.approx(0.7, abs=0.08)
        outage = robustness.kept("outage_2s", draw, stream, 1)
        gone = np.flatnonzero(~outage)
        assert len(gone) == pytest.approx(2 * stream.fps, abs=1)
        assert (np.diff(gone) == 1).all()
        assert outage[0]
        assert outage[-1]
    halves = [robustness.kept("half_rate", draw, stream, 1) for draw in (0, 1)]
    assert (halves[0] ^ halves[1]).all()
    assert not np.array_equal(*(robustness.kept("drop_30", 0, stream, n) for n in (0, 1)))


def test_only_some_frames(scene: Any) -> None:
    stream = scene(20, 10, False)
    kept = np.arange(10) % 3 == 1
    some, ends = stream.only(kept), np.cumsum(stream.counts)
    expected = [stream.boxes[ends[n] - stream.counts[n] : ends[n]] for n in (1, 4, 7)]
    assert np.array_equal(some.boxes, np.concatenate(expected))
    assert some.times_s == pytest.approx([1 / 30, 4 / 30, 7 / 30])


def test_nothing_lost_is_no_loss(robustness: ModuleType, data_root: Path) -> None:
    """A tracker that ignores what is missing loses nothing; ratios do not blow up."""
    sequences = [importlib.import_module("mot_data").load(data_root)[3]]

    def detections(stream: Any) -> Any:
        ids = np.concatenate([np.arange(count) for count in stream.counts])
        return sys.modules["peers.client"].Followed(
            ids, stream.boxes.astype(float), stream.counts, np.zeros(len(stream.counts))
        )

    for kind, row in robustness.measure(sequences, detections).items():
        assert row["hota_loss"] == 0, kind
        assert row["hota"] == row["hota_undisturbed"] > 0.1

    def row(hota: float, loss: float) -> dict[str, dict[str, float]]:
        each = {"hota": hota, "hota_loss": loss, "hota_undisturbed": hota + loss}
        return dict.fromkeys(robustness.DRAWS, each)

    peers = {"a": row(0.4, -0.001), "b": row(0.45, 0.02), "c": row(0.44, 0.04), "d": "broke"}
    for each in robustness.judge(row(0.5, 0.002), peers).values():
        assert (each["smallest_loss"]["peer"], each["smallest_loss"]["ratio"]) == ("a", 0.4)
        assert (each["highest_disturbed"]["peer"], each["highest_disturbed"]["ratio"]) == ("b", 0.1)
        undisturbed = each["highest_undisturbed"]
        assert (undisturbed["peer"], undisturbed["ratio"]) == ("c", 0.05)


def test_worker_gives_what_the_tracker_gives(client: ModuleType, scene: Any) -> None:
    """Through the files and the process, as the peers run; errors come back as errors."""
    stream = scene(20, 40, False)
    here = importlib.import_module("mot_data").follow(stream, TrackerConfig())
    with client.Worker(sys.executable) as worker:
        there = worker.run("edgemtl", stream)
        assert np.array_equal(there.ids, here.ids)
        assert np.array_equal(there.boxes, here.boxes)
        assert np.array_equal(there.counts, here.counts)
        assert len(there.ids) > 400
        assert (there.seconds > 0).all()
        core = worker.run("edgemtl@core", stream)
        assert np.array_equal(core.ids, here.ids)
        assert len(worker.run("edgemtl", stream, 1e-9, 4).counts) == 4
        with pytest.raises(client.PeerError, match="KeyError"):
            worker.run("nobody", stream)
        assert len(worker.run("edgemtl", stream).counts) == 40


def test_jitter() -> None:
    script = load_script("tracker_sensitivity")
    config = TrackerConfig()
    names = script.numbers(config)
    assert "lost_s" in names
    draws = script.jitters(config, 20)
    ratios = np.array([[draw[name] / getattr(config, name) for name in names] for draw in draws])
    assert ratios.shape == (20, len(names))
    assert ratios.min() >= 0.95
    assert ratios.max() <= 1.05
    assert ratios.std(0).min() > 0.01
