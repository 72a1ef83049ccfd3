"""The command that makes a model of a checkpoint: export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.options import AsJson, parse_size
from edgemtl.cli.work import require
from edgemtl.console import finish


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


COMMANDS: dict[str, Callable[..., None]] = {"export": export}
