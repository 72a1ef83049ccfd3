"""Commands that make model files: export, calibrate, build."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.options import AsJson, DataRoot, Model, Threads, parse_size
from edgemtl.cli.work import require
from edgemtl.console import finish, listing, table
from edgemtl.errors import ConfigError


class Precision(str, Enum):
    """Precisions of an engine."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Observer(str, Enum):
    """How ranges are taken from what the calibration images show."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    ENTROPY = "entropy"


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A .safetensors checkpoint.")],
    out: Annotated[Path, typer.Option(metavar="m.onnx", help="The ONNX file to write.")],
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Input size, if not the trained one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a checkpoint into one ONNX file. It is proven equal to torch first (extra 'train').

    \b
    Example:
      edgemtl export runs/street/best.safetensors --out street.onnx
    """
    require("torch", "train", "export")
    from edgemtl.export import export_checkpoint

    report = export_checkpoint(checkpoint, out, size_hw=parse_size(size, "--size"))
    text = (
        f"{report.path}: {report.size_bytes / 1e6:.2f} MB; largest difference to torch: "
        f"boxes {report.largest.box_px:.2g} px, scores {report.largest.score:.2g}"
    )
    finish(report.to_dict(), text, as_json)


def calibrate(
    model: Model,
    images: Annotated[
        Path, typer.Option(metavar="DIR|VIDEO|ZIP", help="Pictures as the device will see them.")
    ],
    out: Annotated[Path, typer.Option(metavar="m.int8.onnx", help="The INT8 model for this host.")],
    observer: Annotated[Observer, typer.Option(help="How ranges are measured.")] = (
        Observer.PERCENTILE
    ),
    limit: Annotated[int, typer.Option(min=1, help="At most so many images, evenly spread.")] = 200,
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", metavar="DATA.toml", help="Measure the loss on its [[val]] sets."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TASK=POINTS,...", help="The most that det, cls, track, embed lose."),
    ] = None,
    data_root: DataRoot = None,
    allow_overlap: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="An evaluation set that may share pictures."),
    ] = None,
    allow_slower: Annotated[
        bool, typer.Option("--allow-slower", help="Write INT8 even if float32 is faster here.")
    ] = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure ranges on pictures, write INT8 models. One for this host and one for TensorRT.

    With --eval and --budget, layers that INT8 harms too much stay in float, and nothing is written
    if no set of them is enough.

    \b
    Example:
      edgemtl calibrate street --images frames/ --out street.int8.onnx
      edgemtl calibrate m.onnx --images frames/ --out m.int8.onnx --eval data.toml --budget det=1
    """
    from edgemtl.data.images import open_images
    from edgemtl.models import resolve_model
    from edgemtl.quantize.calibrate import CalibrateOptions
    from edgemtl.quantize.calibrate import calibrate as measure

    options = CalibrateOptions(observer=observer.value, limit=limit)
    if evaluation is not None:
        from edgemtl.data.config import load_data
        from edgemtl.quantize.budget import Budget
        from edgemtl.quantize.within import BudgetOptions, calibrate_within

        wanted = BudgetOptions(
            Budget({}) if budget is None else Budget.parse(budget),
            allow_slower=allow_slower, allow_overlap=tuple(allow_overlap or ()), threads=threads,
        )  # fmt: skip
        mix = load_data(evaluation, "val", data_root)
        found = calibrate_within(
            resolve_model(model), open_images(images), mix, out, options, wanted
        )
        losses, speeds = found.loss_rows(), found.speed_rows()
        floats = () if found.chosen is None else found.chosen.candidate.floats
        parts = [
            table(losses[1:], losses[0]),
            table(speeds[1:], speeds[0]),
            f"layers in float: {', '.join(floats) or 'none'}",
            listing(found.files()),
        ]
        finish(found.to_dict(), "\n\n".join(parts), as_json)
        return
    if budget is not None:
        raise ConfigError(
            "budget: nothing to measure it on", "name an evaluation: --eval DATA.toml"
        )
    report = measure(resolve_model(model), open_images(images), out, options)
    rows = report.rows()
    text = f"{table(rows[1:], rows[0])}\n\n{listing(report.files())}"
    finish(report.to_dict(), text, as_json)


def build(
    model: Model,
    precision: Annotated[
        Precision, typer.Option(help="Must be in the graph: build is strongly typed.")
    ],
    out: Annotated[Path, typer.Option(metavar="m.engine", help="The engine to write.")],
    workspace_mb: Annotated[int, typer.Option(min=16, help="Cap of TensorRT's workspace.")] = 1024,
    max_batch: Annotated[int, typer.Option(min=1, help="Pictures in one run at most.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Build a TensorRT engine with its manifest. Needs the extra 'tensorrt' or 'rtx'.

    \b
    Example:
      edgemtl build street --precision fp16 --out street.engine
    """
    from edgemtl.engine.build import BuildOptions, build_engine
    from edgemtl.models import resolve_model

    options = BuildOptions(
        precision=precision.value, workspace_mb=workspace_mb, max_batch=max_batch
    )
    report = build_engine(resolve_model(model), out, options)
    finish(report.to_dict(), report.text(), as_json)


COMMANDS: dict[str, Callable[..., None]] = {
    "export": export,
    "calibrate": calibrate,
    "build": build,
}
