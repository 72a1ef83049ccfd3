"""The tracker alone, over a MOTChallenge detection file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import ConfigError, DataError
from edgemtl.files import atomic_path, keep
from edgemtl.records import Detections, Tracks
from edgemtl.track import Tracker
from edgemtl.track.presets import AnyTracker, AnyTrackerConfig, make_tracker
from edgemtl.track_file import MotFile, MotFrame, mot_lines, read_mot

_LONGEST = 10_000_000
"""Frames; a larger number is a broken line, not a sequence (eleven days at ten a second)."""


def track_file(
    detections: Path,
    out: Path,
    fps: float,
    size_hw: tuple[int, int] | None,
    config: AnyTrackerConfig,
    camera: Path | None = None,
) -> dict[str, Any]:
    """Track ``detections`` and write MOTChallenge lines to ``out``, whole or not at all.

    Every frame from 1 to the last is a step, also one without detections. ``size_hw`` None: the
    frame is as large as the boxes span. ``camera``: a file of the camera's motion, see
    ``read_camera``. Raises DataError, naming file and line, ConfigError for a tracker that knows
    no camera, or OutputError.
    """
    keep({"file of detections": detections, "camera's file": camera}, (out,), "name another --out")
    motion = {} if camera is None else read_camera(camera)
    with atomic_path(out) as temporary:
        found = read_mot(detections)
        if not 0 < found.last <= _LONGEST:
            raise DataError(
                f"{detections}: expected 1 to {_LONGEST} frames with detections, got {found.last}",
                "a line is frame,id,left,top,width,height,score; frames count from 1",
            )
        size_hw = size_hw or _span(found)
        tracker = make_tracker(config, capacity=_capacity(found))
        if camera is not None and not isinstance(tracker, Tracker):
            raise ConfigError(
                "--camera: expected the tracker 'edgemtl', got one that knows no camera",
                "leave out --tracker or --camera",
            )
        identities: set[int] = set()
        boxes = 0
        with temporary.open("w", encoding="utf-8") as file:
            for number, frame in found.frames():
                pts_ns = round((number - 1) * 1e9 / fps)
                tracks = _step(tracker, _detections(frame), pts_ns, size_hw, motion.get(number))
                identities.update(tracks.track_ids.tolist())
                boxes += len(tracks)
                file.write(mot_lines(number, tracks))
    return {
        "frames": found.last,
        "detections": len(found.frame),
        "tracks": len(identities),
        "boxes": boxes,
        "size_hw": size_hw,
        "out": out,
    }


def _step(
    tracker: AnyTracker,
    found: Detections,
    pts_ns: int,
    size_hw: tuple[int, int],
    camera: NDArray[np.float64] | None,
) -> Tracks:
    if camera is None or not isinstance(tracker, Tracker):
        return tracker.step(found, pts_ns, size_hw)
    return tracker.step(found, pts_ns, size_hw, camera)


def read_camera(path: Path) -> dict[int, NDArray[np.float64]]:
    """Frame, from 1 -> f64 [2, 3] that takes a still point of the frame before to this one.

    The k-th line belongs to the k-th frame: the six numbers row by row, with or without a number of
    the frame before them. Raises DataError, naming file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", "check the path") from error
    return {
        number: _matrix(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    }


def _matrix(line: str, where: str) -> NDArray[np.float64]:
    """The motion [2, 3] of one line. Raises DataError, naming ``where``."""
    hint = "a line is m00 m01 m02 m10 m11 m12, or these after a frame number"
    try:
        values = np.array([float(word) for word in line.replace(",", " ").split()])
    except ValueError as error:
        raise DataError(f"{where}: expected numbers, got '{line[:60]}'", hint) from error
    if len(values) not in (6, 7):
        raise DataError(f"{where}: expected 6 or 7 numbers, got {len(values)}", hint)
    matrix = values[-6:].reshape(2, 3)
    zoom = abs(float(np.linalg.det(matrix[:, :2]))) if np.isfinite(matrix).all() else 0.0
    if not 1e-4 < zoom < 1e4 or np.abs(matrix[:, 2]).max() > 1e6:
        raise DataError(f"{where}: expected a camera's motion, got '{line[:60]}'", hint)
    return matrix


def _span(found: MotFile) -> tuple[int, int]:
    """(height, width) that holds all boxes."""
    width, height = found.boxes_src[:, 2:].max(0).tolist()
    return max(1, math.ceil(height)), max(1, math.ceil(width))


def _capacity(found: MotFile) -> int:
    """Room for the fullest frame twice over: tracks live on for a while when objects leave."""
    return max(1024, 2 * int(np.unique(found.frame, return_counts=True)[1].max()))


def _detections(frame: MotFrame) -> Detections:
    return Detections(frame.boxes_src, frame.scores, np.zeros(len(frame.ids), np.int32))
