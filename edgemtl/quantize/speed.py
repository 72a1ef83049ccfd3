"""How fast models are on this host: they take turns, so that all see the same machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.engine.ort import OrtSession
from edgemtl.engine.timing import time_loads


@dataclass(frozen=True, slots=True)
class Speed:
    """Latency of one picture through the network, in ms; ``size_bytes`` of the file."""

    p50_ms: float
    p95_ms: float
    size_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def time_models(
    paths: Mapping[str, Path], threads: int | None = None, rounds: int = 60, loads: int = 6
) -> dict[str, Speed]:
    """Batch 1 on ONNX Runtime, all models in turns, whoever begins changing from round to round.

    The ``rounds`` are spread over ``loads`` of the models (see ``time_loads``).
    """
    makers = {name: partial(OrtSession, path, threads=threads) for name, path in paths.items()}
    taken = time_loads(makers, math.ceil(rounds / loads), loads)
    return {
        name: Speed(float(np.median(ms)), float(np.percentile(ms, 95)), paths[name].stat().st_size)
        for name, ms in taken.items()
    }
