"""OpenCV's video capture, safe to release while another thread reads, and quiet."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from edgemtl.records import U8

URL_TIMEOUT_MS = 5000


def silence_opencv() -> None:
    """Broken files end as one error line of ours; OpenCV and FFmpeg print theirs unasked."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)


@contextmanager
def muted() -> Iterator[None]:
    """Nothing of the block reaches stderr: OpenCV's FFmpeg writers print there unconditionally."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Capture:
    """One opened video, camera or stream."""

    def __init__(self, target: str | int) -> None:
        if isinstance(target, str) and "://" in target:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
            options = [value for limit in limits for value in (limit, URL_TIMEOUT_MS)]
            self._capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, options)
        else:
            self._capture = cv2.VideoCapture(target)
        self._lock = threading.Lock()

    @property
    def opened(self) -> bool:
        with self._lock:
            return bool(self._capture.isOpened())

    @property
    def fps(self) -> float | None:
        """Frames per second, or None if the container does not say anything sensible."""
        with self._lock:
            value = float(self._capture.get(cv2.CAP_PROP_FPS))
        return value if 0 < value <= 1000 else None

    @property
    def frames(self) -> int | None:
        """How many frames the container announces."""
        with self._lock:
            value = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return int(value) if 0 < value < 1e9 else None

    def read(self) -> tuple[U8, float] | None:
        """The next frame u8 [H, W, 3] BGR and its time in ms; None at the end."""
        with self._lock:
            if not self._capture.isOpened():
                return None
            try:
                good, pixels = self._capture.read()
            except cv2.error:
                return None
            # FFmpeg's backend gives the time of the frame read last
            time_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        if not good or pixels is None:
            return None
        return pixels.astype(np.uint8, copy=False), time_ms

    def release(self) -> None:
        with self._lock:
            self._capture.release()
