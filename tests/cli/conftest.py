"""A command line run in this process, and small files to run it on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny

from edgemtl.cli import invoke


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


Cli = Callable[..., Done]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Done:
        capfd.readouterr()
        code = invoke([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")


def pictures(count: int, size_hw: tuple[int, int] = (48, 96)) -> Sequence[np.ndarray]:
    """Smooth seeded pictures with a block that moves."""
    rng = np.random.default_rng(5)
    height, width = size_hw
    ground = cv2.resize(rng.integers(0, 255, (6, 12, 3), dtype=np.uint8), (width, height))
    frames = []
    for index in range(count):
        frame = ground.copy()
        frame[10:30, 4 + 2 * index : 24 + 2 * index] = (40, 200, 90)
        frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    for index, picture in enumerate(pictures(6)):
        cv2.imwrite(str(path / f"{index:03d}.png"), picture)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 48))
    for picture in pictures(12):
        writer.write(picture)
    writer.release()
    return path
