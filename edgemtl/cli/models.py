"""Commands that make model files of others: export, build."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.options import AsJson, Model, parse_size
from edgemtl.cli.work import require
from edgemtl.console import finish, table
from edgemtl.errors import ConfigError


class Precision(str, Enum):
    """Precisions of an engine."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


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


def build(
    model: Model,
    precision: Annotated[
        Precision, typer.Option(help="Must be in the graph: build is strongly typed.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="m.engine", help="The engine to write.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing: would it build? Needs no GPU (extra 'rtx')."),
    ] = False,
    workspace_mb: Annotated[int, typer.Option(min=16, help="Cap of TensorRT's workspace.")] = 1024,
    max_batch: Annotated[int, typer.Option(min=1, help="Pictures in one run at most.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Build a TensorRT engine with its manifest. Needs the extra 'tensorrt' or 'rtx'.

    \b
    Example:
      edgemtl build street --precision fp16 --out street.engine
      edgemtl build street --precision int8 --check
    """
    from edgemtl.engine.build import BuildOptions, build_engine
    from edgemtl.models import resolve_model

    if check:
        _check(resolve_model(model), precision, as_json)
        return
    if out is None:
        raise ConfigError("out: expected the engine to write", "--out m.engine, or --check")
    options = BuildOptions(
        precision=precision.value, workspace_mb=workspace_mb, max_batch=max_batch
    )
    report = build_engine(resolve_model(model), out, options)
    finish(report.to_dict(), report.text(), as_json)


def _check(model: Path, precision: Precision, as_json: bool) -> None:
    from edgemtl.engine.build_check import check_build

    report = check_build(model, precision.value)
    rows = report.rows()
    layers = [table(rows[1:], rows[0]), ""] if len(rows) > 1 else []
    finish(report.to_dict(), "\n".join([*layers, report.text()]), as_json)
    if report.errors:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "export": export,
    "build": build,
}
