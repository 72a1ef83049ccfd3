"""Percentiles of the stages' times."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

STAGES = ("decode", "preprocess", "infer", "postprocess", "track", "sink")
"""In the order of the pipeline; times of one frame overlap those of its neighbours."""


class StageTimes:
    """Collects times in nanoseconds; memory is one number per frame and stage."""

    def __init__(self) -> None:
        self._times: dict[str, list[int]] = {stage: [] for stage in STAGES}

    def add(self, stage_ns: Mapping[str, int]) -> None:
        """One frame's times by stage; stages that are not in STAGES come after those that are."""
        for stage, value in stage_ns.items():
            self._times.setdefault(stage, []).append(value)

    def p50_p95_ms(self) -> dict[str, tuple[float, float]]:
        """Stage -> median and 95th percentile (linear interpolation) in ms, of stages seen."""
        found = {}
        for stage, values in self._times.items():
            if values:
                p50, p95 = np.percentile(values, (50, 95))
                found[stage] = (float(p50) / 1e6, float(p95) / 1e6)
        return found
