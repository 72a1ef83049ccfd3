"""The tracker alone, over a MOTChallenge detection file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.errors import DataError
from edgemtl.files import atomic_path
from edgemtl.records import Detections
from edgemtl.track.presets import AnyTrackerConfig, make_tracker
from edgemtl.track_file import MotFile, MotFrame, mot_lines, read_mot

_LONGEST = 10_000_000
"""Frames; a larger number is a broken line, not a sequence (eleven days at ten a second)."""


def track_file(
    detections: Path,
    out: Path,
    fps: float,
    size_hw: tuple[int, int] | None,
    config: AnyTrackerConfig,
) -> dict[str, Any]:
    """Track ``detections`` and write MOTChallenge lines to ``out``, whole or not at all.

    Every frame from 1 to the last is a step, also one without detections. ``size_hw`` None: the
    frame is as large as the boxes span. Raises DataError, naming file and line, or OutputError.
    """
    with atomic_path(out) as temporary:
        found = read_mot(detections)
        if not 0 < found.last <= _LONGEST:
            raise DataError(
                f"{detections}: expected 1 to {_LONGEST} frames with detections, got {found.last}",
                "a line is frame,id,left,top,width,height,score; frames count from 1",
            )
        size_hw = size_hw or _span(found)
        tracker = make_tracker(config, capacity=_capacity(found))
        identities: set[int] = set()
        boxes = 0
        with temporary.open("w", encoding="utf-8") as file:
            for number, frame in found.frames():
                pts_ns = round((number - 1) * 1e9 / fps)
                tracks = tracker.step(_detections(frame), pts_ns, size_hw)
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


def _span(found: MotFile) -> tuple[int, int]:
    """(height, width) that holds all boxes."""
    width, height = found.boxes_src[:, 2:].max(0).tolist()
    return max(1, math.ceil(height)), max(1, math.ceil(width))


def _capacity(found: MotFile) -> int:
    """Room for the fullest frame twice over: tracks live on for a while when objects leave."""
    return max(1024, 2 * int(np.unique(found.frame, return_counts=True)[1].max()))


def _detections(frame: MotFrame) -> Detections:
    return Detections(frame.boxes_src, frame.scores, np.zeros(len(frame.ids), np.int32))
