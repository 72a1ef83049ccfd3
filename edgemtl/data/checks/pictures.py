"""What a picture looks like, in a few numbers that can be compared with those of thousands.

``content`` tells whether two pictures have the same pixels. ``gradient`` is a difference hash: the
picture shrunk to 9 x 8 grey cells, one bit for each cell that is darker than its right neighbour.
It survives resizing, recompression and a change of brightness; ``thumb`` then tells the chance
agreements apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import DataSet
from edgemtl.data.checks.visit import visit
from edgemtl.progress import track
from edgemtl.records import U8

_THUMB = 16
_FLAT = 4.0  # standard deviation of the grey levels below which there is nothing to compare
_ALIKE = 15.0  # largest mean difference of two thumbs of one picture, in grey levels
_CHUNK_PAIRS = 1 << 22
U64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Looks:
    """The N pictures of one data set.

    seen bool [N]: looked at; the rest is zero. sizes i32 [N, 2] (height, width); content u64 [N];
    gradient u64 [N]; thumbs u8 [N, 16, 16]; flat bool [N]: nothing in it to compare.
    """

    seen: NDArray[np.bool_]
    sizes: NDArray[np.int32]
    content: U64
    gradient: U64
    thumbs: U8
    flat: NDArray[np.bool_]

    @staticmethod
    def empty(n: int) -> Looks:
        return Looks(
            np.zeros(n, np.bool_),
            np.zeros((n, 2), np.int32),
            np.zeros(n, np.uint64),
            np.zeros(n, np.uint64),
            np.zeros((n, _THUMB, _THUMB), np.uint8),
            np.zeros(n, np.bool_),
        )

    def put(self, index: int, picture: U8) -> None:
        """Note what a picture, u8 [H, W, 3] BGR, looks like."""
        self.keep(index, features(picture))

    def keep(self, index: int, found: tuple[Any, ...]) -> None:
        """Note what :func:`features` said of a picture."""
        self.seen[index] = True
        arrays: list[NDArray[Any]] = [self.sizes, self.content, self.gradient]
        arrays += [self.thumbs, self.flat]
        for array, value in zip(arrays, found, strict=True):
            array[index] = value


def look_at(sets: Sequence[DataSet], seconds: float) -> list[Looks]:
    """Look at the pictures of ``sets`` for at most so long, once their videos are decoded.

    Raises DataError for a broken picture.
    """
    looks = [Looks.empty(len(data)) for data in sets]

    def work(which: int, index: int) -> tuple[Any, ...]:
        return features(sets[which].image(index))

    for data in track(sets, "opening data sets"):
        if len(data):
            data.image(0)  # a video is decoded as a whole: training would wait for it as well
    lengths = [len(data) for data in sets]
    for which, index, found in visit(lengths, work, seconds, "looking at pictures"):
        looks[which].keep(index, found)
    return looks


def features(picture: U8) -> tuple[tuple[int, int], np.uint64, np.uint64, U8, bool]:
    """Size (height, width), content, gradient, thumb and flatness of u8 [H, W, 3] BGR."""
    size = (picture.shape[0], picture.shape[1])
    pixels = np.ascontiguousarray(picture)
    digest = hashlib.blake2b(pixels.data, digest_size=8, key=repr(size).encode()).digest()
    small = cv2.resize(picture, (72, 64), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(cells[:, :-1] < cells[:, 1:])
    thumb = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return (
        size,
        np.frombuffer(digest, np.uint64)[0],
        bits.view(np.uint64)[0],
        np.asarray(thumb, np.uint8),
        float(grey.std()) < _FLAT,
    )


def same_pixels(a: Looks, b: Looks) -> NDArray[np.int64]:
    """Pairs i64 [P, 2] of pictures of ``a`` and ``b`` with equal pixels, one for each of ``a``."""
    at = {int(b.content[k]): int(k) for k in np.flatnonzero(b.seen)[::-1]}
    pairs = [(int(i), at[int(a.content[i])]) for i in np.flatnonzero(a.seen)
             if int(a.content[i]) in at]  # fmt: skip
    return np.array(pairs, np.int64).reshape(-1, 2)


def look_alikes(a: Looks, b: Looks, bits: int) -> NDArray[np.int64]:
    """Pairs i64 [P, 2] of pictures whose gradients differ in at most ``bits`` of 64 bits, and whose
    thumbs agree up to brightness and contrast. Pictures with equal pixels are not among them."""
    ours, theirs = (np.flatnonzero(x.seen & ~x.flat) for x in (a, b))
    pairs = [np.zeros((0, 2), np.int64)]
    step = max(1, _CHUNK_PAIRS // max(1, len(theirs)))
    for start in range(0, len(ours), step):
        part = ours[start : start + step]
        distance = count_bits(a.gradient[part][:, None] ^ b.gradient[theirs][None])
        rows, columns = np.nonzero(distance <= bits)
        i, j = part[rows], theirs[columns]
        keep = (a.content[i] != b.content[j]) & (_apart(a.thumbs[i], b.thumbs[j]) <= _ALIKE)
        pairs.append(np.stack([i[keep], j[keep]], 1))
    return np.concatenate(pairs)


def count_bits(values: U64) -> U8:
    """Number of set bits of each value."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(values), np.uint8)
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(*values.shape, 8)
    return np.asarray(_BITS[octets].sum(-1), np.uint8)


_BITS = np.array([bin(k).count("1") for k in range(256)], np.uint8)


def _apart(a: U8, b: U8) -> NDArray[np.float32]:
    """Mean difference of thumbs [P, 16, 16], both at zero mean and one standard deviation of 50."""
    levelled = []
    for thumbs in (a, b):
        flat = thumbs.reshape(len(thumbs), _THUMB * _THUMB).astype(np.float32)
        flat = flat - flat.mean(1, keepdims=True)
        levelled.append(flat * (50.0 / np.maximum(flat.std(1, keepdims=True), 1e-3)))
    apart: NDArray[np.float32] = np.abs(levelled[0] - levelled[1]).mean(1)
    return apart
