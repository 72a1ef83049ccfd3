"""MOTChallenge text: ``frame,id,left,top,width,height,score,-1,-1,-1``, frames from 1.

Ground truth, detections (id -1) and tracks are written alike. MOT16 and later end a line of ground
truth with class and visibility instead; both are ignored here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import DataError
from edgemtl.records import F32, I64, Tracks

_HINT = "a line is frame,id,left,top,width,height,score; frames count from 1"
_LARGEST_PX = 1e7
_EXACT = 2**53
"""Up to here float64 holds every whole number."""


@dataclass(frozen=True, slots=True)
class MotFrame:
    """One frame: ids i64 [N] (-1: none), boxes_src f32 [N, 4] xyxy, scores f32 [N]."""

    ids: I64
    boxes_src: F32
    scores: F32


@dataclass(frozen=True, slots=True)
class MotFile:
    """The lines of a file by frame, in the file's order; ``frame`` i64 [L] ascending, from 1."""

    frame: I64
    ids: I64
    boxes_src: F32
    scores: F32

    @property
    def last(self) -> int:
        """The number of the last frame that has a line; 0 for an empty file."""
        return int(self.frame[-1]) if len(self.frame) else 0

    def at(self, number: int) -> MotFrame:
        """Frame ``number`` (from 1), empty if no line names it."""
        start, stop = np.searchsorted(self.frame, [number, number + 1])
        here = slice(int(start), int(stop))
        return MotFrame(self.ids[here], self.boxes_src[here], self.scores[here])

    def frames(self, last: int | None = None) -> Iterator[tuple[int, MotFrame]]:
        """(number, frame) of every frame from 1 to ``last``, also of those without lines."""
        for number in range(1, (self.last if last is None else last) + 1):
            yield number, self.at(number)


def read_mot(path: Path) -> MotFile:
    """Read MOTChallenge text; a missing seventh column is score 1.

    Raises DataError, with file and line, for the first line that is none. An empty file is a file
    without lines.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file", _HINT) from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            rows.append(_parse(line, f"{path}:{number}"))
    table = np.array(rows, np.float64).reshape(-1, 7)
    table = table[np.argsort(table[:, 0], kind="stable")]
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
    return MotFile(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        corners.astype(np.float32),
        table[:, 6].astype(np.float32),
    )


def _parse(line: str, where: str) -> list[float]:
    """The first seven values of a line. Raises DataError if they cannot be meant."""

    def refuse(what: str) -> DataError:
        return DataError(f"{where}: {what}: '{line.strip()[:60]}'", _HINT)

    try:
        values = [float(value) for value in line.split(",")[:7]]
    except ValueError:
        raise refuse("not numbers separated by commas") from None
    if len(values) == 6:
        values.append(1.0)
    if len(values) < 7:
        raise refuse(f"expected at least 6 values, got {len(values)}")
    if not all(map(math.isfinite, values)):
        raise refuse("a value is not finite")
    frame, identity, _, _, width, height, _ = values
    if frame % 1 or identity % 1 or not 1 <= frame <= _EXACT or abs(identity) > _EXACT:
        raise refuse("frame and id must be whole numbers, frames from 1")
    if width < 0 or height < 0:
        raise refuse("width and height must not be negative")
    if max(map(abs, values[2:6])) > _LARGEST_PX:
        raise refuse(f"a box lies beyond {_LARGEST_PX:.0e} pixels")
    return values


def mot_lines(number: int, tracks: Tracks) -> str:
    """The lines of frame ``number`` (from 1), each with its newline."""
    return "".join(
        _line(number, identity, box, score)
        for identity, box, score in zip(
            tracks.track_ids.tolist(), tracks.boxes_src, tracks.scores.tolist(), strict=True
        )
    )


def _line(number: int, identity: int, box: NDArray[np.float32], score: float) -> str:
    x1, y1, x2, y2 = box.tolist()
    place = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
    return f"{number},{identity},{place},{score:.4f},-1,-1,-1\n"
