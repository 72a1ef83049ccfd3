"""Small data sets made in a test: pictures of known pixels, and what a loading noted."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgemtl.data.base import DataSet, Truth
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.records import U8

CLASSES = ("person", "car", "dog")
IMAGE_CLASSES = ("person", "car", "none")


def pixels(size_hw: tuple[int, int] = (40, 60), seed: int = 0) -> U8:
    """Noise, u8 [H, W, 3]: no two places look alike."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8)


def encoded(picture: np.ndarray, suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, picture)
    assert done
    return data.tobytes()


def write_picture(path: Path, size_hw: tuple[int, int] = (40, 60), seed: int = 0) -> U8:
    """Write noise to ``path`` (its name may be any Unicode) and return it."""
    picture = pixels(size_hw, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture, path.suffix.lower()))
    return picture


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def set_spec(**changes: Any) -> SetSpec:
    fields: dict[str, Any] = {"name": "set", "classes": CLASSES, "image_classes": IMAGE_CLASSES}
    return SetSpec(**{**fields, **changes})


def told(log: ProblemLog) -> list[str]:
    """The problems as text, file names without their folders."""
    lines = []
    for problem in log.problems:
        where = Path(problem.file).name
        where = where if problem.line is None else f"{where}:{problem.line}"
        lines.append(f"{where}: {problem.what} ({problem.action})")
    return lines


def boxes_of(truth: Truth) -> list[tuple[float, ...]]:
    """(label, x1, y1, x2, y2) of every box, in order."""
    return [
        (int(label), *(float(v) for v in box))
        for label, box in zip(truth.labels, truth.boxes_src, strict=True)
    ]


def count_boxes(data: DataSet) -> int:
    return sum(len(data.truth(index)) for index in range(len(data)))


def check_contract(data: DataSet) -> None:
    """What :class:`DataSet` and :class:`Truth` promise of every picture."""
    assert data.labelled.dtype == np.bool_
    assert data.labelled.shape == (len(data.classes),)
    for index in range(len(data)):
        truth, picture = data.truth(index), data.image(index)
        n = len(truth)
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        assert truth.boxes_src.dtype == np.float32
        assert truth.boxes_src.shape == (n, 4)
        assert (truth.labels.dtype, truth.labels.shape) == (np.int32, (n,))
        assert (truth.identities.dtype, truth.identities.shape) == (np.int64, (n,))
        assert (truth.ignore.dtype, truth.ignore.shape) == (np.bool_, (n,))
        assert set(truth.labels.tolist()) <= set(np.flatnonzero(data.labelled).tolist())
        assert -1 <= truth.scene < len(data.image_classes)
        height, width = picture.shape[:2]
        assert (truth.boxes_src >= 0).all()
        assert (truth.boxes_src <= [width, height, width, height]).all()
        assert (truth.boxes_src[:, :2] < truth.boxes_src[:, 2:]).all()
