"""Random access to the frames of a video file: decoded once, in order, and kept in memory.

Seeking in a video is off by some frames for many codecs, so frames are never sought. They are
kept as PNG (exact) where all of them fit the memory budget, else as JPEG of quality 95 (all of
them, so that no frame of a video is of another quality than its neighbours).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgemtl.errors import DataError
from edgemtl.records import U8

BUDGET_BYTES = 1 << 30
_EXACT = (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1])
_SMALL = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])
_HINT = "give a video file that OpenCV can read, or a folder of its frames"
MOST_MISSED = 300
"""Frames in a row that cannot be decoded, after which the file is taken to be at its end."""


def open_video(path: Path) -> cv2.VideoCapture:
    """Open a video file. Raises DataError if there is none, or if it is text.

    FFmpeg renders text files as if they were ANSI art, so these are looked at first.
    """
    if not path.is_file():
        raise DataError(f"video '{path}' does not exist", "check the path")
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise DataError(f"video '{path}' is empty", _HINT)
    if not any(byte < 9 or 13 < byte < 27 for byte in head):
        raise DataError(f"video '{path}' is a text file", _HINT)
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise DataError(f"video '{path}' cannot be opened", _HINT)
    return capture


def count_frames(path: Path, stop: int | None = None) -> tuple[int, tuple[int, int], float]:
    """(frames that really decode, at most ``stop``; (height, width); frames per second).

    Containers may promise more frames than they hold, so the frames are counted by decoding.
    Raises DataError where frames follow one that cannot be decoded: labels go by number.
    """
    capture = open_video(path)
    try:
        ok, first = capture.read()
        if not ok:
            raise DataError(f"video '{path}' has no frame that can be decoded", _HINT)
        count = 1
        while (stop is None or count < stop) and capture.grab():
            count += 1
        if stop is None or count < stop:
            _prove_end(capture, path, count)
        fps = float(capture.get(cv2.CAP_PROP_FPS))
    finally:
        capture.release()
    return count, (first.shape[0], first.shape[1]), fps if 0 < fps < 1000 else 25.0


def iterate_frames(path: Path) -> Iterator[U8]:
    """All frames in order, u8 [H, W, 3] BGR. Raises DataError as :func:`count_frames` does."""
    capture, count = open_video(path), 0
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                _prove_end(capture, path, count)
                return
            yield frame.astype(np.uint8, copy=False)
            count += 1
    finally:
        capture.release()


def _prove_end(capture: cv2.VideoCapture, path: Path, count: int) -> None:
    """Raise DataError if a frame can be decoded behind frame ``count`` (from 0), which cannot.

    FFmpeg's threads may give up one frame before the damaged one: the number is no exact one.
    """
    promised = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    left = promised - count - 1 if 0 < promised < 1e9 else 0
    for _ in range(min(int(left), MOST_MISSED)):
        if capture.grab():
            raise DataError(
                f"video '{path}': what follows frame {count - 1} is damaged, later frames are not",
                "write it anew (ffmpeg -i OLD NEW), or give a folder of its frames",
            )


class VideoFrames:
    """Frames ``start`` to ``stop`` (from 0, exclusive) of a video file by index; thread-safe.

    The first access decodes them all.
    """

    def __init__(
        self, path: Path, start: int, stop: int, *, step: int = 1, budget: int = BUDGET_BYTES
    ) -> None:
        """``step``: keep every step-th frame only; index 1 is then frame start + step."""
        self.path, self.start, self.stop, self.budget = path, start, stop, budget
        self.step = step
        self._frames: list[bytes] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return (self.stop - self.start + self.step - 1) // self.step

    def image(self, index: int) -> U8:
        """Frame ``start + index * step``, u8 [H, W, 3] BGR."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        with self._lock:
            if self._frames is None:
                self._frames = self._load(*_EXACT) or self._load(*_SMALL)
            if self._frames is None:
                raise DataError(
                    f"{self.path}: {len(self)} frames do not fit {self.budget >> 20} MiB of memory",
                    "extract the frames to a folder and name it with images = ...",
                )
        packed = np.frombuffer(self._frames[index], np.uint8)
        frame = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        if frame is None:
            raise DataError(
                f"{self.path}: frame {self.start + index * self.step} is lost", "free some memory"
            )
        return frame.astype(np.uint8, copy=False)

    def _load(self, suffix: str, flags: list[int]) -> list[bytes] | None:
        """The frames packed; None as soon as they are seen not to fit the budget."""
        packed: list[bytes] = []
        total = 0
        for number, frame in enumerate(iterate_frames(self.path)):
            if number >= self.stop:
                break
            if number < self.start or (number - self.start) % self.step:
                continue
            _, data = cv2.imencode(suffix, frame, flags)
            total += len(data)
            hopeless = suffix == _EXACT[0] and not packed and total * len(self) > self.budget
            if hopeless or total > self.budget:
                return None
            packed.append(data.tobytes())
        if len(packed) != len(self):
            raise DataError(
                f"{self.path}: frames {self.start} to {self.stop - 1} were asked for, it ends at "
                f"{self.start + len(packed) * self.step - 1}",
                "shorten frames = [first, last]",
            )
        return packed
