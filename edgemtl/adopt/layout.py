"""Does what a foreign detector puts out fit its decode kind? What differs is said in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import ModelError

LAYOUTS = {
    "yolox": "[N, anchors, 5 + classes]",
    "yolov8": "[N, 4 + classes, anchors]",
    "n6": "[N, detections, 6]",
}
_FRONT = {"yolox": 5, "yolov8": 4}
_SLACK = 1e-3
_OFFSET = 1 / 8
"""Offsets hardly leave their cell; pixels spread over the picture, half of it in the median."""


def choose_output(
    found: Mapping[str, NDArray[Any]],
    decode: str,
    classes: int,
    wanted: str | None,
    where: str,
    named: bool = False,
) -> str:
    """The output of the kind's layout for so many classes. Raises ModelError unless it is one.

    ``named``: the file itself says so many, which another number would contradict.
    """
    if wanted is not None and wanted not in found:
        raise ModelError(
            f"{where}: no output '{wanted}', there are {_listed(found)}", "choose one of them"
        )
    names = list(found) if wanted is None else [wanted]
    fits = [name for name in names if _fits(found[name], decode, classes)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ModelError(
            f"{where}: several outputs are of the kind '{decode}': {', '.join(fits)}",
            "choose one with --output NAME",
        )
    raise ModelError(
        f"{where}: no output is of the kind '{decode}', float32 {LAYOUTS[decode]} with "
        f"{classes} classes: {_listed({name: found[name] for name in names})}",
        _suggestion(found, names, decode, classes, named),
    )


def _fits(values: NDArray[Any], decode: str, classes: int) -> bool:
    if values.dtype != np.float32 or values.ndim != 3 or 0 in values.shape:
        return False
    if decode == "n6":
        return int(values.shape[2]) == 6
    return int(values.shape[2 if decode == "yolox" else 1]) == _FRONT[decode] + classes


def _suggestion(
    found: Mapping[str, NDArray[Any]], names: list[str], decode: str, classes: int, named: bool
) -> str:
    """Which kind, or which number of classes, would fit."""
    for other in LAYOUTS:
        if other != decode and any(_fits(found[name], other, classes) for name in names):
            return f"--decode {other} fits"
    for name in names:
        values = found[name]
        if decode in _FRONT and values.ndim == 3:
            width, rows = values.shape[2 if decode == "yolox" else 1], max(values.shape[1:])
            alone = all(len(v.shape) == 3 for v in found.values())  # masks have four axes
            if _FRONT[decode] < width < rows and alone and not named:
                return f"'{name}' has room for {width - _FRONT[decode]} classes; name so many"
    return (
        f"export the original as a plain detector whose output is {LAYOUTS[decode]}: without "
        "masks, key points or suppression inside"
    )


def check_scores(
    values: NDArray[np.float32], decode: str, classes: int, name: str, where: str
) -> None:
    """Raise ModelError unless scores are probabilities, and the classes of ``n6`` whole numbers
    below ``classes``."""
    scores = {
        "yolox": values[:, :, 4:],
        "yolov8": values[:, 4:],
        "n6": values[:, :, 4],
    }[decode]
    low, high = float(scores.min()), float(scores.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise ModelError(
            f"{where}: the scores in '{name}' run from {low:.3g} to {high:.3g}, expected 0 to 1",
            "is it another decode kind? Logits need their sigmoid in the graph",
        )
    if decode != "n6":
        return
    labels = values[:, :, 5]
    if not np.array_equal(labels, np.rint(labels)):
        raise ModelError(
            f"{where}: the sixth column of '{name}' does not hold whole numbers, the classes",
            "n6 is x1, y1, x2, y2, score, class",
        )
    largest = int(labels[values[:, :, 4] > 0].max(initial=0))  # empty rows score nothing
    if largest >= classes:
        raise ModelError(
            f"{where}: '{name}' tells of class {largest}, and {classes} classes are named",
            "name all of them, from class 0 on",
        )


def is_grid(values: NDArray[np.float32], size_hw: tuple[int, int]) -> bool:
    """Whether the centres of a YOLOX output are offsets within grid cells, not yet pixels."""
    return float(np.median(np.abs(values[:, :, :2]))) < min(16.0, _OFFSET * min(size_hw))


def check_grid(anchors: int, size_hw: tuple[int, int], name: str, where: str) -> None:
    """Raise ModelError unless the anchors are the cells of strides 8, 16 and 32."""
    expected = sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in (8, 16, 32))
    if anchors != expected:
        raise ModelError(
            f"{where}: '{name}' has {anchors} anchors, strides 8, 16 and 32 make {expected} of "
            f"{size_hw[0]}x{size_hw[1]}",
            "export the original with the grid decoded in the graph (YOLOX: --decode_in_inference)",
        )


def _listed(found: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"'{n}' {v.dtype.name} {list(v.shape)}" for n, v in found.items())
