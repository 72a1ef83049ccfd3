"""Which pictures calibrate, which ones judge, and a hash that says which they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgemtl import ops
from edgemtl.errors import CalibrationError
from edgemtl.manifest import InputSpec
from edgemtl.records import U8


class ImageSource(Protocol):
    """Pictures by index: what ``edgemtl.data.images.open_images`` returns, or a data set."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> U8:
        """The picture, u8 [H, W, 3] BGR; raises DataError, naming the file, if it is broken."""
        ...

    def file(self, index: int) -> str:
        """What to call it in reports."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """Disjoint indices: ``calibrate`` sets the ranges, ``held_out`` judges the result."""

    calibrate: tuple[int, ...]
    held_out: tuple[int, ...]


def split_images(total: int, limit: int, held_out: int) -> Split:
    """At most ``limit`` pictures to calibrate with and ``held_out`` to judge, evenly spread.

    A fifth of a small set is held out, nothing of a set below five pictures. Deterministic.
    Raises CalibrationError for an empty set.
    """
    if total < 1:
        raise CalibrationError(
            "images: expected at least one picture to calibrate with, found none",
            "name a folder, a video or a zip file with pictures as the device will see them",
        )
    judges = min(held_out, total // 5)
    count = min(total, limit + judges)
    chosen = np.linspace(0, total - 1, count).round().astype(int)
    # the judges sit in the middle of equal stretches, so both sets span the whole source
    positions = ((np.arange(judges) + 0.5) * count / max(judges, 1)).astype(int)
    is_judge = np.zeros(count, bool)
    is_judge[positions] = True
    return Split(tuple(chosen[~is_judge].tolist()), tuple(chosen[is_judge].tolist()))


@dataclass
class ImageBatches:
    """Letterboxed network inputs of some pictures, and the hash of their contents.

    Iterating yields arrays [n, 3, h, w] in the spec's dtype, n <= ``batch``; the array is reused.
    """

    source: ImageSource
    indices: Sequence[int]
    spec: InputSpec
    batch: int = 1
    _digests: dict[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return (len(self.indices) + self.batch - 1) // self.batch

    def __iter__(self) -> Iterator[NDArray[Any]]:
        shape = (self.batch, 3, *self.spec.size_hw)
        buffer = np.empty(shape, np.dtype(self.spec.dtype))
        for start in range(0, len(self.indices), self.batch):
            part = self.indices[start : start + self.batch]
            for slot, index in enumerate(part):
                image = np.ascontiguousarray(self.source.image(index))
                self._digests[index] = _digest(image)
                ops.letterbox(image, buffer[slot], self.spec)
            yield buffer[: len(part)]

    @property
    def content_sha256(self) -> str:
        """Hash over the sorted hashes of the pictures seen: independent of order and file names."""
        return hashlib.sha256(b"".join(sorted(self._digests.values()))).hexdigest()

    @property
    def copies(self) -> int:
        """How many of the pictures seen are copies of others among them."""
        return len(self._digests) - len(set(self._digests.values()))


def _digest(image: U8) -> bytes:
    head = f"{image.shape[0]}x{image.shape[1]} bgr".encode()
    return hashlib.sha256(head + image.tobytes()).digest()
