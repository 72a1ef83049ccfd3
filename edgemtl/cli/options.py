"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.errors import ConfigError


class TrackerName(str, Enum):
    """Trackers by name; edgemtl.track.presets makes them."""

    EDGEMTL = "edgemtl"
    BYTETRACK = "bytetrack"


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A shipped name, .onnx or .engine.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout, the rest on stderr.")
]
Source = Annotated[
    str,
    typer.Option(metavar="FILE|DIR|CAMERA|URL", help="Video, folder of images, camera or stream."),
]
Backend = Annotated[
    str,
    typer.Option(
        help="onnxruntime, openvino, tensorrt, or auto: the fastest of them that agrees.",
        show_default=True,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the network on the CPU.")]
CudaGraph = Annotated[
    bool, typer.Option("--cuda-graph", help="TensorRT: launch a run as one CUDA graph.")
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="TensorRT: build a stale or foreign engine again.")
]
TrackerOption = Annotated[
    TrackerName, typer.Option("--tracker", help="Ours, in seconds, or ByteTrack, in frames.")
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder that the data file's paths start from.")
]


def parse_size(text: str | None, option: str) -> tuple[int, int] | None:
    """``HEIGHTxWIDTH`` as (height, width). Raises ConfigError, naming the option."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(
            f"{option}: expected HEIGHTxWIDTH, got '{text}'", f"for example {option} 288x512"
        )
    return int(parts[0]), int(parts[1])
