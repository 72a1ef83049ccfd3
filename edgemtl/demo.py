"""The whole chain on a rendered clip: calibrate ``toy`` to INT8, run both precisions, compare.

The clip is a video file and runs through the same source, pipeline and sinks as ``edgemtl run``;
its truth is known, because the world was rendered here, from a seed that no training used.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemtl.console import listing, table
from edgemtl.errors import OutputError
from edgemtl.files import atomic_path, make_folder, write_text
from edgemtl.models import resolve_model

if TYPE_CHECKING:
    from edgemtl.data.base import DataSet
    from edgemtl.records import Frame, FrameResult
    from edgemtl.runtime.pipeline import RunSummary

Say = Callable[[str], None]

CLIP_SEED = 20_005
CALIBRATION_SEED = 30_000
"""Worlds of the demo alone, used by no training. The clip's is the first seed from 20,001 on whose
four clips have four different scenes."""
SIZE_HW = (270, 480)
FPS = 25.0
MIN_SCORE = 0.05
"""Average precision needs the low scores too; the tracker has its own thresholds."""

_SCORES = (("mAP50", "map50"), ("top-1", "top1"), ("HOTA", "hota"), ("IDF1", "idf1"))
_FILES = {
    "annotated.webm": "the clip with INT8's boxes, tracks and scene",
    "latency.svg": "latency per stage, FP32 beside INT8",
    "tracks-int8.txt": "tracks, MOTChallenge text (and tracks-fp32.txt)",
    "results-int8.jsonl": "everything, one object per frame (and results-fp32.jsonl)",
    "toy.int8.onnx": "the calibrated model for this host, beside it TensorRT's and the ranges",
    "demo.json": "the figures above",
}
_NEXT = """Next:
  edgemtl run toy --source {clip} --show
  edgemtl run street --source YOUR_VIDEO --video out.webm --jsonl out.jsonl
  edgemtl doctor"""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Lengths of the demo; the defaults take well under two minutes on two cores."""

    model: str | Path = "toy"
    clips: int = 4
    frames_per_clip: int = 80
    calibration_clips: int = 16
    calibration_images_per_clip: int = 5


@dataclass(frozen=True, slots=True)
class Column:
    """One precision: its scores, its speed, its file."""

    precision: str
    scores: dict[str, float]
    summary: RunSummary
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo measured and where it left its files."""

    folder: Path
    columns: tuple[Column, ...]
    seconds: float

    def text(self) -> str:
        """The one table, where the files are, and what to try next."""
        header = ["", *(column.precision.upper() for column in self.columns)]
        rows: list[list[object]] = [
            [name, *(column.scores[key] for column in self.columns)] for name, key in _SCORES
        ]
        rows.append(["frames per second", *(f"{c.summary.fps:.1f}" for c in self.columns)])
        for stage in self.columns[0].summary.stage_ms:
            cells = [column.summary.stage_ms[stage] for column in self.columns]
            rows.append([f"{stage} p50/p95 (ms)", *(f"{p50:.2f}/{p95:.2f}" for p50, p95 in cells)])
        rows.append(["model size (MB)", *(f"{c.size_bytes / 1e6:.2f}" for c in self.columns)])
        left = [[str(self.folder / name), what] for name, what in _FILES.items()]
        following = _NEXT.format(clip=shlex.quote(str(self.folder / "clip.avi")))
        return f"{table(rows, header)}\n\n{listing(left)}\n\n{following}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "seconds": round(self.seconds, 1),
            "files": _FILES,
            "results": {
                column.precision: {
                    **column.scores,
                    "size_bytes": column.size_bytes,
                    **column.summary.to_dict(),
                }
                for column in self.columns
            },
        }


def run_demo(folder: Path, say: Say, options: DemoOptions = DemoOptions()) -> DemoReport:
    """Render, calibrate, run, compare; everything is left in ``folder``.

    Raises OutputError if the folder cannot be made, and what the rooms raise.
    """
    from edgemtl.data.synthetic import SyntheticWorld
    from edgemtl.demo_plot import plot_latencies
    from edgemtl.demo_score import score

    started = time.monotonic()
    make_folder(folder)
    model = resolve_model(options.model)
    say(f"1/4 rendering {options.clips} scenes that no training saw, cut into one video")
    world = SyntheticWorld(CLIP_SEED, options.clips, options.frames_per_clip, SIZE_HW, FPS)
    clip = folder / "clip.avi"
    render_clip(world, clip, FPS)
    say(f"2/4 calibrating {model.name} to INT8 on pictures of {options.calibration_clips} others")
    int8 = _calibrate(model, folder / f"{model.stem}.int8.onnx", options)
    columns = []
    results: list[FrameResult] = []
    for step, (precision, path) in enumerate((("fp32", model), ("int8", int8)), start=3):
        say(f"{step}/4 detecting, classifying and tracking in {precision.upper()}")
        results, summary = _run(path, clip, folder, precision)
        scores = score(world, results)
        columns.append(Column(precision, scores, summary, path.stat().st_size))
    _annotate(clip, results, int8, folder / "annotated.webm")
    plot_latencies(
        folder / "latency.svg", [(c.precision.upper(), c.summary.stage_ms) for c in columns]
    )
    report = DemoReport(folder, tuple(columns), time.monotonic() - started)
    write_text(folder / "demo.json", json.dumps(report.to_dict(), indent=2) + "\n")
    return report


def render_clip(world: DataSet, path: Path, fps: float) -> None:
    """All pictures of ``world`` as one video file, every frame for itself (motion JPEG)."""
    import cv2

    from edgemtl.progress import track

    height, width = world.image(0).shape[:2]
    with atomic_path(path) as temporary:
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(temporary), code, fps, (width, height))
        if not writer.isOpened():
            raise OutputError(f"cannot write video '{path}'", "see 'edgemtl doctor'")
        for index in track(range(len(world)), "rendering"):
            writer.write(world.image(index))
        writer.release()


def _calibrate(model: Path, out: Path, options: DemoOptions) -> Path:
    """The INT8 model of this host, from pictures of another world than the clip's."""
    from edgemtl.data.synthetic import SyntheticWorld
    from edgemtl.quantize.calibrate import calibrate

    clips, each = options.calibration_clips, options.calibration_images_per_clip
    calibrate(model, SyntheticWorld(CALIBRATION_SEED, clips, each, SIZE_HW, FPS), out)
    return out


