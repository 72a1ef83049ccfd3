"""The demo on a short clip: the same code, a fraction of the frames."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest
from tiny_model import write_tiny

from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.demo import DemoOptions, render_clip, run_demo
from edgemtl.demo_plot import plot_latencies
from edgemtl.errors import OutputError
from edgemtl.models import shipped_models
from edgemtl.runtime.source import open_source


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network of random weights that has the synthetic world's classes."""
    world = SyntheticWorld(1, 1, 2)
    return write_tiny(
        tmp_path / "toy.onnx",
        size_hw=(64, 128), classes=world.classes, image_classes=world.image_classes,
    )  # fmt: skip


def test_demo_leaves_everything_it_names(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "made" / "demo"
    said: list[str] = []
    options = DemoOptions(
        model=model, clips=2, frames_per_clip=6, calibration_clips=2, calibration_images_per_clip=3
    )
    report = run_demo(folder, said.append, options)
    assert len(said) == 4
    for line in report.text().splitlines():
        if line.startswith(str(folder)):
            assert Path(line.split("  ")[0]).is_file()
    assert f"--source {folder / 'clip.avi'} " in report.text()
    figures = report.to_dict()
    assert json.loads((folder / "demo.json").read_text(encoding="utf-8")) == figures
    assert set(figures["results"]) == {"fp32", "int8"}
    for result in figures["results"].values():
        assert result["frames"] == 12
        assert result["size_bytes"] > 0
        for score in ("map50", "top1", "hota", "idf1"):
            assert 0 <= result[score] <= 1
    lines = (folder / "results-int8.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(12))
    ElementTree.parse(folder / "latency.svg")
    capture = cv2.VideoCapture(str(folder / "annotated.webm"))
    assert capture.isOpened()
    capture.release()


def test_ctrl_c_in_a_run_ends_the_demo(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline reports Ctrl-C instead of raising it; half a run must not become figures."""
    from edgemtl.runtime import pipeline

    def interrupted(*_: object) -> pipeline.RunSummary:
        return pipeline.RunSummary(1, 0, 1.0, 1.0, {}, interrupted=True)

    monkeypatch.setattr(pipeline, "run_pipeline", interrupted)
    options = DemoOptions(model, 1, 2, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo", lambda _: None, options)
    assert not (tmp_path / "demo" / "demo.json").exists()


def test_a_perfect_detector_would_score_one() -> None:
    """The scores compare frames of the clip with the truth of the same frames."""
    import numpy as np

    from edgemtl.demo_score import score
    from edgemtl.records import Detections, FrameResult, Scene, Tracks

    world = SyntheticWorld(5, 1, 10)
    results = []
    for index in range(10):
        truth = world.truth(index)
        keep = ~truth.ignore
        boxes, labels = truth.boxes_src[keep], truth.labels[keep]
        sure = np.ones(len(boxes), np.float32)
        tracks = Tracks(
            truth.identities[keep] + 1, boxes, sure, labels, np.arange(len(boxes), dtype=np.int32)
        )
        probs = np.eye(len(world.image_classes), dtype=np.float32)[truth.scene]
        results.append(
            FrameResult(
                0,
                index,
                index,
                (270, 480),
                Scene(truth.scene, probs),
                Detections(boxes, sure, labels),
                tracks,
            )
        )
    assert score(world, results) == pytest.approx(
        {"map50": 1.0, "top1": 1.0, "hota": 1.0, "idf1": 1.0}
    )


def test_the_rendered_clip_shows_the_world(tmp_path: Path) -> None:
    world = SyntheticWorld(3, 1, 5)
    render_clip(world, tmp_path / "clip.avi", 25.0)
    source = open_source(str(tmp_path / "clip.avi"))
    frames = list(source)
    source.close()
    assert len(frames) == 5
    for frame in frames:
        difference = cv2.absdiff(frame.pixels, world.image(frame.index))
        assert float(difference.mean()) < 6


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="folder"):
        run_demo(tmp_path / "file" / "demo", lambda _: None)


@pytest.mark.skipif("toy" not in shipped_models(), reason="the model is not in this checkout")
@pytest.mark.slow
def test_toy_does_its_job_in_both_precisions(tmp_path: Path) -> None:
    """Far below what the README reports, far above chance: catches a broken chain."""
    options = DemoOptions(frames_per_clip=30, calibration_clips=8, calibration_images_per_clip=4)
    report = run_demo(tmp_path, lambda _: None, options)
    for result in report.to_dict()["results"].values():
        assert result["map50"] > 0.35
        assert result["top1"] > 0.6
        assert result["idf1"] > 0.35


def test_plot_of_nothing_and_of_odd_names(tmp_path: Path) -> None:
    plot_latencies(tmp_path / "a.svg", [("<FP32>", {"a & b": (0.0, 0.0)})])
    ElementTree.parse(tmp_path / "a.svg")
    plot_latencies(tmp_path / "b.svg", [("FP32", {})])
    ElementTree.parse(tmp_path / "b.svg")
