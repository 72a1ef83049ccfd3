"""The four two-dimensional filters of the C core against one eight-dimensional one."""

from __future__ import annotations

import numpy as np
import pytest
import reference

from edgemtl import _native

NOISE = (0.2, 0.3, 0.5, 0.4, 2.0, 0.4)
Noise = tuple[float, float, float, float, float, float]


def _run(rows: np.ndarray, dt: np.ndarray, trust: float = 1.0, noise: Noise = NOISE) -> np.ndarray:
    out = np.full((len(rows), 4), 77.0)
    _native.kalman(np.ascontiguousarray(rows, np.float64), dt, trust, noise, out)
    return out


def _twin(rows: np.ndarray, dt: np.ndarray, trust: float, noise: Noise) -> np.ndarray:
    boxes = []
    for i, row in enumerate(rows):
        if i == 0:
            filter_ = reference.Kalman(row, noise, trust)
        else:
            filter_.predict(dt[i])
            if np.isfinite(row[0]):
                filter_.update(row, trust)
        boxes.append(filter_.box())
    return np.array(boxes)


def _walk(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy measurements of a moving box at uneven times, a third of them missing."""
    random = np.random.default_rng(seed)
    dt = random.choice([0.0, 0.02, 0.04, 0.1, 0.7], n)
    time = np.cumsum(dt)[:, None]
    rows = np.array([300, 200, 40, 90]) + time * random.uniform(-40, 40, 4) * [1, 1, 0.1, 0.1]
    rows = rows + random.standard_normal((n, 4)) * 3
    rows[1:][random.random(n - 1) < 0.33] = np.nan
    return rows, dt


@pytest.mark.parametrize("trust", [0.7, 1.0, 1.7])
@pytest.mark.parametrize(
    "noise", [NOISE, (0.05, 0.9, 0.05, 3.0, 0.5, 1.0), (1.0, 0.1, 1.5, 0.01, 8.0, 0.1)]
)
def test_equals_the_matrix_form(noise: Noise, trust: float) -> None:
    for seed in range(10):
        rows, dt = _walk(60, seed)
        got = _run(rows, dt, trust, noise)
        assert got == pytest.approx(_twin(rows, dt, trust, noise), rel=1e-9, abs=1e-6)


def test_predictions_over_no_time_change_nothing() -> None:
    rows, dt = _walk(30, 1)
    plain = _run(rows, dt)
    repeated = np.repeat(rows, 3, axis=0)
    repeated[1::3], repeated[2::3] = np.nan, np.nan
    times = np.zeros(90)
    times[::3] = dt
    assert np.array_equal(_run(repeated, times)[::3], plain)


def test_two_steps_equal_one_of_twice_the_time() -> None:
    """Exact in continuous time: gaps may be cut into any pieces, while the size stays the same."""
    rows = np.array(
        [[100, 100, 50, 60], [110, 103, 50, 60], [121, 107, 50, 60], [140, 111, 50, 60]]
    )
    whole = _run(rows, np.full(4, 0.3))
    for pieces in (2, 7):
        cut = np.full(((len(rows) - 1) * pieces + 1, 4), np.nan)
        cut[::pieces] = rows
        got = _run(cut, np.full(len(cut), 0.3 / pieces))[::pieces]
        assert got == pytest.approx(whole, rel=1e-12)


def test_follows_a_straight_line_and_continues_it() -> None:
    time = np.arange(40) * 0.1
    rows = np.stack([50 + 80 * time, 300 - 30 * time, 40 + 0 * time, 80 + 0 * time], 1)
    rows[30:] = np.nan
    boxes = _run(rows, np.full(40, 0.1))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centre[-1] == pytest.approx([50 + 80 * 3.9, 300 - 30 * 3.9], abs=1)
    assert boxes[-1, 2:] - boxes[-1, :2] == pytest.approx([40, 80], abs=1e-6)


def test_a_box_keeps_a_size() -> None:
    rows = np.array([[50, 50, 30, 30], [50, 50, 20, 20], [50, 50, 8, 8]] + [[np.nan] * 4] * 20)
    boxes = _run(rows, np.full(23, 0.5))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides >= 1 - 1e-9).all()
    assert sides[-1] == pytest.approx([1, 1])


@pytest.mark.parametrize(
    "noise", [(0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 2, 1), (0.2, 0.1, 0.3, 0, 0, 0)]
)
def test_no_noise_gives_no_nan(noise: Noise) -> None:
    rows, dt = _walk(40, 3)
    boxes = _run(rows, dt, noise=noise)
    assert np.isfinite(boxes).all()
    if not any(noise):
        assert boxes == pytest.approx(np.tile(boxes[:1], (40, 1))), "known exactly from the start"


def test_long_times_and_far_places_stay_finite() -> None:
    rows = np.array([[1e6, -1e6, 1e6, 1], [np.nan] * 4, [-1e6, 1e6, 1, 1e6]])
    assert np.isfinite(_run(rows, np.array([0, 1e10, 1e10]))).all()


def test_no_rows() -> None:
    assert _run(np.zeros((0, 4)), np.zeros(0)).shape == (0, 4)
