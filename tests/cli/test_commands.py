"""Every command on a tiny model and small files: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from edgemtl.manifest import Manifest

Cli = Callable[..., Any]


def test_info_prints_the_manifest(cli: Cli, tiny: Path) -> None:
    done = cli("info", tiny, "--json")
    assert done.code == 0
    manifest = Manifest.model_validate(done.json["manifest"])
    assert manifest.classes == ("a", "b")
    assert done.json["outputs"]["boxes"] == {"dtype": "float32", "shape": ["N", 8, 4]}
    text = cli("info", tiny).out
    assert "int8 [N, 3, 32, 64] rgb" in text
    assert manifest.weights_licence in text


def test_info_prints_the_licence_beside_the_model(cli: Cli, tmp_path: Path, tiny: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(tiny.read_bytes())
    (tmp_path / "LICENSE-WEIGHTS").write_text("for research use only\n", encoding="utf-8")
    assert "for research use only" in cli("info", model).out
    assert cli("info", model, "--json").json["licence_text"] == "for research use only"


def test_run_writes_one_object_and_keeps_one_frame_per_line(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path
) -> None:
    out = tmp_path / "out.jsonl"
    done = cli(
        "run", tiny, "--source", clip, "--min-score", "0", "--json",
        "--jsonl", out, "--mot", tmp_path / "out.txt", "--video", tmp_path / "out.webm",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["frames"] == 12
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["index"] for line in lines] == list(range(12))
    for line in lines:
        assert set(line) == {
            "stream", "index", "pts_ns", "size_hw", "scene", "detections", "tracks",
        }  # fmt: skip
        assert line["size_hw"] == [48, 96]
        assert line["scene"]["name"] in {"x", "y"}
        assert len(line["scene"]["probs"]) == 2
        for found in line["detections"]:
            assert set(found) == {"box_src", "score", "label", "name"}
            assert found["name"] == "ab"[found["label"]]
        for track in line["tracks"]:
            assert set(track) == {"id", "box_src", "score", "label", "name", "det_index"}
    assert lines[1]["pts_ns"] - lines[0]["pts_ns"] == pytest.approx(1e8, rel=0.01)
    assert (tmp_path / "out.webm").stat().st_size > 0
    assert (tmp_path / "out.txt").is_file()


def test_run_over_a_folder_names_the_files(
    cli: Cli, tmp_path: Path, tiny: Path, folder: Path
) -> None:
    out = tmp_path / "out.jsonl"
    done = cli("run", tiny, "--source", folder, "--jsonl", out)
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [Path(line["file"]).name for line in lines] == [f"{i:03d}.png" for i in range(6)]


def test_run_stops_after_max_frames(cli: Cli, tiny: Path, clip: Path) -> None:
    done = cli("run", tiny, "--source", clip, "--max-frames", "5", "--json")
    assert done.json["frames"] == 5


def test_calibrate_run_and_refuse_to_calibrate_twice(
    cli: Cli, tmp_path: Path, tiny: Path, folder: Path, clip: Path
) -> None:
    out = tmp_path / "tiny.int8.onnx"
    done = cli("calibrate", tiny, "--images", folder, "--out", out, "--json")
    assert done.code == 0, done.err
    assert Path(done.json["out"]) == out
    assert Path(done.json["trt"]).is_file()
    assert Path(done.json["ranges"]).is_file()
    facts = cli("info", out, "--json").json["manifest"]
    assert facts["precision"] == "int8"
    assert facts["dialect"] == "ort"
    assert cli("run", out, "--source", clip).code == 0
    again = cli("calibrate", out, "--images", folder, "--out", tmp_path / "twice.onnx")
    assert again.code == 1
    assert not (tmp_path / "twice.onnx").exists()


def test_calibrate_observers_differ(cli: Cli, tmp_path: Path, tiny: Path, clip: Path) -> None:
    tables = []
    for observer in ("minmax", "percentile", "mse", "entropy"):
        out = tmp_path / f"{observer}.onnx"
        done = cli(
            "calibrate", tiny, "--images", clip, "--out", out, "--observer", observer, "--json"
        )
        assert done.code == 0, done.err
        tables.append(Path(done.json["ranges"]).read_text(encoding="utf-8"))
    assert len(set(tables)) == len(tables)


def test_calibrate_within_a_budget(cli: Cli, tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data.toml"
    data.write_text(
        'classes = ["disc", "box", "triangle", "star", "ring"]\n'
        'image_classes = ["day", "dusk", "night", "fog"]\n'
        '[[val]]\nname = "world"\nformat = "synthetic"\nseed = 8\nclips = 1\n'
        "frames_per_clip = 40\n",
        encoding="utf-8",
    )
    out = tmp_path / "toy.int8.onnx"
    asked = ["calibrate", "toy", "--images", folder, "--out", out, "--eval", data]
    done = cli(*asked, "--allow-slower", "--observer", "minmax", "--json")
    assert done.code == 0, done.err
    assert done.json["kept"] is True
    assert {one["score"] for one in done.json["chosen"]["losses"]["int8"]} >= {"map", "top1"}
    for words in ("int8 trt: map", "(recommended)", "layers in float: none", ".report.md"):
        assert words in done.err
    assert Path(done.json["trt"]).is_file()
    # forty frames cannot tell a tenth of a point, and one who asks for it is told so
    out.unlink()
    done = cli(*asked, "--budget", "cls=0.1")
    assert done.code == 1
    assert re.search(r"cls=0\.1 \(top1\) needs about 4000 pictures, there are 40", done.err)
    assert not out.exists()
    assert cli(*asked, "--budget", "speed=1").code == 1
    assert cli(*asked, "--allow-overlap", "nobody").code == 1


def test_calibrate_has_as_many_threads_as_asked_for(
    cli: Cli, tmp_path: Path, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = [], onnxruntime.InferenceSession

    def noted(model: Any, options: onnxruntime.SessionOptions, **kw: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        return real(model, options, **kw)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    out = tmp_path / "t.int8.onnx"
    done = cli("calibrate", tiny, "--images", folder, "--out", out, "--threads", "2")
    assert done.code == 0, done.err
    assert seen
    assert set(seen) == {2}


def test_what_the_errors_of_a_recipe_name_can_be_done(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemtl.quantize import within
    from edgemtl.quantize.speed import Speed

    asked = []

    def slower(paths: Any, threads: int | None) -> dict[str, Speed]:
        asked.append(threads)
        return {"fp32": Speed(1.0, 1.0, 1), "int8": Speed(2.0, 2.0, 1)}

    monkeypatch.setattr(within, "time_models", slower)
    text = (
        'classes = ["disc", "box", "triangle", "star", "ring"]\n'
        'image_classes = ["day", "dusk", "night", "fog"]\n'
        '[[train]]\nname = "w"\nformat = "synthetic"\nseed = {}\nclips = 3\n'
        'frames_per_clip = 1\n[[val]]\nname = "world"\nformat = "synthetic"\nseed = 8\n'
        "clips = 3\nframes_per_clip = 8\n"
    )
    recipe = tmp_path / "r.toml"
    plan = 'model = "toy"\ndata = "d.toml"\nlimit = 3\nheld_out = 0\n'
    (tmp_path / "d.toml").write_text(text.format(3), encoding="utf-8")
    recipe.write_text(plan + 'budget = "det=90"\n', encoding="utf-8")
    command = ["calibrate", "toy", "--recipe", recipe, "--out", tmp_path / "t.int8.onnx"]
    done = cli(*command)
    assert done.code == 1
    assert "--allow-slower" in done.err
    done = cli(*command, "--allow-slower", "--threads", "1", "--json")
    assert done.code == 0, done.err
    assert (asked, Path(done.json["out"]).is_file()) == ([None, 1], True)
    # pictures of the evaluation: a recipe says itself what is allowed
    (tmp_path / "d.toml").write_text(text.format(8), encoding="utf-8")
    done = cli(*command)
    assert done.code == 1
    assert 'allow_overlap = ["world"] in r.toml' in " ".join(done.err.split())
    recipe.write_text(plan, encoding="utf-8")
    done = cli(*command, "--allow-slower")
    assert done.code == 1
    assert "allow-slower: has no meaning" in done.err


def test_calibrate_again_from_a_table(cli: Cli, tmp_path: Path, tiny: Path, folder: Path) -> None:
    first, again = tmp_path / "a.int8.onnx", tmp_path / "b.int8.onnx"
    made = cli("calibrate", tiny, "--images", folder, "--out", first, "--json")
    ranges = made.json["ranges"]
    done = cli("calibrate", tiny, "--table", ranges, "--out", again, "--json")
    assert done.code == 0, done.err
    assert again.read_bytes() == first.read_bytes()
    assert Path(done.json["trt"]).read_bytes() == Path(made.json["trt"]).read_bytes()
    for wrong, word in (
        ([], "got none"),
        (["--images", folder, "--table", ranges], "got --images and --table"),
        (["--table", ranges, "--limit", "3"], "--limit: has no meaning beside --table"),
        (["--recipe", ranges, "--budget", "det=1"], "--budget: has no meaning beside --recipe"),
        (["--table", ranges, "--allow-slower"], "--allow-slower: has no meaning beside --table"),
        (["--images", folder, "--budget", "det=1"], "nothing to measure it on"),
        (["--images", folder, "--allow-slower"], "--allow-slower: has no meaning without --eval"),
        (["--images", folder, "--allow-overlap", "a"], "--allow-overlap: has no meaning without"),
        (["--images", folder, "--data-root", folder], "--data-root: has no meaning without --eval"),
    ):
        done = cli("calibrate", tiny, *wrong, "--out", tmp_path / "c.onnx")
        assert done.code == 1
        assert word in done.err


def test_bench_reports_stages_and_writes_the_plot(
    cli: Cli, tmp_path: Path, tiny: Path, clip: Path
) -> None:
    plot = tmp_path / "latency.svg"
    done = cli(
        "bench", tiny, "--source", clip, "--frames", "8", "--warmup", "2",
        "--threads", "1", "--plot", plot, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["frames"] == 8
    assert "<svg" in plot.read_text(encoding="utf-8")


def test_bench_tells_how_far_loads_of_the_network_differ(
    cli: Cli, tiny: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgemtl.cli import running

    plain, asked = running.open_model, []
    monkeypatch.setattr(running, "open_model", lambda *a: asked.append(a[1]) or plain(*a))
    done = cli("bench", tiny, "--source", clip, "--frames", 3, "--warmup", 1, "--loads", 2)
    assert done.code == 0, done.err
    assert "infer, p50 of 2 loads:" in done.out
    assert asked == ["auto", asked[1]]
    assert asked[1] in {"onnxruntime", "openvino"}, "the choice is not made again"
    done = cli("bench", tiny, "--source", clip, "--loads", 0)
    assert done.code == 2


def test_track_follows_two_objects_that_cross(cli: Cli, tmp_path: Path) -> None:
    detections = tmp_path / "det.txt"
    lines = []
    for frame in range(1, 41):
        lines.append(f"{frame},-1,{10 + 5 * frame},40,30,60,0.9,-1,-1,-1")
        lines.append(f"{frame},-1,{300 - 5 * frame},200,30,60,0.8,-1,-1,-1")
    detections.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "tracks.txt"
    done = cli("track", detections, "--fps", "25", "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.json["frames"] == 40
    assert done.json["detections"] == 80
    assert done.json["tracks"] == 2
    rows = [line.split(",") for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row[1] for row in rows} == {"1", "2"}
    assert len(rows) >= 70
    assert all(len(row) == 10 for row in rows)


def test_track_steps_over_frames_without_detections(cli: Cli, tmp_path: Path) -> None:
    detections = tmp_path / "det.txt"
    lines = [f"{f},-1,{10 + 4 * f},40,30,60,0.9" for f in range(1, 31) if f not in (15, 16)]
    detections.write_text("\n".join(lines), encoding="utf-8")
    done = cli("track", detections, "--fps", "25", "--out", tmp_path / "t.txt", "--json")
    assert done.json["frames"] == 30
    assert done.json["tracks"] == 1


def test_eval_scores_the_synthetic_world(cli: Cli, tmp_path: Path) -> None:
    from tiny_model import write_tiny

    from edgemtl.data.synthetic import SyntheticWorld

    world = SyntheticWorld(1, 1, 2)
    model = write_tiny(
        tmp_path / "m.onnx", classes=world.classes, image_classes=world.image_classes
    )
    data = tmp_path / "data.toml"
    data.write_text(
        f"classes = {json.dumps(list(world.classes))}\n"
        f"image_classes = {json.dumps(list(world.image_classes))}\n"
        '[[val]]\nname = "world"\nformat = "synthetic"\nseed = 9\nclips = 1\n'
        "frames_per_clip = 6\n",
        encoding="utf-8",
    )
    done = cli("eval", model, "--data", data, "--json")
    assert done.code == 0, done.err
    scores = done.json["sets"]["world"]
    assert scores["images"] == 6
    assert 0 <= scores["detection"]["map50"] <= 1
    assert 0 <= scores["classification"]["top1"] <= 1
    assert "idf1" in scores["tracking"]
    assert "mAP50" in cli("eval", model, "--data", data, "--limit", "3").out
    some = cli("eval", model, "--data", data, "--tasks", "classify, embed", "--true-boxes").out
    assert "macro-F1" in some
    assert "image class  precision" in some
    assert "mAP50" not in some


def test_eval_tells_what_was_not_scored(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    picture = np.zeros((32, 64, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    assert cv2.imwrite(str(tmp_path / "pictures" / "a.png"), picture)
    truth = {
        "images": [
            {"id": n, "file_name": name, "width": 64, "height": 32}
            for n, name in enumerate(("a.png", "b.png"))
        ],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "zebra"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [4, 4, 20, 20]}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    data = tmp_path / "data.toml"
    data.write_text(
        'classes = ["a", "zebra"]\n[[val]]\nname = "v"\nformat = "coco"\nimages = "pictures"\n'
        'annotations = "truth.json"\nlabels = ["a", "zebra"]\n',
        encoding="utf-8",
    )
    done = cli("eval", tiny, "--data", data)
    assert done.code == 0, done.err
    assert "not scored, the model has no such class: zebra" in done.out
    assert "the data have a problem: " in done.out
    assert "b.png" in done.out
    done = cli("eval", tiny, "--data", data, "--tasks", "attributes")
    assert done.code == 1
    assert "--tasks asks for ['attributes']" in done.err


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs a TensorRT without a GPU")
def test_build_makes_an_engine_that_info_knows(cli: Cli, tmp_path: Path, tiny: Path) -> None:
    engine = tmp_path / "tiny.engine"
    done = cli("build", tiny, "--precision", "fp32", "--out", engine, "--json")
    assert done.code == 0, done.err
    assert engine.stat().st_size > 0
    facts = cli("info", engine, "--json")
    assert facts.code == 0, facts.err
    assert facts.json["manifest"]["classes"] == ["a", "b"]
    refused = cli("build", tiny, "--precision", "int8", "--out", tmp_path / "int8.engine")
    assert refused.code == 1
    assert "calibrate" in refused.err
    assert not (tmp_path / "int8.engine").exists()


_INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from edgemtl.cli import main
main()
"""
"""A background job of a shell starts with Ctrl-C ignored, 'nohup' ignores the end of the terminal,
and so would their children."""


