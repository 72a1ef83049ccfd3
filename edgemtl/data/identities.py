"""Whom a network was trained on, so that an evaluation can tell old acquaintances from strangers.

An identity is a number within one source of annotations: two data sets that take frames of one
file share its identities, two files share none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import DataSet
from edgemtl.manifest import IdentitySource
from edgemtl.records import I64


def file_source(path: Path) -> str:
    """The name of an annotation file's identities: by its content, wherever it lies."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def trained_identities(sets: Iterable[DataSet]) -> tuple[IdentitySource, ...]:
    """The identities that training on ``sets`` shows; sets that are never drawn do not count."""
    found: dict[str, set[int]] = {}
    for data in sets:
        if data.identity_source is not None and "embed" in data.tasks and data.weight > 0:
            found.setdefault(data.identity_source, set()).update(data.identities())
    return tuple(
        IdentitySource(source=source, ranges=_ranges(numbers))
        for source, numbers in sorted(found.items())
        if numbers
    )


def _ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """First and last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return tuple(runs)


class Acquaintances:
    """Which identities of one data set a model was trained on."""

    def __init__(self, trained: Iterable[IdentitySource], source: str) -> None:
        ranges = [r for known in trained if known.source == source for r in known.ranges]
        self._ranges = np.array(ranges, np.int64).reshape(-1, 2)

    def seen(self, identities: I64) -> NDArray[np.bool_]:
        """bool [N] for identities i64 [N]."""
        first, last = self._ranges[:, 0], self._ranges[:, 1]
        inside = (identities[:, None] >= first) & (identities[:, None] <= last)
        return np.asarray(inside.any(1), np.bool_)
