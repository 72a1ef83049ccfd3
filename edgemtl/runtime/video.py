"""Frames of a video file, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgemtl.data.video import MOST_MISSED, open_video
from edgemtl.errors import DataError, SourceError
from edgemtl.records import U8, Frame
from edgemtl.runtime.capture import Capture

DEFAULT_FPS = 25.0


class VideoSource:
    """All frames of a video file, with the times that the container gives them.

    Frames that cannot be decoded are left out, and keep their number; a file that ends before the
    frames that it announces is run as far as it goes. ``warning`` then says so. Raises SourceError
    for files without a frame that can be decoded.
    """

    live = False
    dropped = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            open_video(path).release()  # refuses missing, empty and text files with a reason
        except DataError as error:
            raise SourceError(f"source: {error.message}", error.hint) from error
        self._capture = Capture(str(path))
        self.fps = self._capture.fps or DEFAULT_FPS
        self.length = self._capture.frames
        self.warning: str | None = None
        self._first = self._capture.read()
        if self._first is None:
            self._capture.release()
            raise SourceError(
                f"source: video '{path}' has no frame that can be decoded",
                "it is damaged or was cut off; copy or record it again",
            )
        height, width = self._first[0].shape[:2]
        self.size_hw = (height, width)

    def __iter__(self) -> Iterator[Frame]:
        index, last_ns, given, missed = 0, -1, 0, 0
        found, self._first = self._first or self._capture.read(), None
        while found is not None or self._may_go_on(index, missed):
            if found is None:
                missed += 1
            else:
                pixels, time_ms = found
                last_ns = stamp(index, time_ms, last_ns, self.fps)
                yield Frame(self._fit(pixels), index, last_ns, time.monotonic_ns())
                given, missed = given + 1, 0
            index += 1
            found = self._capture.read()
        if self.length is not None and given < self.length:
            self.warning = (
                f"video '{self._path}' announces {self.length} frames, {given} could be decoded"
            )

    def _may_go_on(self, index: int, missed: int) -> bool:
        """Whether more of the file may follow what could not be decoded."""
        return self.length is not None and index < self.length and missed < MOST_MISSED

    def _fit(self, pixels: U8) -> U8:
        """A stream may change its size on the way; sinks and tracker keep the first one's."""
        if pixels.shape[:2] == self.size_hw:
            return pixels
        return np.asarray(cv2.resize(pixels, self.size_hw[::-1]), np.uint8)

    def close(self) -> None:
        self._capture.release()


def stamp(index: int, time_ms: float, last_ns: int, fps: float) -> int:
    """The frame's media time in ns: the container's where it is finite and increases, else by rate.

    Some containers give 0, a negative time or the same time twice; time must never stand still.
    """
    by_rate = round(index * 1e9 / fps)
    if np.isfinite(time_ms) and time_ms >= 0:
        given = round(time_ms * 1e6)
        if given > last_ns:
            return given
    return max(by_rate, last_ns + round(1e9 / fps) if index else 0)