@pytest.mark.parametrize(
    "how", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT,) * 3]
)
def test_ctrl_c_ends_a_run_with_130_and_whole_lines(
    tmp_path: Path, how: tuple[signal.Signals, ...], tiny: Path, folder: Path
) -> None:
    """A long video is interrupted while it runs; what was written stays readable."""
    from edgemtl.data.images import open_images

    clip = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (96, 48))
    picture = open_images(folder).image(0)
    for _ in range(60_000):
        writer.write(picture)
    writer.release()
    out = tmp_path / "out.jsonl"
    video = tmp_path / "out.webm"
    arguments = [
        "run",
        str(tiny),
        "--source",
        str(clip),
        "--jsonl",
        str(out),
        "--video",
        str(video),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE, *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size for p in tmp_path.glob("*out*.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    for one in how:
        process.send_signal(one)
        time.sleep(0.01)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    for line in out.read_text(encoding="utf-8").splitlines():
        json.loads(line)
    assert cv2.VideoCapture(str(video)).read()[0]
    assert not list(tmp_path.glob(".*"))


def test_build_offers_the_builders_own_defaults() -> None:
    """The command line states them itself, so that --help loads nothing heavy."""
    import inspect

    from edgemtl.cli.building import build, parse_batch
    from edgemtl.engine.build import BuildOptions
    from edgemtl.engine.manifest import DEFAULT_BATCH

    offered, own = inspect.signature(build).parameters, BuildOptions("fp32")
    assert offered["workspace_mb"].default == own.workspace_mb
    assert ":".join(map(str, DEFAULT_BATCH)) in str(offered["batch"].annotation)
    assert parse_batch(None) == own.batch
