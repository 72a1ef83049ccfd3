"""Observers against numpy's percentiles, and their edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import CalibrationError, ConfigError
from edgemtl.quantize.observe import ChannelMean, MinMaxObserver, PercentileObserver, make_observer

RNG = np.random.default_rng(0)
STREAMS = {
    "normal": RNG.normal(0, 1, 50_000),
    "relu6": np.clip(RNG.normal(1, 3, 50_000), 0, 6),
    "heavy": RNG.standard_t(2, 50_000),
    "shifted": RNG.normal(1000, 0.5, 50_000),
    "negative": -RNG.exponential(1, 50_000),
    "growing": np.concatenate([RNG.normal(0, 10.0**k, 5_000) for k in range(-6, 4)]),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_percentile_against_numpy(name: str, percent: float, pieces: int) -> None:
    values = STREAMS[name].astype(np.float32)
    observer = PercentileObserver(percent)
    for part in np.array_split(values, pieces):
        observer.update(part)
    low, high = observer.range()
    want = np.percentile(values, [100 - percent, percent])
    step = (values.max() - values.min()) / 1024 + np.abs(values).max() / 2048
    # between two far observations the percentile is anywhere in the gap
    around = np.percentile(values, [100 - percent - 0.004, 100 - percent + 0.004])
    assert around[0] - step <= low <= around[1] + step
    around = np.percentile(values, [percent - 0.004, min(percent + 0.004, 100)])
    assert around[0] - step <= high <= around[1] + step
    assert values.min() <= low <= want.mean() <= high <= values.max()


def test_the_order_of_the_stream_does_not_matter() -> None:
    values = STREAMS["growing"].astype(np.float32)
    found = []
    for stream in (values, values[::-1], np.sort(values)):
        observer = PercentileObserver()
        for part in np.array_split(stream, 13):
            observer.update(part)
        found.append(observer.range())
    spread = np.ptp(np.array(found), axis=0)
    assert (spread <= np.ptp(values) / 1024).all()


def test_memory_is_bounded() -> None:
    observer = PercentileObserver()
    for scale in (1e-20, 1.0, 1e20, 1e30):
        observer.update(np.array([-scale, scale], np.float32))
    assert observer._counts.size == 4096
    assert observer._counts.sum() == 8


@pytest.mark.parametrize("kind", ["minmax", "percentile"])
class TestBoth:
    def test_constants(self, kind: str) -> None:
        for value in (0.0, 3.25, -1e-30, 1e30):
            observer = make_observer(kind)
            for _ in range(3):
                observer.update(np.full((2, 3), value, np.float32))
            assert observer.range() == pytest.approx((value, value))

    def test_views_and_empty_arrays(self, kind: str) -> None:
        observer = make_observer(kind)
        observer.update(np.zeros((0, 4), np.float32))
        observer.update(np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-2])
        assert observer.range() == pytest.approx((1, 17), abs=0.1)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, kind: str, bad: float) -> None:
        with pytest.raises(CalibrationError, match="finite"):
            make_observer(kind).update(np.array([1, bad, 2], np.float32))

    def test_nothing_observed(self, kind: str) -> None:
        with pytest.raises(CalibrationError, match="no value"):
            make_observer(kind).range()


def test_minmax_is_exact() -> None:
    observer = MinMaxObserver()
    for part in np.array_split(STREAMS["heavy"], 9):
        observer.update(part)
    assert observer.range() == (STREAMS["heavy"].min(), STREAMS["heavy"].max())


def test_channel_means() -> None:
    values = RNG.normal(2, 1, (10, 5, 4, 3)).astype(np.float32)
    mean = ChannelMean()
    for part in np.array_split(values, 3):
        mean.update(part)
    np.testing.assert_allclose(mean.means(), values.mean((0, 2, 3)), rtol=1e-4)
    with pytest.raises(CalibrationError):
        ChannelMean().means()


@pytest.mark.parametrize(
    ("kind", "percent"), [("entropy", 99), ("percentile", 50), ("percentile", 101)]
)
def test_unknown_observers(kind: str, percent: float) -> None:
    with pytest.raises(ConfigError):
        make_observer(kind, percent)
