"""Going through data sets for a limited time, evenly: what time leaves out is spread over all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from edgemtl.progress import track

T = TypeVar("T")
_FIRST = 64  # pictures of each set at most, before any set's turn comes again
_BLOCK = 32
_MOST_THREADS = 4


def coarse_to_fine(lengths: Sequence[int]) -> Iterator[tuple[int, range]]:
    """(set, indices): a few of each set, evenly, then those between, until all were there.

    By turns, so that a large set does not keep the small ones waiting. Indices ascend within a
    range, since neighbours are cheap to read in videos and worlds.
    """
    passes = [_passes(length) for length in lengths]
    for level in range(max(map(len, passes), default=0)):
        for which, own in enumerate(passes):
            if level < len(own):
                yield which, own[level]


def _passes(length: int) -> list[range]:
    stride = 1
    while length > stride * _FIRST:
        stride *= 2
    passes = [range(0, length, stride)]
    while stride > 1:
        passes.append(range(stride // 2, length, stride))
        stride //= 2
    return passes


def visit(
    lengths: Sequence[int], work: Callable[[int, int], T], seconds: float, what: str
) -> Iterator[tuple[int, int, T]]:
    """(set, index, result of ``work(set, index)``) in that order, until the time is over.

    Results come from a few threads, a block at a time: memory stays bounded.
    """
    until = time.monotonic() + seconds

    def blocks() -> Iterator[tuple[int, range]]:
        for which, indices in coarse_to_fine(lengths):
            for start in range(0, len(indices), _BLOCK):
                if time.monotonic() >= until:
                    return
                yield which, indices[start : start + _BLOCK]

    def results() -> Iterator[tuple[int, int, T]]:
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
            for which, indices in blocks():
                done = pool.map(work, [which] * len(indices), indices)
                for index, result in zip(indices, done, strict=True):
                    yield which, index, result

    yield from track(results(), what, sum(lengths))
