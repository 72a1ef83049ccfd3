"""How fast sessions are on this host: they take turns, so that all see the same machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from edgemtl.engine.session import Session

Name = TypeVar("Name", bound=str)

_WARM_UP = 5


def time_sessions(sessions: Mapping[Name, Session], rounds: int) -> dict[Name, list[float]]:
    """Milliseconds of one picture through each network, batch 1; who begins changes each round."""
    rng = np.random.default_rng(0)
    taken: dict[Name, list[float]] = {name: [] for name in sessions}
    pictures = {}
    for name, session in sessions.items():
        spec = session.manifest.input
        low = 0 if spec.dtype == "uint8" else -128
        pictures[name] = rng.integers(low, low + 256, (1, 3, *spec.size_hw)).astype(spec.dtype)
    for number in range(_WARM_UP + rounds):
        for name in list(sessions)[:: 1 if number % 2 else -1]:
            started = time.perf_counter()
            sessions[name].infer(pictures[name])
            if number >= _WARM_UP:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return taken
