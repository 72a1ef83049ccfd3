"""Pictures without annotations: a folder, a zip or a video, by index."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgemtl.data.store import SUFFIXES, Store, open_store
from edgemtl.data.video import VideoFrames, count_frames
from edgemtl.errors import DataError
from edgemtl.records import U8

MAX_VIDEO_FRAMES = 512


class ImageSource(Protocol):
    """Pictures by index."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> U8:
        """u8 [H, W, 3] BGR. Raises DataError, naming the file, if it is broken."""
        ...

    def file(self, index: int) -> str:
        """What to call the picture in reports."""
        ...


class StoreImages:
    """The pictures of a folder or a zip, sorted by name."""

    def __init__(self, store: Store) -> None:
        self._store, self._names = store, store.names()
        if not self._names:
            kinds = ", ".join(sorted(SUFFIXES))
            raise DataError(f"images: no pictures in '{store.where}'", f"looked for {kinds}")

    def __len__(self) -> int:
        return len(self._names)

    def image(self, index: int) -> U8:
        return self._store.image(self._names[index])

    def file(self, index: int) -> str:
        return self._store.label(self._names[index])


class VideoImages:
    """At most MAX_VIDEO_FRAMES frames of a video file, evenly spread; ``fps`` is theirs."""

    def __init__(self, path: Path) -> None:
        count, _, fps = count_frames(path)
        self._path = path
        self._step = max(1, -(-count // MAX_VIDEO_FRAMES))
        self.fps = fps / self._step
        self._frames = VideoFrames(path, 0, count, step=self._step)

    def __len__(self) -> int:
        return len(self._frames)

    def image(self, index: int) -> U8:
        return self._frames.image(index)

    def file(self, index: int) -> str:
        return f"{self._path}#{index * self._step}"


def open_images(path: Path) -> ImageSource:
    """A folder, a .zip or a video file. Raises DataError if it is none of them, or is empty."""
    path = Path(path)
    if not path.exists():
        raise DataError(f"images: '{path}' does not exist", "name a folder, a zip or a video")
    if path.is_dir() or path.suffix.lower() == ".zip":
        return StoreImages(open_store(path))
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"images: '{path}' is one picture", f"name its folder: {path.parent}")
    return VideoImages(path)
