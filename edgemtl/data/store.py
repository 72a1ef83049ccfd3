"""Where pictures lie: a folder or a zip file. Broken pictures are found, not decoded to grey."""

from __future__ import annotations

import os
import struct
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np

from edgemtl.errors import DataError
from edgemtl.records import U8

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_REPAIR = "replace or remove the file"
_ZIP_ERRORS = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What an archive raises that is damaged, encrypted, or packed in a way Python does not know."""


class Store(ABC):
    """Named files that can be read by several threads at once."""

    where: str

    @abstractmethod
    def names(self, suffixes: frozenset[str] = SUFFIXES) -> list[str]:
        """All files with these suffixes (in lower case) by relative name with '/', sorted."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the file exists."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's bytes. Raises DataError if it cannot be read."""

    def label(self, name: str) -> str:
        """What to call a file in reports."""
        return f"{self.where}/{name}"

    def image(self, name: str) -> U8:
        """The picture, u8 [H, W, 3] BGR. Raises DataError if it is missing or broken."""
        return decode_image(self.read(name), self.label(name))


class FolderStore(Store):
    """Files below a folder."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            what = "is no folder and no .zip" if folder.exists() else "does not exist"
            raise DataError(f"folder '{folder}' {what}", "check the path")
        self.folder = folder
        self.where = str(folder)

    def names(self, suffixes: frozenset[str] = SUFFIXES) -> list[str]:
        paths = (p for p in self.folder.rglob("*") if p.suffix.lower() in suffixes)
        return sorted(p.relative_to(self.folder).as_posix() for p in paths if not p.is_dir())

    def has(self, name: str) -> bool:
        return os.path.isfile(self.folder / name)  # pathlib's raises for names that are too long

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.label(name)}: {error.strerror}", _REPAIR) from error


class ZipStore(Store):
    """Files inside a zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.where = str(path)
        self._lock = threading.Lock()
        self._owner = -1
        self._open()
        self._names = frozenset(n for n in self._zip.namelist() if not n.endswith("/"))

    def _open(self) -> None:
        try:
            self._zip = zipfile.ZipFile(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}", "check the path") from error
        except (zipfile.BadZipFile, RuntimeError, ValueError) as error:
            raise DataError(f"{self.path}: not a zip file ({error})", _REPAIR) from error
        self._owner = os.getpid()

    def names(self, suffixes: frozenset[str] = SUFFIXES) -> list[str]:
        wanted = (n for n in self._names if os.path.splitext(n)[1].lower() in suffixes)
        return sorted(n for n in wanted if not n.startswith("__MACOSX/"))

    def has(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        with self._lock:
            if self._owner != os.getpid():  # a forked child must not share the file position
                self._open()
            try:
                return self._zip.read(name)
            except KeyError as error:
                raise DataError(f"{self.label(name)}: not in the archive", _REPAIR) from error
            except _ZIP_ERRORS as error:
                raise DataError(f"{self.label(name)}: {error}", _REPAIR) from error


def open_store(path: Path) -> Store:
    """A folder or a zip file. Raises DataError if it is neither."""
    return ZipStore(path) if path.suffix.lower() == ".zip" else FolderStore(path)


def broken(data: bytes) -> str | None:
    """Why these bytes are no whole picture, or None. OpenCV fills what is missing with grey."""
    if not data:
        return "empty file"
    if data.startswith(_JPEG):
        scan = _jpeg_scan(data)
        # Scan data cannot hold FF D9 (FF is stuffed), so a last FF D9 behind it is the end marker.
        return None if 0 <= scan < data.rfind(b"\xff\xd9") else "truncated JPEG"
    if data.startswith(_PNG):
        return None if _png_ends(data) else "truncated PNG"
    return None


def _png_ends(data: bytes) -> bool:
    """Whether the chain of chunks (length, name, content, checksum) arrives at the last one."""
    at = len(_PNG)
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _jpeg_segments(data: bytes) -> list[tuple[int, int]]:
    """(marker, offset of its payload) up to and including the start of scan."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        found.append((marker, at + 4))
        if marker == 0xDA:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def _jpeg_scan(data: bytes) -> int:
    """Offset of the first scan, -1 if the file ends before it."""
    return next((at for marker, at in _jpeg_segments(data) if marker == 0xDA), -1)


def size_of(data: bytes) -> tuple[int, int] | None:
    """(height, width) from a JPEG's or PNG's header, by decoding for other formats; None if bad."""
    size = _stored_size(data)
    return size if size is not None and min(size) > 0 else None


def _stored_size(data: bytes) -> tuple[int, int] | None:
    if data.startswith(_PNG):
        if data[12:16] != b"IHDR" or len(data) < 24:
            return None
        width, height = struct.unpack(">II", data[16:24])
        return int(height), int(width)
    if data.startswith(_JPEG):
        for marker, at in _jpeg_segments(data):
            # SOF0-SOF15 without DHT (C4), JPG (C8) and DAC (CC).
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 5 <= len(data):
                height, width = struct.unpack(">HH", data[at + 1 : at + 5])
                return int(height), int(width)
        return None
    picture = _decode(data)
    return None if picture is None else (picture.shape[0], picture.shape[1])


def _decode(data: bytes) -> U8 | None:
    if not data:
        return None
    # Annotations are made in stored pixels, so an orientation tag must not turn the picture.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if picture is None else picture.astype(np.uint8, copy=False)


def decode_image(data: bytes, where: str) -> U8:
    """Decode to u8 [H, W, 3] BGR. Raises DataError naming ``where`` if it is not whole."""
    reason = broken(data)
    if reason is not None:
        raise DataError(f"{where}: {reason}", _REPAIR)
    picture = _decode(data)
    if picture is None:
        raise DataError(f"{where}: not a picture that OpenCV can read", _REPAIR)
    return picture
