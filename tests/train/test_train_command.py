"""`edgemtl train` from the command line, on a world of a few frames."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

pytest.importorskip("torch")

from edgemtl.cli import invoke

DATA = """
classes = ["disc", "box", "triangle", "star", "ring"]
image_classes = ["day", "dusk", "night", "fog"]
[[train]]
name = "world"
format = "synthetic"
seed = 1
clips = 2
frames_per_clip = 4
size_hw = [64, 96]
[[val]]
name = "other"
format = "synthetic"
seed = 2
clips = 1
frames_per_clip = 4
size_hw = [64, 96]
"""
RUN = """
name = "small"
data = "data.toml"
size_hw = [64, 96]
images = 8
batch = 4
[network]
backbone_width = 0.35
neck_width = 24
embedding_dim = 8
embedding_hidden = 16
image_hidden = 32
[validate]
every = 4
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "data.toml").write_text(DATA, encoding="utf-8")
    path = tmp_path / "small.toml"
    path.write_text(RUN, encoding="utf-8")
    return path


def test_a_run_ends_with_its_best_judgement(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["train", str(config), "--out", str(tmp_path / "run"), "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert set(result["best"]["scores"]) >= {"other.map50", "other.top1", "other.hota"}
    lines = err.splitlines()
    (head,) = [n for n, line in enumerate(lines) if line.startswith("data set  ")]
    assert lines[head].split()[2:5] == ["map50", "map", "top1"]
    row = lines[head + 2].split()
    assert row[0] == "other"
    assert float(row[3]) == pytest.approx(result["best"]["scores"]["other.top1"], abs=1e-3)
    assert "of 2; 0:00:" in err
    assert f"next: edgemtl export {tmp_path / 'run' / 'best.safetensors'}" in err


def test_the_checks_alone(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert invoke(["train", str(config), "--check", "--out", str(out), "--json"]) == 0
    printed, err = capsys.readouterr()
    result = json.loads(printed)
    assert [(one["split"], one["pictures"]) for one in result["sets"]] == [("train", 8), ("val", 4)]
    assert "0 errors, " in err
    assert {path.name for path in out.iterdir()} == {"data.json", "mix.jpg"}
    picture = cv2.imread(str(out / "mix.jpg"))
    assert picture is not None
    assert picture.shape[1] == 6 * 320 + 5 * 6
    assert json.loads((out / "data.json").read_text(encoding="utf-8")) == result


def test_checks_that_find_an_error_end_with_it(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = config.parent / "data.toml"
    data.write_text(DATA.replace("seed = 2", "seed = 1"), encoding="utf-8")
    assert invoke(["train", str(config), "--check", "--out", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("1 error, ")
    assert err.splitlines()[-2].startswith("error: train 'world', val 'other': 4 pictures are in")
    assert "allow_overlap" in err.splitlines()[-1]
    assert invoke(["train", str(config), "--out", str(tmp_path / "run")]) == 1
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_going_on_with_rounding(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["train", str(config), "--out", str(tmp_path / "run")]) == 0
    best = tmp_path / "run" / "best.safetensors"
    with config.open("a", encoding="utf-8") as file:
        file.write("[quantize]\npart = 0.5\nlimit = 4\n")
    line = [
        "train",
        str(config),
        "--quantize",
        str(best),
        "--out",
        str(tmp_path / "int8"),
        "--json",
    ]
    capsys.readouterr()
    assert invoke(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checkpoint"] == str(tmp_path / "int8" / "best.safetensors")
    assert (tmp_path / "int8" / "quantize.ranges.json").is_file()
    out = str(tmp_path / "m.onnx")
    assert invoke(["export", told["checkpoint"], "--out", out]) == 0
    assert invoke(line) != 0, "the folder holds a run"
