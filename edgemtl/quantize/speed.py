"""How fast models are on this host: they take turns, so that all see the same machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.engine.ort import OrtSession

_WARM_UP = 5


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
    taken: dict[str, list[float]] = {name: [] for name in paths}
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        calls = {}
        for name, path in paths.items():
            session = stack.enter_context(closing(OrtSession(path, threads=threads)))
            spec = session.manifest.input
            low = 0 if spec.dtype == "uint8" else -128
            picture = rng.integers(low, low + 256, (1, 3, *spec.size_hw)).astype(spec.dtype)
            calls[name] = (session, picture)
        for number in range(_WARM_UP + rounds):
            order = list(calls)[:: 1 if number % 2 else -1]
            for name in order:
                session, picture = calls[name]
                started = time.perf_counter()
                session.infer(picture)
                if number >= _WARM_UP:
                    taken[name].append(1e3 * (time.perf_counter() - started))
    return {
        name: Speed(float(np.median(ms)), float(np.percentile(ms, 95)), paths[name].stat().st_size)
        for name, ms in taken.items()
    }
