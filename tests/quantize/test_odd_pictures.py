"""Calibration pictures as people have them: copies, one alone, alpha, 16 bits; and a full disk."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny

from edgemtl.data.images import open_images
from edgemtl.engine.ort import OrtSession
from edgemtl.errors import OutputError
from edgemtl.files import atomic_path
from edgemtl.graph.ranges import load_ranges
from edgemtl.quantize.calibrate import calibrate


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def folder_of(folder: Path, pictures: list[np.ndarray]) -> Path:
    folder.mkdir()
    for number, image in enumerate(pictures):
        assert cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.mark.parametrize(("count", "copies"), [(1, 0), (2, 1), (12, 9)])
def test_one_picture_and_copies_of_it_calibrate_and_are_told(
    tmp_path: Path, count: int, copies: int
) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    source = folder_of(tmp_path / "same", [picture(0)] * count)
    report = calibrate(model, open_images(source), tmp_path / "m.int8.onnx")
    assert report.copies == copies
    notes = " ".join(report.notes())
    assert ("copies of others" in notes) == (copies > 0)
    assert report.to_dict()["copies"] == copies
    OrtSession(report.out, threads=1).close()


def test_different_pictures_are_no_copies(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    source = folder_of(tmp_path / "many", [picture(seed) for seed in range(6)])
    report = calibrate(model, open_images(source), tmp_path / "m.int8.onnx")
    assert report.copies == 0


@pytest.mark.parametrize("kind", ["alpha", "16 bit", "16 bit alpha", "grey"])
def test_alpha_and_sixteen_bits_calibrate_as_what_they_show(tmp_path: Path, kind: str) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    pictures = [picture(seed) for seed in range(5)]
    if kind == "grey":
        odd = [image[..., 0] for image in pictures]
        pictures = [np.repeat(image[..., None], 3, 2) for image in odd]
    else:
        channel = np.full((64, 96, 1), 40, np.uint8)
        odd = [np.concatenate([p, channel], 2) if "alpha" in kind else p for p in pictures]
        if "16" in kind:
            odd = [(image.astype(np.uint16) << 8) | 0x42 for image in odd]
    tables = []
    for name, shown in (("plain", pictures), ("odd", odd)):
        source = open_images(folder_of(tmp_path / name, shown))
        tables.append(load_ranges(calibrate(model, source, tmp_path / f"{name}.onnx").table))
    assert tables[0] == tables[1]


def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files is to a process what a full disk is."""
    model = write_tiny(tmp_path / "m.onnx")
    folder_of(tmp_path / "pictures", [picture(seed) for seed in range(5)])
    for name in ("m.int8.onnx", "m.int8.trt.onnx", "m.int8.ranges.json"):
        (tmp_path / name).write_text("an earlier one")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    limit = model.stat().st_size // 8
    done = subprocess.run(
        [sys.executable, "-m", "edgemtl", "calibrate", model, "--images", tmp_path / "pictures",
         "--out", tmp_path / "m.int8.onnx"],
        capture_output=True, text=True, check=False,
        cwd=tmp_path,  # not in the sources, which hold no compiled extension
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "error: cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_kind_of_full_is_an_output_error(tmp_path: Path, number: int) -> None:
    (tmp_path / "out.txt").write_text("before")
    with (
        pytest.raises(OutputError, match="cannot write") as caught,
        atomic_path(tmp_path / "out.txt"),
    ):
        raise OSError(number, "full")
    assert "make room" in str(caught.value.hint)
    assert (tmp_path / "out.txt").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.txt"):
        raise FileNotFoundError(errno.ENOENT, "another one's fault")
