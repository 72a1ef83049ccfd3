"""``--tracker``: what run, track and eval do with each of its values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bytetrack_reference import ReferenceByteTracker
from tiny_model import write_tiny

from edgemtl.cli.options import TrackerName
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.records import Detections
from edgemtl.track import ByteTrackConfig
from edgemtl.track.presets import PRESETS
from edgemtl.track_file import MotFrame, read_mot

Cli = Callable[..., Any]


def test_the_names_are_those_of_the_presets() -> None:
    assert tuple(name.value for name in TrackerName) == PRESETS


def _detections(path: Path) -> Path:
    """Two walkers, one hidden for a while, one half hidden, and false alarms."""
    random, lines = np.random.default_rng(0), []
    for frame in range(1, 61):
        if not 20 <= frame < 32:
            lines.append(f"{frame},-1,{10 + 3 * frame},40,30,60,0.9,-1,-1,-1")
        score = 0.3 if 25 <= frame < 30 else 0.8
        lines.append(f"{frame},-1,{300 - 2 * frame},200.5,30,60,{score},-1,-1,-1")
        if random.random() < 0.4:
            x, y = random.uniform(0, 400, 2)
            lines.append(f"{frame},-1,{x:.2f},{y:.2f},30,60,0.7,-1,-1,-1")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_track_writes_what_bytetrack_says(cli: Cli, tmp_path: Path) -> None:
    detections, out = _detections(tmp_path / "det.txt"), tmp_path / "tracks.txt"
    done = cli("track", detections, "--fps", 25, "--out", out, "--tracker", "bytetrack", "--json")
    assert done.code == 0, done.err
    twin, boxes, identities = ReferenceByteTracker(ByteTrackConfig()), 0, set()
    found, written = read_mot(detections), read_mot(out)
    for number, frame in found.frames():
        want = twin.step(_as_detections(frame))
        got = written.at(number)
        assert got.ids.tolist() == [row[0] for row in want]
        places = np.array([row[1] for row in want]).reshape(-1, 4)
        assert got.boxes_src == pytest.approx(places, abs=0.02)
        boxes += len(want)
        identities.update(got.ids.tolist())
    assert (done.json["boxes"], done.json["tracks"]) == (boxes, len(identities))
    other = tmp_path / "ours.txt"
    assert cli("track", detections, "--fps", 25, "--out", other).code == 0
    assert other.read_bytes() != out.read_bytes()


def _as_detections(frame: MotFrame) -> Detections:
    return Detections(frame.boxes_src, frame.scores, np.zeros(len(frame.ids), np.int32))


def test_run_follows_with_the_tracker_that_was_asked_for(
    cli: Cli, tmp_path: Path, clip: Path
) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    texts = []
    for name in PRESETS:
        out = tmp_path / f"{name}.txt"
        done = cli("run", model, "--source", clip, "--mot", out, "--tracker", name)
        assert done.code == 0, done.err
        texts.append(out.read_text(encoding="utf-8"))
    assert texts[0] != texts[1]
    default = tmp_path / "default.txt"
    assert cli("run", model, "--source", clip, "--mot", default).code == 0
    assert default.read_text(encoding="utf-8") == texts[0]


def test_eval_scores_the_tracker_that_was_asked_for(cli: Cli, tmp_path: Path) -> None:
    """Two trackers, two answers."""
    world, data = SyntheticWorld(1, 1, 2), tmp_path / "data.toml"
    data.write_text(
        f"classes = {json.dumps(list(world.classes))}\n"
        f"image_classes = {json.dumps(list(world.image_classes))}\n"
        '[[val]]\nname = "world"\nformat = "synthetic"\nseed = 9\nclips = 1\n'
        "frames_per_clip = 6\n",
        encoding="utf-8",
    )
    scores = {}
    for name in PRESETS:
        done = cli("eval", "toy", "--data", data, "--tracker", name, "--json")
        assert done.code == 0, done.err
        scores[name] = done.json["sets"]["world"]["tracking"]
    assert scores["edgemtl"] != scores["bytetrack"]


@pytest.mark.parametrize("command", ["run", "track", "eval"])
def test_other_names_are_wrong_usage(cli: Cli, command: str) -> None:
    given = {
        "run": ["m", "--source", "s"],
        "track": ["d", "--fps", "9", "--out", "o"],
        "eval": ["m", "--data", "d"],
    }
    done = cli(command, *given[command], "--tracker", "sort")
    assert done.code == 2
    assert "bytetrack" in done.err
