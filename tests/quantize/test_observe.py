"""Observers against numpy, brute force, twins and published figures, and their edge cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edgemtl.errors import CalibrationError, ConfigError
from edgemtl.graph.dialect import ORT_X86, activation_parameters
from edgemtl.quantize.histogram import (
    Entropy,
    HistogramObserver,
    Percentile,
    magnitudes,
    make_observer,
    make_rule,
)
from edgemtl.quantize.observe import ChannelMean, MinMaxObserver

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
    observer = HistogramObserver(Percentile(percent))
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
        observer = HistogramObserver(Percentile())
        for part in np.array_split(stream, 13):
            observer.update(part)
        found.append(observer.range())
    spread = np.ptp(np.array(found), axis=0)
    assert (spread <= np.ptp(values) / 1024).all()


def test_memory_is_bounded() -> None:
    observer = HistogramObserver(Percentile())
    for scale in (1e-20, 1.0, 1e20, 1e30):
        observer.update(np.array([-scale, scale], np.float32))
    assert observer.counts.size == 4096
    assert observer.counts.sum() == 8


@pytest.mark.parametrize("kind", ["minmax", "percentile", "mse", "entropy"])
class TestAll:
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


def observed(kind: str, values: np.ndarray) -> tuple[float, float]:
    observer = make_observer(kind)
    for part in np.array_split(values.astype(np.float32), 9):
        observer.update(part)
    return observer.range()


def rounding_error(values: np.ndarray, low: float, high: float) -> float:
    """Mean square of what 256 levels of [low, high] make of the values themselves."""
    scale, zero = activation_parameters(low, high, ORT_X86)
    levels = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.mean((values - (levels - zero) * scale) ** 2))


@pytest.mark.parametrize("name", ["normal", "relu6", "heavy", "negative"])
def test_mse_is_no_worse_than_any_symmetric_limit(name: str) -> None:
    values = STREAMS[name].astype(np.float32)
    low, high = observed("mse", values)
    best = min(
        rounding_error(values, max(-limit, values.min()), min(limit, values.max()))
        for limit in np.linspace(0.02, 1, 99) * np.abs(values).max()
    )
    assert rounding_error(values, low, high) <= 1.03 * best
    assert values.min() <= low <= high <= values.max()


@pytest.mark.parametrize(("draw", "want"), [(RNG.normal, 3.92), (RNG.laplace, 9.89)])
def test_mse_of_known_distributions(draw: Callable[..., np.ndarray], want: float) -> None:
    """The best limits for 8 bits as published (arXiv 1810.05723, figure 1 and its code)."""
    low, high = observed("mse", draw(0, 1, 400_000))
    assert (high - low) / 2 == pytest.approx(want, rel=0.06)


def divergence_twin(sizes: np.ndarray, end: int) -> float:
    """As the slides of GTC 2017 tell it, one bin after the other."""
    reference = [float(size) for size in sizes[:end]]
    reference[-1] += float(sum(sizes[end:]))
    groups: list[list[int]] = [[] for _ in range(128)]
    for place in range(end):
        groups[place * 128 // end].append(place)
    candidate = [0.0] * end
    for group in groups:
        filled = [place for place in group if sizes[place] > 0]
        for place in filled:
            candidate[place] = sum(float(sizes[k]) for k in group) / len(filled)
    total, made = sum(reference), sum(candidate)
    return sum(
        p / total * math.log((p / total) / max(q / made, 1e-12))
        for p, q in zip(reference, candidate, strict=True)
        if p > 0
    )


@pytest.mark.parametrize("name", ["normal", "heavy", "negative", "relu6"])
def test_entropy_diverges_least(name: str) -> None:
    observer = HistogramObserver(Entropy())
    observer.update(STREAMS[name].astype(np.float32))
    limit = max(-observer.range()[0], observer.range()[1])
    width, sizes = observer.width, magnitudes(observer)
    used = int(np.flatnonzero(sizes)[-1]) + 1
    kept = min(round(limit / width), used)
    least = min(divergence_twin(sizes, end) for end in range(128, used + 1, 37))
    assert divergence_twin(sizes, kept) <= 1.01 * least


@pytest.mark.parametrize(("kind", "shape"), [("laplace", ()), ("standard_t", (2,))])
def test_entropy_cuts_about_where_onnxruntime_does(kind: str, shape: tuple[int, ...]) -> None:
    collectors = pytest.importorskip("onnxruntime.quantization.calibrate")
    values = getattr(np.random.default_rng(1), kind)(*shape, size=400_000)
    low, high = observed("entropy", values)
    widest = np.abs(values).max()
    bins = np.histogram(values, bins=4001, range=(-widest, widest))
    theirs = collectors.HistogramCollector("entropy", True, 4001, 256, 99.99, None)
    limits = theirs.get_entropy_threshold((*bins, values.min(), values.max(), widest), 256)
    assert max(-low, high) == pytest.approx(float(max(-limits[0], limits[1])), rel=0.2)


def test_one_wild_value_is_cut_off_by_entropy_alone() -> None:
    """Its square outweighs the finer steps of fifty thousand others."""
    values = np.append(np.abs(STREAMS["normal"]), 1000.0)
    assert observed("minmax", values)[1] == 1000.0
    assert observed("mse", values)[1] > 900.0
    assert observed("entropy", values)[1] < 250.0


def test_one_histogram_serves_every_rule() -> None:
    for name in STREAMS:
        values = STREAMS[name].astype(np.float32)
        shared = HistogramObserver(Percentile())
        for part in np.array_split(values, 9):
            shared.update(part)
        for kind in ("minmax", "percentile", "mse", "entropy"):
            assert shared.range_by(make_rule(kind)) == observed(kind, STREAMS[name]), kind


def test_channel_means() -> None:
    values = RNG.normal(2, 1, (10, 5, 4, 3)).astype(np.float32)
    mean = ChannelMean()
    for part in np.array_split(values, 3):
        mean.update(part)
    np.testing.assert_allclose(mean.means(), values.mean((0, 2, 3)), rtol=1e-4)
    with pytest.raises(CalibrationError):
        ChannelMean().means()


@pytest.mark.parametrize(("kind", "percent"), [("kl", 99), ("percentile", 50), ("percentile", 101)])
def test_unknown_observers(kind: str, percent: float) -> None:
    with pytest.raises(ConfigError):
        make_observer(kind, percent)
