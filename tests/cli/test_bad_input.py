"""Files that are wrong: one error line, a hint, exit code 1 (usage: 2), nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from edgemtl.manifest import METADATA_KEY

Cli = Callable[..., Any]


def _expect_error(done: Any, *words: str, code: int = 1) -> None:
    assert done.code == code, done.err
    assert done.out == ""
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    hints = [line for line in done.err.splitlines() if line.startswith("hint: ")]
    assert len(errors) == 1, done.err
    assert len(hints) == 1, done.err
    assert len(hints[0]) > len("hint: ")
    assert "Traceback" not in done.err
    assert "unexpected" not in errors[0]
    for word in words:
        assert word in errors[0]


@pytest.fixture
def broken(tmp_path: Path, clip: Path) -> Path:
    """A folder of sources that cannot be read."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is not a video\n" * 200, encoding="utf-8")
    whole = folder / "whole.mp4"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (96, 48))
    rng = np.random.default_rng(3)
    for _ in range(20):
        writer.write(rng.integers(0, 255, (48, 96, 3), dtype=np.uint8))
    writer.release()
    data = whole.read_bytes()
    (folder / "truncated.mp4").write_bytes(data[: len(data) // 2])
    whole.unlink()
    (folder / "header_only.avi").write_bytes(clip.read_bytes()[:400])
    (folder / "no_images").mkdir()
    return folder


@pytest.mark.parametrize(
    "source",
    [
        "missing.mp4",
        "empty.mp4",
        "truncated.mp4",
        "text.mp4",
        "header_only.avi",
        "no_images",
        "missing/folder",
    ],
)
def test_run_refuses_a_source(cli: Cli, tiny: Path, broken: Path, source: str) -> None:
    out = broken.parent / "out"
    out.mkdir()
    done = cli(
        "run", tiny, "--source", broken / source, "--json",
        "--jsonl", out / "a.jsonl", "--mot", out / "a.txt", "--video", out / "a.webm",
    )  # fmt: skip
    _expect_error(done, Path(source).name)
    assert list(out.iterdir()) == []


def test_a_camera_that_does_not_exist(cli: Cli, tiny: Path) -> None:
    _expect_error(cli("run", tiny, "--source", "97"), "97")
    _expect_error(cli("bench", tiny, "--source", "/dev/video97"), "video97")


def _not_models(folder: Path, tiny: Path) -> dict[str, Path]:
    text = folder / "text.onnx"
    text.write_text("import antigravity\n" * 50, encoding="utf-8")
    empty = folder / "empty.onnx"
    empty.write_bytes(b"")
    cut = folder / "cut.onnx"
    cut.write_bytes(tiny.read_bytes()[: tiny.stat().st_size // 2])
    bare = folder / "bare.onnx"
    model = onnx.load(tiny)
    kept = [p for p in model.metadata_props if p.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, bare)
    liar = folder / "liar.onnx"
    model = onnx.load(tiny)
    for prop in model.metadata_props:
        if prop.key == METADATA_KEY:
            prop.value = prop.value.replace('"top_k":8', '"top_k":9')
    onnx.save(model, liar)
    return {"text": text, "empty": empty, "cut": cut, "bare": bare, "liar": liar}


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "bare", "liar"])
@pytest.mark.parametrize("command", ["run", "info", "calibrate", "bench"])
def test_a_file_that_is_no_model(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path, folder: Path, kind: str, command: str
) -> None:
    model = _not_models(tmp_path, tiny)[kind]
    before = sorted(tmp_path.iterdir())
    rest = {
        "run": ["--source", clip, "--jsonl", tmp_path / "out.jsonl"],
        "bench": ["--source", clip],
        "calibrate": ["--images", folder, "--out", tmp_path / "out.onnx"],
        "info": [],
    }
    _expect_error(cli(command, model, *rest[command]), model.name)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("option", ["--jsonl", "--mot", "--video"])
@pytest.mark.parametrize("where", ["absent/out", "file/out", "folder"])
def test_an_output_that_cannot_be_written(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path, option: str, where: str
) -> None:
    suffix = {"--jsonl": ".jsonl", "--mot": ".txt", "--video": ".webm"}[option]
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    (tmp_path / f"folder{suffix}").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = cli("run", tiny, "--source", clip, option, tmp_path / f"{where}{suffix}")
    _expect_error(done)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_fails_leaves_none_of_the_others(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path
) -> None:
    outputs = ["--jsonl", tmp_path / "a.jsonl", "--mot", tmp_path / "absent" / "b.txt"]
    _expect_error(cli("run", tiny, "--source", clip, *outputs), "absent")
    assert list(tmp_path.iterdir()) == []


def test_calibrate_and_track_refuse_outputs_that_cannot_be_written(
    cli: Cli, tmp_path: Path, tiny: Path, folder: Path
) -> None:
    _expect_error(cli("calibrate", tiny, "--images", folder, "--out", tmp_path / "no" / "m.onnx"))
    detections = tmp_path / "det.txt"
    detections.write_text("1,-1,10,10,20,40,0.9\n", encoding="utf-8")
    _expect_error(cli("track", detections, "--fps", 10, "--out", tmp_path / "no" / "t.txt"))
    _expect_error(cli("track", detections, "--fps", 0, "--out", tmp_path / "t.txt"), "--fps")
    assert list(tmp_path.iterdir()) == [detections]


def test_calibration_without_images(cli: Cli, tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "none").mkdir()
    done = cli("calibrate", tiny, "--images", tmp_path / "none", "--out", tmp_path / "m.onnx")
    _expect_error(done, "none")
    assert not (tmp_path / "m.onnx").exists()


def test_two_outputs_on_one_path(cli: Cli, tmp_path: Path, tiny: Path, clip: Path) -> None:
    out = tmp_path / "same"
    _expect_error(cli("run", tiny, "--source", clip, "--jsonl", out, "--mot", out), "same")


@pytest.mark.parametrize("kind", ["video", "jsonl", "mot"])
@pytest.mark.parametrize("link", [False, True])
def test_an_output_that_is_the_source_or_the_model(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path, kind: str, link: bool
) -> None:
    source, model = tmp_path / "in.avi", tmp_path / "m.onnx"
    source.write_bytes(clip.read_bytes())
    model.write_bytes(tiny.read_bytes())
    target = source
    if link:
        target = tmp_path / "link.avi"
        target.symlink_to(source)
    done = cli("run", model, "--source", source, f"--{kind}", target)
    _expect_error(done, "is the source itself")
    _expect_error(cli("run", model, "--source", source, "--jsonl", model), "is the model itself")
    assert source.read_bytes() == clip.read_bytes()
    assert model.read_bytes() == tiny.read_bytes()


def test_an_output_that_is_what_is_tracked_or_measured(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path
) -> None:
    detections = tmp_path / "det.txt"
    detections.write_text("1,-1,10,10,20,20,0.9\n", encoding="utf-8")
    _expect_error(cli("track", detections, "--fps", 10, "--out", detections), "itself")
    detections.write_text("1,-1,10,10,1e30,20,0.9\n", encoding="utf-8")
    _expect_error(cli("track", detections, "--fps", 10, "--out", tmp_path / "t.txt"), "det.txt:1")
    _expect_error(cli("bench", tiny, "--source", clip, "--plot", clip), "itself")
    missing = tmp_path / "no" / "plot.svg"
    _expect_error(cli("bench", tiny, "--source", clip, "--plot", missing), "does not exist")


_DATA = """
classes = ["a", "b"]
image_classes = ["x", "y"]
[[val]]
name = "empty"
format = "yolo"
images = "images"
annotations = "labels"
labels = ["a", "b"]
names = ["a", "b"]
"""


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (_DATA, "images"),
        (_DATA + 'colour = "red"\n', "colour"),
        ("clases = []\n" + _DATA, "clases"),
        ("not toml at all", ""),
    ],
)
def test_data_sets_that_cannot_be_used(
    cli: Cli, tmp_path: Path, tiny: Path, text: str, word: str
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.toml").write_text(text, encoding="utf-8")
    _expect_error(cli("eval", tiny, "--data", tmp_path / "data.toml"), word)


@pytest.mark.skipif(find_spec("torch") is None, reason="training needs torch")
def test_a_training_config_with_an_unknown_key(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('name = "x"\nlearning_speed = 1\n', encoding="utf-8")
    _expect_error(cli("train", config, "--out", tmp_path / "run"), "learning_speed")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("torch") is not None, reason="about the install without torch")
def test_training_without_torch_names_the_install_line(cli: Cli, tmp_path: Path) -> None:
    done = cli("train", tmp_path / "run.toml")
    _expect_error(done, "torch")
    assert 'pip install "edgemtl[train]"' in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "toy"],
        ["nonsense"],
        ["run", "toy", "--source", "0", "--min-score", "2"],
        ["calibrate", "toy", "--images", ".", "--out", "x", "--observer", "guess"],
        ["track", "x", "--fps", "many", "--out", "y"],
    ],
)
def test_wrong_usage_exits_with_two(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    _expect_error(done, code=2)
    assert "--help" in done.err
