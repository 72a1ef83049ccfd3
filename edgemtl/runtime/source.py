"""Where frames come from: a video, a folder of pictures, a camera, a stream."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol
from urllib.request import url2pathname

from edgemtl.data.images import StoreImages
from edgemtl.data.store import SUFFIXES, FolderStore, decode_image
from edgemtl.errors import DataError, SourceError
from edgemtl.records import Frame
from edgemtl.runtime.capture import silence_opencv
from edgemtl.runtime.live import LiveSource
from edgemtl.runtime.video import DEFAULT_FPS, VideoSource

Policy = Literal["all", "latest"]
_HINT = "name a video file, a folder of images, a camera (0, /dev/video0) or a URL"


class Source(Protocol):
    """Frames in order. ``length`` is None where nobody knows; ``warning`` says what went wrong
    without being an error; ``dropped`` counts frames that were never handed out."""

    fps: float
    length: int | None
    live: bool
    dropped: int
    warning: str | None

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Free the file or device. Safe to call twice, and while another thread reads."""
        ...


def open_source(spec: str, *, policy: Policy | None = None) -> Source:
    """Open a video file, an image or a folder of images, a camera (``0``, ``/dev/video0``) or a
    URL (``rtsp://``, ``http://``).

    ``policy``: ``latest`` hands out the newest frame and counts the others as dropped; default
    for cameras and streams, only possible there; a file on a server gives ``all``. Raises
    SourceError, before anything is written.
    """
    silence_opencv()
    text = str(spec)
    if text.startswith("file://"):
        text = url2pathname(text.removeprefix("file://"))
    digits = re.fullmatch(r"\d+", text) is not None and not os.path.exists(text)
    if digits or text.startswith("/dev/video"):
        return LiveSource(_camera(text), text, policy or "latest")
    if re.match(r"[a-z][a-z0-9+.-]*://", text):
        return LiveSource(text, text, policy)
    if policy == "latest":
        raise SourceError(
            f"source: '{text}' is a file; the policy 'latest' is for cameras and streams",
            "leave the policy out: every frame of a file is processed",
        )
    path = Path(text)
    if not text or not os.path.exists(path):  # pathlib's raises for names that are too long
        raise SourceError(f"source: '{text}' does not exist", _HINT)
    try:
        if path.is_dir():
            return FolderSource(path)
        if path.suffix.lower() in SUFFIXES:
            return FolderSource(path.parent, (path.name,))
        return VideoSource(path)
    except DataError as error:
        raise SourceError(f"source: {error.message}", error.hint or _HINT) from error


def _camera(text: str) -> int | str:
    if text.isdecimal():
        if not Path(f"/dev/video{text}").exists() and Path("/dev").is_dir():
            raise SourceError(
                f"source: there is no camera {text} (no /dev/video{text})",
                "'edgemtl doctor' lists the cameras",
            )
        return int(text)
    if not Path(text).exists():
        raise SourceError(f"source: there is no camera '{text}'", "'edgemtl doctor' lists them")
    return text


class FolderSource:
    """Pictures of a folder, sorted by name, as if filmed at DEFAULT_FPS; Frame.file names each.

    A broken picture is skipped and told about in ``warning``; SourceError is raised if all are.
    """

    live = False
    dropped = 0

    def __init__(self, folder: Path, names: tuple[str, ...] | None = None) -> None:
        store = FolderStore(folder)
        self._store = store
        self._names = tuple(store.names()) if names is None else names
        self.fps = DEFAULT_FPS
        self.length: int | None = len(self._names)
        self.warning: str | None = None
        if names is None:
            StoreImages(store)  # refuses a folder without pictures
        else:
            decode_image(store.read(names[0]), store.label(names[0]))

    def __iter__(self) -> Iterator[Frame]:
        broken: list[str] = []
        for index, name in enumerate(self._names):
            try:
                pixels = self._store.image(name)
            except DataError as error:
                broken.append(error.message)
                self.warning = f"{len(broken)} broken pictures skipped, first: {broken[0]}"
                continue
            pts_ns = round(index * 1e9 / self.fps)
            yield Frame(pixels, index, pts_ns, time.monotonic_ns(), file=self._store.label(name))
        if len(broken) == len(self._names):
            raise SourceError(
                f"source: none of {len(broken)} pictures can be decoded, first: {broken[0]}",
                "replace the files",
            )

    def close(self) -> None:
        """Nothing is kept open."""
