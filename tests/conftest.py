"""Where the shared real data lie, and a machine with a GPU in small."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fake_builder import FakeBuild

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept for the next run stays out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that EDGEMTL_DATA names, or ``shared/data`` beside the repository."""
    root = Path(os.environ.get("EDGEMTL_DATA") or _BESIDE)
    if not root.is_dir():
        pytest.skip(f"real data absent: {root} (set EDGEMTL_DATA to the folder that holds them)")
    return root


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeBuild:
    """A machine with a GPU and TensorRT 10; its cache folder is ``tmp_path/cache``."""
    from fake_builder import add_builder
    from fake_gpu import install_gpu

    install_gpu(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return add_builder(sys.modules["tensorrt"])
