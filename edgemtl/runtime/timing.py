"""Percentiles of the stages' times."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

STAGES = ("decode", "preprocess", "infer", "postprocess", "track", "sink")
"""In the order of the pipeline; times of one frame overlap those of its neighbours."""


_KEPT = 100_000


class StageTimes:
    """Collects times in nanoseconds, of the last frames: a camera may run for weeks."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._times = {stage: deque[int](maxlen=kept) for stage in STAGES}
        self._kept = kept

    def add(self, stage_ns: Mapping[str, int]) -> None:
        """One frame's times by stage; stages that are not in STAGES come after those that are."""
        for stage, value in stage_ns.items():
            self._times.setdefault(stage, deque(maxlen=self._kept)).append(value)

    def p50_p95_ms(self) -> dict[str, tuple[float, float]]:
        """Stage -> median and 95th percentile (linear interpolation) in ms, of stages seen."""
        found = {}
        for stage, values in self._times.items():
            if values:
                p50, p95 = np.percentile(np.array(values), (50, 95))
                found[stage] = (float(p50) / 1e6, float(p95) / 1e6)
        return found