class _Keep:
    """A sink that keeps every result in memory, for the scores."""

    def __init__(self) -> None:
        self.results: list[FrameResult] = []

    def write(self, frame: Frame, result: FrameResult) -> None:
        self.results.append(result)

    def close(self) -> None:
        """Nothing to close."""


def _run(
    model: Path, clip: Path, folder: Path, precision: str
) -> tuple[list[FrameResult], RunSummary]:
    """One pass of the real pipeline over the clip. Ctrl-C in it ends the demo."""
    from edgemtl.engine import open_session
    from edgemtl.runtime.pipeline import PipelineConfig, run_pipeline
    from edgemtl.runtime.sink import JsonlSink, MotSink
    from edgemtl.runtime.source import open_source

    keep = _Keep()
    with (
        closing(open_session(model)) as session,
        closing(open_source(str(clip))) as source,
        closing(JsonlSink(folder / f"results-{precision}.jsonl", session.manifest)) as jsonl,
        closing(MotSink(folder / f"tracks-{precision}.txt")) as mot,
    ):
        summary = run_pipeline(
            session, source, [jsonl, mot, keep], PipelineConfig(min_score=MIN_SCORE)
        )
    if summary.interrupted:  # scores of a part would stand beside those of the whole
        raise KeyboardInterrupt
    return keep.results, summary


def _annotate(clip: Path, results: Sequence[FrameResult], model: Path, path: Path) -> None:
    """The clip again with ``results`` drawn into it; after the runs, which it would slow down."""
    from edgemtl.graph.file import load_model
    from edgemtl.progress import track
    from edgemtl.runtime.sink import VideoSink
    from edgemtl.runtime.source import open_source

    _, manifest = load_model(model)
    with closing(open_source(str(clip))) as source, closing(VideoSink(path, FPS, manifest)) as sink:
        for frame, result in track(zip(source, results, strict=True), "drawing", len(results)):
            sink.write(frame, _shown(result, manifest.min_score))


def _shown(result: FrameResult, min_score: float) -> FrameResult:
    """What a viewer wants to see: all tracks, and sure detections that no track took."""
    import numpy as np

    free = result.detections.scores >= min_score
    free[result.tracks.det_index[result.tracks.det_index >= 0]] = False
    alone = replace(result.tracks, det_index=np.full_like(result.tracks.det_index, -1))
    return replace(result, detections=result.detections.where(free), tracks=alone)
