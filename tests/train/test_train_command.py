"""`edgemtl train` from the command line, on a world of a few frames."""

from __future__ import annotations

import json
from pathlib import Path

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
    (head,) = [n for n, line in enumerate(lines) if line.startswith("data set")]
    assert lines[head].split()[2:5] == ["map50", "map", "top1"]
    row = lines[head + 2].split()
    assert row[0] == "other"
    assert float(row[3]) == pytest.approx(result["best"]["scores"]["other.top1"], abs=1e-3)
    assert "of 2; 0:00:" in err
    assert f"next: edgemtl export {tmp_path / 'run' / 'best.safetensors'}" in err
