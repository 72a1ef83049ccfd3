"""Pictures as files: what decodes, what is refused as broken, and which pixels are taken."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_files import encoded, pixels, told

from edgemtl.data.imageset import picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.store import FolderStore, broken, decode_image, size_of
from edgemtl.errors import DataError

LOSSLESS = (".png", ".bmp", ".tif")
SUFFIXES = (*LOSSLESS, ".jpg", ".webp")
SIZES = ((40, 60), (1, 1), (1, 7), (33, 1), (17, 31))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size_hw", SIZES)
def test_size_and_pixels(suffix: str, size_hw: tuple[int, int]) -> None:
    picture = pixels(size_hw)
    data = encoded(picture, suffix)
    assert broken(data) is None
    assert size_of(data) == size_hw
    found = decode_image(data, "here")
    assert (found.shape, found.dtype) == ((*size_hw, 3), np.uint8)
    if suffix in LOSSLESS:
        np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_pictures(tmp_path: Path, suffix: str, share: float) -> None:
    """OpenCV fills what is missing of some formats with grey; no such picture may pass."""
    smooth = cv2.GaussianBlur(pixels((120, 160)), (0, 0), 3)
    data = encoded(smooth, suffix)
    (tmp_path / f"a{suffix}").write_bytes(data[: int(len(data) * share)])
    store, log = FolderStore(tmp_path), ProblemLog()
    assert picture_size(store, f"a{suffix}", log) is None
    assert len(told(log)) == 1
    with pytest.raises(DataError, match=rf"a\{suffix}: ") as refused:
        store.image(f"a{suffix}")
    assert refused.value.hint


@pytest.mark.parametrize(("kind", "signature"), [(".jpg", 2), (".png", 8)])
def test_every_prefix_of_a_picture_is_broken(kind: str, signature: int) -> None:
    data = encoded(pixels((9, 11)), kind)
    assert broken(data) is None
    assert all(broken(data[:n]) == f"truncated {'JPEG' if kind == '.jpg' else 'PNG'}"
               for n in range(signature, len(data)))  # fmt: skip
    assert all(size_of(data[:n]) is None for n in range(1, signature))


def test_truncation_is_seen_behind_a_preview() -> None:
    """A JPEG inside the header has an end marker too, and one in a PNG's text names the end."""
    small, large = encoded(pixels((8, 8)), ".jpg"), encoded(pixels((64, 64)), ".jpg")
    preview = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    data = large[:2] + preview + large[2:]
    assert broken(data) is None
    assert size_of(data) == (64, 64)
    assert broken(data[:-200]) == "truncated JPEG"
    png = encoded(pixels((64, 64)))
    text = b"tEXt" + b"IEND" * 10
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    data = png[:33] + chunk + png[33:]
    assert broken(data) is None
    assert broken(data[:90]) == "truncated PNG"


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_bytes_behind_the_end_do_no_harm(kind: str) -> None:
    data = encoded(pixels((8, 8)), kind) + b"\0" * 500
    assert broken(data) is None
    assert decode_image(data, "here").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"\xff\xd8", "truncated JPEG"),
        (b"\xff\xd8\xff\xda\x00\x04\x00\x00\xff\xd9", "not a picture"),
        (b"\xff\xd8\xff" + b"\xff" * 50, "truncated JPEG"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (b"<html>not found</html>", "not a picture"),
        (b"\0" * 4096, "not a picture"),
        (b"BM" + b"\0" * 60, "not a picture"),
    ],
)
def test_no_pictures(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    log = ProblemLog()
    assert picture_size(FolderStore(tmp_path), "a.jpg", log) is None
    assert told(log)[0].startswith(f"a.jpg: {words}")
    with pytest.raises(DataError, match=rf"here: {words}"):
        decode_image(data, "here")


def _png_header(width: int, height: int) -> bytes:
    """A whole chain of chunks without pixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    """A side of 0 is no picture; one that would fill the memory is refused by the decoder."""
    assert size_of(_png_header(0, 10)) is None
    assert size_of(_png_header(10, 0)) is None
    with pytest.raises(DataError, match="not a picture"):
        decode_image(_png_header(1_000_000, 1_000_000), "bomb")


def test_grey_alpha_and_deep_pictures() -> None:
    """Always three channels of eight bits: alpha is dropped, sixteen bits keep the upper eight."""
    colour = pixels((12, 20))
    grey = np.ascontiguousarray(colour[..., 0])
    for suffix in (".png", ".jpg"):
        found = decode_image(encoded(grey, suffix), "grey")
        assert found.shape == (12, 20, 3)
        assert (found == found[..., :1]).all()
    np.testing.assert_array_equal(decode_image(encoded(grey), "grey")[..., 0], grey)
    clear = np.dstack([colour, np.zeros((12, 20), np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(clear), "clear"), colour)
    deep = (colour.astype(np.uint16) << 8) | 0x42
    np.testing.assert_array_equal(decode_image(encoded(deep), "deep"), colour)
    dark = np.ascontiguousarray(deep[..., 1])
    np.testing.assert_array_equal(decode_image(encoded(dark), "deep")[..., 0], colour[..., 1])


def _turned(picture: np.ndarray, orientation: int) -> bytes:
    """A JPEG whose EXIF says that it is to be shown in another orientation."""
    data = encoded(picture, ".jpg")
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08" + struct.pack(">H", 1) + entry + b"\0\0\0\0"
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_taken_as_they_are_stored(orientation: int) -> None:
    """The convention: an orientation tag turns neither pixels nor size, so both agree.

    OpenCV by itself turns the pixels (5 to 8: another size), while a header, and so a check of
    boxes against it, stays as stored.
    """
    picture = cv2.GaussianBlur(pixels((24, 40)), (0, 0), 4)
    data = _turned(picture, orientation)
    by_default = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert by_default.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    assert size_of(data) == (24, 40)
    found = decode_image(data, "phone.jpg")
    np.testing.assert_array_equal(found, decode_image(encoded(picture, ".jpg"), "plain"))


def test_an_annotation_of_the_turned_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_turned(pixels((24, 40)), 6))
    log = ProblemLog()
    assert picture_size(FolderStore(tmp_path), "a.jpg", log, (24, 40)) == (24, 40)
    assert picture_size(FolderStore(tmp_path), "a.jpg", log, (40, 24)) is None
    assert told(log) == ["a.jpg: annotated as a picture of 24x40, it is 40x24 (skipped)"]
