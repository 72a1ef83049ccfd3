"""How far each INT8 graph is from its float model, on pictures that set no range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgemtl.evaluate import Agreement, compare_outputs
from edgemtl.manifest import Manifest
from edgemtl.progress import track
from edgemtl.quantize.collect import infer, open_onnx
from edgemtl.quantize.images import ImageBatches
from edgemtl.records import NetOutputs

TypedModel = tuple[onnx.ModelProto, Manifest]
LOOSE_IOU, TIGHT_IOU = 0.5, 0.9


@dataclass(frozen=True, slots=True)
class Drop:
    """Agreement of one INT8 graph with the float model: the same objects found (IoU 0.5), and
    found at nearly the same place (IoU 0.9)."""

    against: str
    loose: Agreement
    tight: Agreement


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What was written and how well it agrees.

    ``sizes``: bytes of the float model, this host's INT8 model and the trt dialect.
    ``held_out`` is 0 if there were too few pictures: then the calibration pictures judged;
    ``copies``: calibration pictures that are copies of others.
    """

    out: Path
    trt: Path
    table: Path
    observer: str
    images: int
    held_out: int
    tensors: int
    sizes: tuple[int, int, int]
    drops: tuple[Drop, ...]
    tasks: tuple[str, ...]
    copies: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "trt": str(self.trt),
            "ranges": str(self.table),
            "observer": self.observer,
            "images": self.images,
            "held_out": self.held_out,
            "copies": self.copies,
            "tensors": self.tensors,
            "size_bytes": dict(zip(("fp32", "int8", "int8_trt"), self.sizes, strict=True)),
            "agreement": {
                drop.against: {"iou_0.5": drop.loose.to_dict(), "iou_0.9": drop.tight.to_dict()}
                for drop in self.drops
            },
        }

    def rows(self) -> list[list[str]]:
        """A table: heading, then one row per figure, one column per comparison."""
        table = [["", *(drop.against for drop in self.drops)]]
        lines: list[tuple[str, list[str]]] = []
        if "detect" in self.tasks:
            lines += [
                ("detections compared", [str(d.loose.detections) for d in self.drops]),
                ("same object (IoU 0.5)", [_matched(d.loose) for d in self.drops]),
                ("same place (IoU 0.9)", [_matched(d.tight) for d in self.drops]),
                ("box error, mean px", [_number(d.loose.mean_box_px) for d in self.drops]),
                ("score error, mean", [_number(d.loose.mean_score) for d in self.drops]),
            ]
        if "embed" in self.tasks:
            lines.append(
                ("embedding cosine, mean", [_number(d.loose.mean_cosine) for d in self.drops])
            )
        if "classify" in self.tasks:
            shares = [d.loose.same_image_class / max(d.loose.images, 1) for d in self.drops]
            lines.append(("same image class", [_share(share) for share in shares]))
        return table + [[name, *values] for name, values in lines]

    def tables(self) -> list[list[list[str]]]:
        """What a terminal shows: heading and rows of each table."""
        return [self.rows()]

    def notes(self) -> list[str]:
        """Lines below the tables."""
        judges = f"judged on {self.held_out} others" if self.held_out else "judged on the same ones"
        seen = (
            f"{self.observer} ranges of {self.tensors} tensors over {self.images} images, {judges}"
        )
        few = "too few images to hold some out: expect less agreement on new ones"
        lines = [seen] if self.held_out else [seen, few]
        if self.copies:
            alike = f"{self.copies} of the {self.images} images are copies of others"
            lines.append(f"{alike}, which show nothing new: name more different ones")
        return lines

    def files(self) -> list[list[str]]:
        """What was written, and what it is for."""
        return [
            [str(self.out), "this host"],
            [str(self.trt), "TensorRT"],
            [str(self.table), "the ranges of both"],
        ]


def judge(
    float_model: TypedModel,
    ort: TypedModel,
    trt: TypedModel,
    images: ImageBatches,
    threads: int,
) -> tuple[Drop, ...]:
    """Compare float with both INT8 graphs, and these with each other.

    The host's graph runs on the host's integer kernels; the trt graph is computed in float with
    its Q/DQ, since other kernels will run it.
    """
    spec = float_model[1].input
    parts: dict[str, list[tuple[Agreement, Agreement]]] = {}
    sessions = [
        open_onnx(float_model[0], threads=threads),
        open_onnx(ort[0], threads=threads),
        open_onnx(trt[0], emulate=True, threads=threads),
    ]
    manifests = (float_model[1], ort[1], trt[1])
    for batch in track(images, "judging", len(images)):
        exact, host, other = (
            infer(session, m, convert_pixels(batch, spec.dtype, m.input.dtype))
            for session, m in zip(sessions, manifests, strict=True)
        )
        pairs: Mapping[str, tuple[NetOutputs, NetOutputs]] = {
            "fp32 : int8": (exact, host),
            "fp32 : int8 trt": (exact, other),
            "int8 : int8 trt": (host, other),
        }
        for name, (a, b) in pairs.items():
            score = float_model[1].min_score
            both = [
                compare_outputs(a, b, min_score=score, min_iou=i) for i in (LOOSE_IOU, TIGHT_IOU)
            ]
            parts.setdefault(name, []).append((both[0], both[1]))
    return tuple(_drop(name, found) for name, found in parts.items())


def convert_pixels(images: NDArray[Any], have: str, want: str) -> NDArray[Any]:
    """int8 pixels p - 128 as uint8 pixels p, where a dialect wants them; others unchanged."""
    if (have, want) == ("int8", "uint8"):
        return np.ascontiguousarray(images).view(np.uint8) ^ np.uint8(128)
    return images


def _drop(name: str, found: Sequence[tuple[Agreement, Agreement]]) -> Drop:
    loose, tight = zip(*found, strict=True)
    return Drop(name, Agreement.combine(loose), Agreement.combine(tight))


def _matched(agreement: Agreement) -> str:
    """Pictures without a single detection judge nothing."""
    return _share(agreement.match_rate) if agreement.detections else "-"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
