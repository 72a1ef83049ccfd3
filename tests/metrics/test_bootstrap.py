"""The paired bootstrap beside a plain twin; resampled scores beside pictures added so often."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.metrics import DetectionMeter
from edgemtl.metrics.bootstrap import draws, paired_interval


def test_the_interval_equals_a_plain_twin() -> None:
    rng = np.random.default_rng(7)
    sizes = (40, 25)
    ours, theirs = rng.integers(0, 2, 65), rng.integers(0, 2, 65)
    found = paired_interval(lambda t: ours @ t / 65, lambda t: theirs @ t / 65, sizes, 400, seed=3)
    # the twin: differences of single pictures, drawn by hand
    change, twin = ours - theirs, np.random.default_rng(3)
    means = []
    for _ in range(400):
        first, second = twin.integers(0, 40, 40), twin.integers(0, 25, 25)
        means.append((change[:40][first].sum() + change[40:][second].sum()) / 65)
    low, high = np.percentile(means, [2.5, 97.5])
    assert (found.value, found.low, found.high) == pytest.approx((change.mean(), low, high))
    assert found.half == pytest.approx((high - low) / 2)
    assert found.low < found.value < found.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(300):
        ours, theirs = rng.random(120) < 0.8, rng.random(120) < 0.7
        found = paired_interval(
            lambda t, a=ours: a @ t / 120, lambda t, b=theirs: b @ t / 120, [120], 200, seed=trial
        )
        hits += found.low <= 0.1 <= found.high
    assert 0.91 <= hits / 300 <= 0.98


def test_equal_models_differ_by_nothing() -> None:
    values = np.arange(30) % 4
    found = paired_interval(lambda t: values @ t, lambda t: values @ t, [10, 20], 50)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_score_without_truth_has_no_interval() -> None:
    found = paired_interval(lambda _: np.nan, lambda _: 1.0, [3], 5)
    assert np.isnan([found.value, found.low, found.high]).all()
    with pytest.raises(ValueError, match="repeats: expected at least 1, got 0"):
        paired_interval(lambda _: 1.0, lambda _: 1.0, [3], 0)


def test_every_data_set_gives_as_many_pictures_as_it_has() -> None:
    for times in draws((5, 0, 7), 20):
        assert times.shape == (12,)
        assert (times[:5].sum(), times[5:].sum()) == (5, 7)
    assert [len(times) for times in draws((), 2)] == [0, 0]


def test_sets_of_one_picture_are_drawn_from_together() -> None:
    drawn = list(draws((1, 4, 1, 0, 1), 200))
    apart = np.array([0, 5, 6])
    assert all((t[apart].sum(), t[1:5].sum()) == (3, 4) for t in drawn)
    assert {tuple(t[apart]) for t in drawn} >= {(1, 1, 1), (3, 0, 0), (0, 0, 3)}
    values = np.array([0.0, 1.0, 0.0, 1.0])
    found = paired_interval(lambda t: values @ t / 4, lambda _: 0.0, [1, 1, 1, 1], 400)
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize("sizes", [[1], [0, 1]])
def test_one_picture_tells_nothing_of_others(sizes: list[int]) -> None:
    found = paired_interval(lambda t: 0.5 * t.sum(), lambda _: 0.0, sizes, 20)
    assert found.value == 0.5
    assert np.isnan([found.low, found.high]).all()


def scattered(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """One picture: truth, and detections near it and elsewhere; sometimes there is nothing."""
    truth = rng.uniform(0, 80, (rng.integers(0, 5), 2)).repeat(2, 0).reshape(-1, 4)
    truth[:, 2:] += rng.uniform(5, 30, (len(truth), 2))
    found = np.concatenate([truth + rng.normal(0, 2, truth.shape), rng.uniform(0, 50, (2, 4))])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    return (
        truth, rng.integers(0, 3, len(truth)), rng.random(len(truth)) < 0.2, found,
        rng.random(len(found)).round(2), rng.integers(0, 3, len(found)),
    )  # fmt: skip


def test_counting_a_picture_twice_is_adding_it_twice() -> None:
    rng = np.random.default_rng(5)
    pictures = [scattered(rng) for _ in range(25)]
    meter = DetectionMeter()
    for picture in pictures:
        meter.add(*picture)
    for times in draws((25,), 20, seed=1):
        again = DetectionMeter()
        for picture, count in zip(pictures, times.astype(int), strict=True):
            for _ in range(count):
                again.add(*picture)
        resampled, plain = meter.result(times), again.result()
        assert resampled.map == pytest.approx(plain.map, abs=1e-12)
        for label, ap in plain.per_class.items():
            assert resampled.per_class[label] == pytest.approx(ap, abs=1e-12)
        assert resampled.per_class.keys() == plain.per_class.keys()
        assert (resampled.truths, resampled.detections) == (plain.truths, plain.detections)
    assert np.isnan(meter.result(np.zeros(25)).map)
    with pytest.raises(ValueError, match=r"times: expected \[25\], got \[24\]"):
        meter.result(np.ones(24))


def test_merged_meters_keep_their_pictures_apart() -> None:
    rng = np.random.default_rng(6)
    pictures = [scattered(rng) for _ in range(8)]
    first, second, whole = DetectionMeter(), DetectionMeter(), DetectionMeter()
    for n, picture in enumerate(pictures):
        (first if n < 3 else second).add(*picture)
        whole.add(*picture)
    first.merge(second)
    assert (first.pictures, second.pictures) == (8, 5)
    times = np.array([0, 3, 1, 0, 2, 1, 1, 0], float)
    assert first.result(times) == whole.result(times)
