"""Readers of the shared tracking data, kept apart from the package's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


class MotText:
    """MOTChallenge text: ``frames[t]`` is (ids i64 [N], boxes f64 [N, 4] xyxy) of frame t + 1."""

    def __init__(self, path: Path, last: int | None = None) -> None:
        rows = np.loadtxt(path, delimiter=",", ndmin=2)
        self.last = last or int(rows[:, 0].max())
        self.frames = []
        for number in range(1, self.last + 1):
            here = rows[rows[:, 0] == number]
            corners = np.concatenate([here[:, 2:4], here[:, 2:4] + here[:, 4:6]], 1)
            self.frames.append((here[:, 1].astype(np.int64), corners))


@pytest.fixture
def mot_text():
    return MotText
