"""Commands that work on frames: run, track, bench."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.options import (
    AsJson,
    Backend,
    CudaGraph,
    Model,
    Rebuild,
    Source,
    Threads,
    TrackerName,
    TrackerOption,
    parse_size,
)
from edgemtl.console import InterruptedRunError, finish, say, table
from edgemtl.errors import ConfigError
from edgemtl.files import atomic_path, keep


class Policy(str, Enum):
    """What to do with frames that come faster than the network."""

    ALL = "all"
    LATEST = "latest"


def run(
    model: Model,
    source: Source,
    min_score: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Of detections.  [default: the model's]")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(metavar="out.mp4|out.webm", help="Annotated video.")
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option(metavar="out.jsonl", help="One object per frame.")
    ] = None,
    mot: Annotated[Path | None, typer.Option(metavar="out.txt", help="MOTChallenge text.")] = None,
    show: Annotated[
        bool, typer.Option("--show", help="A window with the annotated frames.")
    ] = False,
    policy: Annotated[
        Policy | None,
        typer.Option(help="Keep all frames, or the latest.  [default: by the source]"),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    tracker: TrackerOption = TrackerName.EDGEMTL,
    backend: Backend = "auto",
    threads: Threads = None,
    cuda_graph: CudaGraph = False,
    rebuild: Rebuild = False,
    as_json: AsJson = False,
) -> None:
    """Detect, classify and track in one pass. Over a video, a folder, a camera or a stream.

    \b
    Example:
      edgemtl run street --source street.mp4 --video out.webm --jsonl out.jsonl
    """
    from edgemtl.cli.running import Network, Outputs, run_model
    from edgemtl.runtime.pipeline import PipelineConfig
    from edgemtl.track.presets import preset

    config = PipelineConfig(
        min_score=min_score,
        policy=policy.value if policy else None,
        max_frames=max_frames,
        tracker=preset(tracker.value),
    )
    outputs = Outputs(video=video, jsonl=jsonl, mot=mot, show=show)
    network = Network(model, backend, threads, cuda_graph, rebuild)
    summary = run_model(network, source, outputs, config)
    finish(summary.to_dict(), summary.text(), as_json)
    if summary.interrupted:
        raise InterruptedRunError


def track(
    detections: Annotated[Path, typer.Argument(metavar="DET.txt", help="MOTChallenge detections.")],
    fps: Annotated[float, typer.Option(help="Frames per second of the sequence.")],
    out: Annotated[Path, typer.Option(metavar="out.txt", help="MOTChallenge tracks to write.")],
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Frame size.  [default: what the boxes span]")
    ] = None,
    tracker: TrackerOption = TrackerName.EDGEMTL,
    camera: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Camera motion: a line of 2x3 numbers a frame."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the tracker alone over detections. They come in MOTChallenge text.

    \b
    Example:
      edgemtl track det.txt --fps 10 --out tracks.txt
    """
    from edgemtl.cli.tracking import track_file
    from edgemtl.track.presets import preset

    if not 0 < fps <= 10_000:
        raise ConfigError(f"--fps: expected a rate above 0, got {fps:g}", "for example --fps 25")
    size_hw = parse_size(size, "--size")
    summary = track_file(detections, out, fps, size_hw, preset(tracker.value), camera)
    text = "{frames} frames, {detections} detections -> {tracks} tracks: {out}".format(**summary)
    finish(summary, text, as_json)


def bench(
    model: Model,
    source: Source,
    frames: Annotated[int, typer.Option(min=1, help="Measured frames.")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="Frames before them.")] = 20,
    loads: Annotated[int, typer.Option(min=1, help="Load the network anew so often.")] = 1,
    plot: Annotated[Path | None, typer.Option(metavar="out.svg", help="Latency plot.")] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    cuda_graph: CudaGraph = False,
    rebuild: Rebuild = False,
    as_json: AsJson = False,
) -> None:
    """Measure latency per stage and throughput. From frame to result, with facts of the host.

    \b
    Example:
      edgemtl bench toy --source clip.mp4 --threads 1 --plot latency.svg
    """
    from edgemtl.bench.latency import BenchConfig
    from edgemtl.bench.latency import bench as measure
    from edgemtl.cli.running import Network
    from edgemtl.runtime.source import open_source

    keep({"source": Path(source), "model": Path(model)}, (plot,), "name another --plot")
    with ExitStack() as stack:
        # what cannot be written is refused before the work
        drawn = None if plot is None else stack.enter_context(atomic_path(plot))
        network = Network(model, backend, threads, cuda_graph, rebuild)
        session = stack.enter_context(closing(network.open()))
        config = BenchConfig(frames=frames, warmup=warmup, loads=loads)
        report = measure(session, open_source(source), config, network.like(session).open)
        if drawn is not None:
            report.plot_svg(drawn)
    if plot is not None:
        say(f"plot: {plot}")
    header, *rows = report.rows()
    figures = table([row for row in rows if len(row) > 1], header)
    notes = "\n".join(str(row[0]) for row in rows if len(row) == 1)
    finish(report.to_dict(), f"{figures}\n\n{notes}", as_json)


COMMANDS: dict[str, Callable[..., None]] = {"run": run, "track": track, "bench": bench}
