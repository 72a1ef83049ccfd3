"""Observers: the range of a tensor from a stream of its values, in bounded memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import CalibrationError, ConfigError

_BINS = 4096
_SMALLEST = 2.0**-40


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
        if self.low > self.high:
            raise CalibrationError("ranges: no value was observed", "calibrate with some pictures")
        return self.low, self.high


class PercentileObserver(MinMaxObserver):
    """Cuts ``(100 - percent)`` percent of the values off at each end.

    Objects are rare, so a detector's peaks are among the extremes: cut more and their scores sink.
    A histogram of a fixed number of bins, whose width is a power of two and doubles when values
    fall outside: merging bins is then exact, 0 is always an edge, and the result does not depend
    on how the stream was cut into arrays once the width has settled.
    """

    def __init__(self, percent: float = 99.999) -> None:
        super().__init__()
        if not 50 < percent <= 100:
            raise ConfigError(f"percentile: expected a number in (50, 100], got {percent}")
        self.percent = percent
        self.name = f"percentile {percent:g}"
        self._width = 0.0
        self._first = 0  # the first bin holds [first * width, (first + 1) * width)
        self._counts = np.zeros(_BINS, np.int64)

    def update(self, values: NDArray[Any]) -> None:
        if values.size == 0:
            return
        super().update(values)
        self._fit()
        flat = np.asarray(values, np.float32).ravel()
        bins = np.floor(flat * np.float32(1 / self._width)).astype(np.int64) - self._first
        self._counts += np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)

    def range(self) -> tuple[float, float]:
        low, high = super().range()
        ends = np.cumsum(self._counts)
        cut = ends[-1] * (1 - self.percent / 100)
        first, last = self._value_at(cut, ends), self._value_at(ends[-1] - cut, ends)
        return float(np.clip(first, low, high)), float(np.clip(last, low, high))

    def _value_at(self, rank: float, ends: NDArray[np.int64]) -> float:
        """The value below which ``rank`` observations lie, linear within its bin."""
        number = min(int(np.searchsorted(ends, rank, side="left")), _BINS - 1)
        before = int(ends[number - 1]) if number else 0
        inside = max(int(self._counts[number]), 1)
        return (self._first + number + (rank - before) / inside) * self._width

    def _fit(self) -> None:
        """Widen and move the bins until they cover [low, high]."""
        width = self._width
        if width == 0:
            span = max(self.high - self.low, abs(self.low), abs(self.high), _SMALLEST)
            width = 2.0 ** np.ceil(np.log2(span * 2 / _BINS))
        while np.floor(self.high / width) - np.floor(self.low / width) >= _BINS:
            width *= 2
        first = int(np.floor(self.low / width))
        covered = self._first <= first and np.floor(self.high / width) - self._first < _BINS
        if width == self._width and covered:
            return
        counts = np.zeros(_BINS, np.int64)
        filled = np.flatnonzero(self._counts)
        if len(filled):
            ratio = round(min(width / self._width, 2.0**62))
            np.add.at(counts, (filled + self._first) // ratio - first, self._counts[filled])
        self._width, self._first, self._counts = width, first, counts


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


def make_observer(kind: str, percent: float = 99.999) -> Observer:
    """An observer by name: ``minmax`` or ``percentile``. Raises ConfigError for others."""
    if kind == "minmax":
        return MinMaxObserver()
    if kind == "percentile":
        return PercentileObserver(percent)
    raise ConfigError(f"observer: expected 'minmax' or 'percentile', got '{kind}'")
