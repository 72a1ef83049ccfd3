"""A model and a clip that the runtime's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from small_files import write_clip
from tiny_model import write_tiny

from edgemtl.engine.ort import OrtSession


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def session(tiny: Path) -> Iterator[OrtSession]:
    """One session for all tests: a run that fails must leave it fit for the next."""
    with closing(OrtSession(tiny, threads=1)) as session:
        yield session


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("video") / "clip.avi", 12)
