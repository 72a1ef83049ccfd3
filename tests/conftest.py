"""Where the shared real data lie, for the tests that hold the code to recorded figures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that EDGEMTL_DATA names, or ``shared/data`` beside the repository."""
    root = Path(os.environ.get("EDGEMTL_DATA") or _BESIDE)
    if not root.is_dir():
        pytest.skip(f"real data absent: {root} (set EDGEMTL_DATA to the folder that holds them)")
    return root
