"""How fast models are on this host: they take turns, so that all see the same machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.engine.ort import OrtSession
from edgemtl.engine.timing import time_sessions


@dataclass(frozen=True, slots=True)
class Speed:
    """Latency of one picture through the network, in ms; ``size_bytes`` of the file."""

    p50_ms: float
    p95_ms: float
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def time_models(
    paths: Mapping[str, Path], threads: int | None = None, rounds: int = 60
) -> dict[str, Speed]:
    """Batch 1 on ONNX Runtime, all models in turns, whoever begins changing from round to round."""
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(closing(OrtSession(path, threads=threads)))
            for name, path in paths.items()
        }
        taken = time_sessions(sessions, rounds)
    return {
        name: Speed(float(np.median(ms)), float(np.percentile(ms, 95)), paths[name].stat().st_size)
        for name, ms in taken.items()
    }
