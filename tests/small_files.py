"""Pictures with a block that moves, and small videos and folders of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgemtl.records import U8


def pictures(count: int, size_hw: tuple[int, int] = (48, 96)) -> Sequence[U8]:
    """Smooth seeded pictures with a block that moves."""
    rng = np.random.default_rng(5)
    height, width = size_hw
    ground = cv2.resize(rng.integers(0, 255, (6, 12, 3), dtype=np.uint8), (width, height))
    frames = []
    for index in range(count):
        frame = np.asarray(ground, np.uint8).copy()
        frame[10:30, 4 + 2 * index : 24 + 2 * index] = (40, 200, 90)
        frames.append(frame)
    return frames


def write_folder(path: Path, count: int) -> Path:
    """Pictures ``000.png``, ``001.png``, ... in the folder ``path``, which is made."""
    path.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures(count)):
        cv2.imwrite(str(path / f"{index:03d}.png"), picture)
    return path


def write_clip(path: Path, count: int, fps: float = 10.0) -> Path:
    """A motion JPEG video (.avi): every frame for itself."""
    frames = pictures(count)
    size = frames[0].shape[1], frames[0].shape[0]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    for picture in frames:
        writer.write(picture)
    writer.release()
    return path
