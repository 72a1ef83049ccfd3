"""The tracker alone, over a MOTChallenge detection file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.errors import DataError, OutputError
from edgemtl.files import write_text
from edgemtl.records import Detections
from edgemtl.track import Tracker

_FORMAT = "a line is frame,id,left,top,width,height,score; frames count from 1"


def track_file(
    detections: Path, out: Path, fps: float, size_hw: tuple[int, int] | None
) -> dict[str, Any]:
    """Track ``detections`` and write MOTChallenge lines to ``out``, whole or not at all.

    Every frame from 1 to the last is a step, also one without detections. ``size_hw`` None: the
    frame is as large as the boxes span. Raises DataError, naming file and line, or OutputError.
    """
    if not out.parent.is_dir():
        raise OutputError(f"output folder '{out.parent}' does not exist", f"mkdir -p {out.parent}")
    rows = read_detections(detections)
    if size_hw is None:
        span = (rows[:, 2:4] + rows[:, 4:6]).max(0)
        size_hw = (max(1, math.ceil(span[1])), max(1, math.ceil(span[0])))
    last = int(rows[:, 0].max())
    by_frame = np.split(rows, np.searchsorted(rows[:, 0], np.arange(2, last + 1)))
    tracker = Tracker(capacity=max(1024, 2 * max(len(frame) for frame in by_frame)))
    lines: list[str] = []
    identities: set[int] = set()
    for number, frame in enumerate(by_frame, start=1):
        tracks = tracker.step(_detections(frame), round((number - 1) * 1e9 / fps), size_hw)
        identities.update(tracks.track_ids.tolist())
        for identity, box, score in zip(
            tracks.track_ids, tracks.boxes_src, tracks.scores, strict=True
        ):
            x1, y1, x2, y2 = box.tolist()
            lines.append(
                f"{number},{identity},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f}"
                ",-1,-1,-1"
            )
    write_text(out, "".join(line + "\n" for line in lines))
    return {
        "frames": last,
        "detections": len(rows),
        "tracks": len(identities),
        "boxes": len(lines),
        "size_hw": size_hw,
        "out": out,
    }


def read_detections(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """f64 [N, 7]: frame, id, left, top, width, height, score, sorted by frame (stable)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file", _FORMAT) from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = [float(value) for value in line.split(",")[:7]]
        except ValueError:
            row = []
        if len(row) != 7 or not all(map(math.isfinite, row)) or row[0] < 1 or row[0] % 1:
            raise DataError(f"{path}:{number}: not a detection: '{line[:60]}'", _FORMAT)
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: no detections", _FORMAT)
    array = np.array(rows)
    return array[np.argsort(array[:, 0], kind="stable")]


def _detections(rows: np.ndarray[Any, np.dtype[np.float64]]) -> Detections:
    corners = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    return Detections(
        corners.astype(np.float32), rows[:, 6].astype(np.float32), np.zeros(len(rows), np.int32)
    )
