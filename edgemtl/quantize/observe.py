"""Observers: the range of a tensor from a stream of its values, in bounded memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import CalibrationError


class Observer(Protocol):
    """Sees every value once; ``name`` goes into the range table."""

    @property
    def name(self) -> str: ...

    def update(self, values: NDArray[Any]) -> None:
        """Look at an array of any shape. Raises CalibrationError for NaN and infinities."""
        ...

    def range(self) -> tuple[float, float]:
        """(low, high) in real units. Raises CalibrationError before the first value."""
        ...


class MinMaxObserver:
    """The extremes: nothing is cut off, one outlier costs everybody resolution."""

    name = "minmax"

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def update(self, values: NDArray[Any]) -> None:
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CalibrationError(
                f"ranges: expected finite activations, found {low} to {high}",
                "the float model itself overflows on these pictures; check its training",
            )
        self.low, self.high = min(self.low, low), max(self.high, high)

    def range(self) -> tuple[float, float]:
        return self.extremes()

    def extremes(self) -> tuple[float, float]:
        """The least and the largest value. Raises CalibrationError before the first."""
        if self.low > self.high:
            raise CalibrationError("ranges: no value was observed", "calibrate with some pictures")
        return self.low, self.high


class ChannelMean:
    """The mean of each channel of [N, C, h, w] arrays."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._count = 0

    def update(self, values: NDArray[Any]) -> None:
        total = values.mean((2, 3), dtype=np.float64).sum(0)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(values)

    def means(self) -> tuple[float, ...]:
        """Per channel, to five digits: more than the calibration pictures can tell.

        Raises CalibrationError before the first picture.
        """
        if self._sum is None or not self._count:
            raise CalibrationError("means: no value was observed", "calibrate with some pictures")
        return tuple(float(f"{mean:.5g}") for mean in self._sum / self._count)
