"""``edgemtl info``: what a model file says of itself, and adopting one that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from edgemtl.cli.options import AsJson, parse_size
from edgemtl.console import finish, say
from edgemtl.errors import ConfigError


class Decode(str, Enum):
    """Kinds of detectors that can be adopted."""

    YOLOX = "yolox"
    YOLOV8 = "yolov8"
    N6 = "n6"


class Channels(str, Enum):
    """Orders of the three planes."""

    RGB = "rgb"
    BGR = "bgr"


class Align(str, Enum):
    """Where the picture lies in the network's input."""

    CENTER = "center"
    TOP_LEFT = "top_left"


_KIND = "[default: by --decode]"
AnyModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped name, .onnx or .engine; to adopt, .onnx.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--adopt", metavar="OUT.onnx", help="Write a copy with a manifest: a foreign detector."
    ),
]
Kind = Annotated[
    Decode | None, typer.Option(help="The output: YOLOX, YOLOv8/11, N x 6 (YOLOv10, YOLO26).")
]
Names = Annotated[
    Path | None, typer.Option(metavar="names.txt", help="A class a line.  [default: in the file]")
]
Size = Annotated[str | None, typer.Option(metavar="HxW", help="Where the graph leaves it open.")]
Order = Annotated[Channels | None, typer.Option(help=f"Colour planes.  {_KIND}")]
Scale = Annotated[float | None, typer.Option(help=f"A pixel enters as p * scale.  {_KIND}")]
Offset = Annotated[float | None, typer.Option(help="And this is added.  [default: 0]")]
Pad = Annotated[int | None, typer.Option(min=0, max=255, help="Border level.  [default: 114]")]
Place = Annotated[Align | None, typer.Option(help=f"Picture in the input.  {_KIND}")]
NmsIou = Annotated[
    float | None, typer.Option(min=0, max=1, help=f"Suppress above; 1: nothing.  {_KIND}")
]
Agnostic = Annotated[bool, typer.Option("--class-agnostic", help="Suppress across classes.")]
MinScore = Annotated[
    float | None, typer.Option(min=0, max=1, help="Of shown detections.  [default: 0.3]")
]
Output = Annotated[str | None, typer.Option(metavar="NAME", help="If several outputs fit.")]
Licence = Annotated[str | None, typer.Option(help="Of the weights, to be kept in the file.")]


def info(
    model: AnyModel,
    adopt: Out = None,
    decode: Kind = None,
    classes: Names = None,
    size: Size = None,
    channels: Order = None,
    scale: Scale = None,
    offset: Offset = None,
    pad: Pad = None,
    align: Place = None,
    nms_iou: NmsIou = None,
    class_agnostic: Agnostic = False,
    min_score: MinScore = None,
    output: Output = None,
    licence: Licence = None,
    as_json: AsJson = False,
) -> None:
    """Print a model's manifest, or adopt a detector. Input, tasks, classes, licences, calibration.

    \b
    Example:
      edgemtl info toy
      edgemtl info yolox.onnx --adopt mine.onnx --decode yolox --classes names.txt
    """
    from edgemtl.cli.describe import describe

    given: dict[str, Any] = {
        "size_hw": parse_size(size, "--size"),
        "channels": channels and channels.value,
        "scale": scale,
        "offset": offset,
        "pad": pad,
        "align": align and align.value,
        "nms_iou": nms_iou,
        "class_agnostic": class_agnostic or None,
        "min_score": min_score,
        "output": output,
        "licence": licence,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if adopt is not None:
        _adopt(model, adopt, decode, classes, given)
    elif given or decode is not None or classes is not None:
        raise ConfigError("--adopt OUT.onnx is missing: the other options say what to write there")
    facts, text = describe(model if adopt is None else str(adopt))
    finish(facts, text, as_json)


def _adopt(
    model: str, out: Path, decode: Decode | None, classes: Path | None, given: dict[str, Any]
) -> None:
    """Write ``out``, and say on stderr what to do with it."""
    from edgemtl.adopt import AdoptOptions, adopt, read_names

    if decode is None:
        kinds = ", ".join(kind.value for kind in Decode)
        raise ConfigError("--decode is missing: what is the detector's output?", f"one of {kinds}")
    names = None if classes is None else read_names(classes)
    report = adopt(Path(model), out, AdoptOptions(decode.value, names, **given))
    before, after = report.opset
    say(f"{out}: adopted from {model}" + (f", opset {before} -> {after}" if before < after else ""))
    say(f"hint: edgemtl run {out} --source VIDEO --video out.webm")


COMMANDS: dict[str, Callable[..., None]] = {"info": info}
