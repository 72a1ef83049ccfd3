"""Tests of a real GPU: skipped, with the reason, where something is missing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edgemtl.engine.gpu import find_gpu


def why_no_cuda() -> str:
    """Why memory and streams cannot be used here, or nothing."""
    if find_gpu() is None:
        return "no NVIDIA GPU"
    return "" if find_spec("pycuda") is not None else "pycuda is not installed"


def why_no_engine() -> str:
    """Why an engine cannot be built and run here, or nothing."""
    packages = (find_spec("tensorrt"), find_spec("tensorrt_rtx"))
    if any(spec is not None and spec.origin is not None for spec in packages):
        return why_no_cuda()
    return why_no_cuda() or "neither tensorrt nor tensorrt_rtx is installed"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.gpu)
        reason = why_no_cuda() if "cuda" in item.path.stem else why_no_engine()
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
