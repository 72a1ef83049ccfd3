"""Assignment against scipy: random, rectangular, tied, forbidden, far apart, and its price of
staying alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
from scipy.optimize import linear_sum_assignment

from edgemtl import _native
from edgemtl.ops_assign import assign


def _solve(
    cost: np.ndarray, max_cost: float = np.inf, unmatched: float = np.inf
) -> tuple[np.ndarray, int]:
    out = np.full(len(cost), 77, np.int32)
    return out, _native.assign(cost, max_cost, unmatched, out)


def _check(cost: np.ndarray, max_cost: float = np.inf, unmatched: float = np.inf) -> None:
    """A legal assignment, and as good as the twin's."""
    columns, pairs = _solve(cost, max_cost, unmatched)
    rows = np.flatnonzero(columns >= 0)
    used = columns[rows]
    assert pairs == len(rows)
    assert ((columns == -1) | ((columns >= 0) & (columns < cost.shape[1]))).all()
    assert len(set(used.tolist())) == len(used)
    assert np.isfinite(cost[rows, used]).all()
    assert (cost[rows, used] <= max_cost).all()
    want_pairs, want = reference.assignment(cost, max_cost, unmatched)
    total = cost[rows, used].sum()
    if np.isfinite(unmatched):
        total += unmatched * (len(cost) - pairs)
        want += unmatched * (len(cost) - want_pairs)
    else:
        assert pairs == want_pairs
    size = max(1.0, abs(want), float(np.abs(cost[np.isfinite(cost)]).max(initial=0)))
    assert total == pytest.approx(want, abs=1e-9 * size)


def _random(random: np.random.Generator, largest: int) -> np.ndarray:
    n, m = random.integers(0, largest + 1, 2)
    kind = random.integers(5)
    if kind == 0:
        return random.random((n, m))
    if kind == 1:
        return random.integers(0, 4, (n, m)).astype(np.float64)  # many ties
    if kind == 2:
        return random.standard_normal((n, m)) * 100  # of both signs
    if kind == 3:
        return 1e7 + random.random((n, m))  # near 1e7, apart by less than one
    return np.exp(random.uniform(-8, 16, (n, m)))  # from 3e-4 to 1e7


@pytest.mark.parametrize("seed", range(4))
def test_full_problems_equal_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(400):
        cost = _random(random, 12)
        columns, pairs = _solve(cost)
        rows, wanted = linear_sum_assignment(cost)
        assert pairs == len(rows) == min(cost.shape)
        got = cost[np.flatnonzero(columns >= 0), columns[columns >= 0]].sum()
        assert got == pytest.approx(cost[rows, wanted].sum(), rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_forbidden_pairs(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    for _ in range(250):
        cost = _random(random, 10)
        hidden = random.random(cost.shape) < random.random()
        cost[hidden] = random.choice([np.nan, np.inf, -np.inf], hidden.sum())
        _check(cost)
        shown = cost[np.isfinite(cost)]
        _check(cost, float(np.median(shown)) if shown.size else 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_price_of_staying_alone(seed: int) -> None:
    random = np.random.default_rng(200 + seed)
    for _ in range(250):
        cost = _random(random, 10)
        cost[random.random(cost.shape) < 0.3] = np.nan
        shown = cost[np.isfinite(cost)]
        price = float(random.choice(shown)) * 1.01 if shown.size else 1.0
        _check(cost, unmatched=price)
        _check(cost, float(np.median(shown)) if shown.size else 0.0, price)


def test_small_problems_equal_brute_force() -> None:
    random = np.random.default_rng(7)
    for _ in range(60):
        n, m = (int(v) for v in random.integers(1, 5, 2))
        cost, price = random.random((n, m)), float(random.random())
        best = min(
            sum(price if j >= m else cost[i, j] for i, j in enumerate(way))
            for way in itertools.permutations(range(m + n), n)
        )
        columns, pairs = _solve(cost, unmatched=price)
        total = cost[columns >= 0, columns[columns >= 0]].sum() + price * (n - pairs)
        assert total == pytest.approx(best)


@pytest.mark.parametrize("shape", [(300, 300), (40, 700), (700, 40)])
def test_large_problems(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(1).random(shape)
    _check(cost)
    sparse = np.where(cost < 0.05, cost, np.nan)
    _check(sparse)
    _check(sparse, unmatched=0.03)


def test_the_longest_path_is_found() -> None:
    """The last row fits one column only and pushes every other row along by one."""
    n = 200
    cost = np.full((n, n), np.nan)
    for i in range(n - 1):
        cost[i, i], cost[i, i + 1] = 0, 1
    cost[-1, 0] = 5
    columns, pairs = _solve(cost)
    assert pairs == n
    assert columns.tolist() == [*range(1, n), 0]
    assert _solve(cost, unmatched=150.0)[0].tolist() == [*range(n - 1), -1]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    assert assign(np.empty(shape)).tolist() == [-1] * shape[0]


def test_one_pair_and_none() -> None:
    assert assign(np.array([[3.0]])).tolist() == [0]
    assert assign(np.array([[3.0]]), 3.0).tolist() == [0]
    assert assign(np.array([[3.0]]), 2.9).tolist() == [-1]
    assert assign(np.array([[np.nan, np.inf]])).tolist() == [-1]
    assert _solve(np.array([[3.0]]), unmatched=2.9)[0].tolist() == [-1]
    assert _solve(np.array([[3.0]]), unmatched=3.1)[0].tolist() == [0]
    assert _solve(np.array([[-3.0]]), unmatched=-3.1)[0].tolist() == [-1]


def test_most_pairs_come_before_least_cost() -> None:
    cost = np.array([[0.0, 1e9], [1e9, np.nan]])
    assert assign(cost).tolist() == [1, 0]
    assert _solve(cost, unmatched=1.0)[0].tolist() == [0, -1]


def test_costs_beyond_all_measure() -> None:
    big = np.array([[1e150, 2e150], [1e150, 1.5e150]])
    assert assign(big).tolist() == [0, 1]
    assert assign(np.array([[1e200, 1.0], [-1e300, 1e308]])).tolist() == [1, -1]
    assert _solve(big, unmatched=1e308)[0].tolist() == [0, 1]
    assert _solve(big, unmatched=-1e308)[0].tolist() == [-1, -1]


def test_takes_views_and_other_numbers() -> None:
    cost = np.random.default_rng(2).integers(0, 50, (9, 7))
    want = assign(cost.astype(np.float64)).tolist()
    for view in (cost, cost.astype(np.float32), np.asfortranarray(cost.astype(np.float64))):
        assert assign(view).tolist() == want


@pytest.mark.parametrize(
    ("cost", "max_cost", "price", "error"),
    [
        (np.zeros(3), 1.0, 1.0, TypeError),
        (np.zeros((2, 2), np.float32), 1.0, 1.0, TypeError),
        (np.zeros((0, 2**31)), 1.0, 1.0, ValueError),
        (np.zeros((0, 1_000_001)), 1.0, 1.0, ValueError),
        (np.zeros((2, 2)), np.nan, 1.0, ValueError),
        (np.zeros((2, 2)), 1.0, np.nan, ValueError),
        (np.zeros((2, 2)), 1.0, -np.inf, ValueError),
    ],
)
def test_other_problems_are_refused(
    cost: np.ndarray, max_cost: float, price: float, error: type[Exception]
) -> None:
    with pytest.raises(error, match="expected"):
        _native.assign(cost, max_cost, price, np.zeros(4, np.int32))
