"""The sparse form of the assignment against scipy: dense with a dummy column for each row that may
stay alone, and its sparse full matching; whole numbers are compared without a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching

from edgemtl import _native
from edgemtl.ops_assign import assign, assign_sparse

Array = NDArray[Any]
BASES = (0.0, 1e7, 2.0**50)
"""What all costs have in common, beside differences of a few units."""


def _pairs(random: np.random.Generator, n: int, m: int, share: float) -> tuple[Array, Array]:
    """Allowed pairs in random order, some of them twice."""
    rows, columns = np.nonzero(random.random((n, m)) < share)
    take = random.permutation(np.concatenate([np.arange(len(rows)), np.arange(len(rows) // 5)]))
    return rows[take].astype(np.int32), columns[take].astype(np.int32)


def _total(found: Array, cost: dict[tuple[int, int], float]) -> tuple[int, float]:
    """(pairs, their cost) of a legal assignment: no column twice, no pair that is not allowed."""
    taken = [(i, int(j)) for i, j in enumerate(found) if j >= 0]
    assert len({j for _, j in taken}) == len(taken)
    return len(taken), sum(cost[pair] for pair in taken)


def _cheapest(rows: Array, columns: Array, costs: Array) -> dict[tuple[int, int], float]:
    cost: dict[tuple[int, int], float] = {}
    for i, j, c in zip(rows.tolist(), columns.tolist(), costs.tolist(), strict=True):
        cost[i, j] = min(c, cost.get((i, j), np.inf))
    return cost


def _graph(cost: dict[tuple[int, int], float], n: int, m: int) -> csr_matrix:
    places = np.array(list(cost))
    return csr_matrix((list(cost.values()), (places[:, 0], places[:, 1])), (n, m))


def _with_dummies(cost: dict[tuple[int, int], float], n: int, m: int, price: float) -> float:
    """Scipy's optimum where each row has one more column, at the price of staying alone."""
    far = 1e3 * (1 + n + m)  # more than all differences together
    dense = np.full((n, m + n), far)
    for (i, j), c in cost.items():
        dense[i, j] = c
    dense[np.arange(n), m + np.arange(n)] = price
    return float(dense[linear_sum_assignment(dense)].sum())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("seed", range(3))
def test_whole_numbers_equal_scipy_to_the_last_unit(base: float, seed: int) -> None:
    """Scipy gets the costs without what they have in common, which changes no optimum."""
    random = np.random.default_rng(100 + seed)
    for _ in range(250):
        n, m = (int(v) for v in random.integers(1, 14, 2))
        rows, columns = _pairs(random, n, m, float(random.choice([0.1, 0.3, 1.0])))
        spread = int(random.choice([1, 3, 40]))
        units = random.integers(-spread, spread + 1, len(rows)).astype(np.float64)
        price = float(random.integers(-spread, 3 * spread + 1))
        cost = _cheapest(rows, columns, units)
        found = assign_sparse(rows, columns, base + units, (n, m), base + price)
        pairs, total = _total(found, cost)
        assert total + price * (n - pairs) == _with_dummies(cost, n, m, price)
        full = assign_sparse(rows, columns, base + units, (n, m))
        pairs, total = _total(full, cost)
        # the price that makes scipy prefer pairs to everything
        most = 100.0 * (n + m)
        assert total + most * (n - pairs) == _with_dummies(cost, n, m, most)


@pytest.mark.parametrize("seed", range(3))
def test_real_numbers_equal_scipy(seed: int) -> None:
    random = np.random.default_rng(200 + seed)
    for _ in range(250):
        n, m = (int(v) for v in random.integers(1, 30, 2))
        rows, columns = _pairs(random, n, m, 0.3)
        costs = random.choice([-1.0, 1.0]) * np.exp(random.uniform(-9, 4, len(rows)))
        price = float(random.uniform(-5, 50))
        cost = _cheapest(rows, columns, costs)
        pairs, total = _total(assign_sparse(rows, columns, costs, (n, m), price), cost)
        want = _with_dummies(cost, n, m, price)
        assert total + price * (n - pairs) == pytest.approx(want, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("n", [1, 50, 400])
@pytest.mark.parametrize("base", BASES)
def test_full_matchings_equal_scipys_sparse_solver(n: int, base: float) -> None:
    random = np.random.default_rng(n)
    for _ in range(8):
        rows, columns = _pairs(random, n, n + n // 3, min(1.0, 6 / n))
        # every row has a column of its own, so that a full matching exists
        rows = np.concatenate([rows, np.arange(n, dtype=np.int32)])
        columns = np.concatenate([columns, random.permutation(n).astype(np.int32)])
        units = random.integers(1, 1000, len(rows)).astype(np.float64)
        cost = _cheapest(rows, columns, units)
        matrix = _graph(cost, n, n + n // 3)
        want = matrix[min_weight_full_bipartite_matching(matrix)].sum()
        found = assign_sparse(rows, columns, base + units, matrix.shape)
        assert _total(found, cost) == (n, want)


def test_ten_thousand_by_ten_thousand() -> None:
    """As many pairs as there can be, and no rotation of a few partners that would be cheaper."""
    n, random = 10_000, np.random.default_rng(3)
    rows = np.repeat(np.arange(n, dtype=np.int32), 3)
    columns = ((rows + random.integers(-20, 21, 3 * n)) % n).astype(np.int32)
    costs = random.integers(0, 1000, 3 * n).astype(np.float64)
    cost = _cheapest(rows, columns, costs)
    found = assign_sparse(rows, columns, costs, (n, n))
    pairs, total = _total(found, cost)
    graph = _graph(cost, n, n)
    assert pairs == (maximum_bipartite_matching(graph, perm_type="column") >= 0).sum()
    price = 1e7
    some = assign_sparse(rows, columns, costs, (n, n), price)
    assert _total(some, cost) == (pairs, total)
    alone = assign_sparse(rows, columns, costs, (n, n), 500.0)
    fewer, cheaper = _total(alone, cost)
    assert fewer < pairs
    assert cheaper + 500.0 * (n - fewer) < total + 500.0 * (n - pairs)


@pytest.mark.parametrize("price", [0.0, 5.0, np.inf])
def test_bands_equal_the_dense_form(price: float) -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        n, m = (int(v) for v in random.integers(1, 120, 2))
        rows, columns = _pairs(random, n, m, 4 / m if m > 4 else 1.0)
        units = random.integers(0, 20, len(rows)).astype(np.float64)
        cost, dense = _cheapest(rows, columns, units), np.full((n, m), np.nan)
        for pair, c in cost.items():
            dense[pair] = c
        out = np.empty(n, np.int32)
        _native.assign(dense, np.inf, price, out)
        pairs, total = _total(assign_sparse(rows, columns, units, (n, m), price), cost)
        want_pairs, want = _total(out, cost)
        if np.isinf(price):
            assert (pairs, total) == (want_pairs, want)
        else:
            assert total - price * pairs == want - price * want_pairs


def test_small_differences_beside_a_huge_cost() -> None:
    """The huge pair is taken, as pairs come first; whom it costs the place is still exact."""
    rows, columns = np.array([0, 1, 2], np.int32), np.array([0, 0, 1], np.int32)
    for a, b in [(1e-3, 2e-3), (2e-3, 1e-3)]:
        found = assign_sparse(rows, columns, np.array([a, b, 1e199]), (3, 2))
        assert found.tolist() == ([0, -1, 1] if a < b else [-1, 0, 1])
        assert assign(np.array([[a, np.nan], [b, np.nan], [np.nan, 1e199]])).tolist() == [
            0 if a < b else -1,
            0 if b < a else -1,
            1,
        ]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (3, 4)])
def test_nothing_allowed(shape: tuple[int, int]) -> None:
    none = np.empty(0, np.int32)
    for price in (-1.0, 0.0, 1e308, np.inf):
        found = assign_sparse(none, none, np.empty(0), shape, price)
        assert found.dtype == np.int32
        assert found.tolist() == [-1] * shape[0]


def test_one_row_and_one_column() -> None:
    many, zeros = np.arange(2000, dtype=np.int32), np.zeros(2000, np.int32)
    costs = np.random.default_rng(6).permutation(2000).astype(np.float64) + 1e7
    best = int(costs.argmin())
    assert assign_sparse(zeros, many, costs, (1, 2000)).tolist() == [best]
    found = assign_sparse(many, zeros, costs, (2000, 1))
    assert np.flatnonzero(found >= 0).tolist() == [best]
    assert (assign_sparse(many, zeros, costs, (2000, 1), 1e7 - 1) == -1).all()


@pytest.mark.parametrize(
    ("rows", "columns", "costs", "message"),
    [
        ([3], [0], [1.0], "rows: expected 0 to 2"),
        ([-1], [0], [1.0], "rows: expected 0 to 2"),
        ([0], [2], [1.0], "column below 2"),
        ([0], [-1], [1.0], "column below 2"),
        ([0], [0], [np.nan], "cost below 1e200"),
        ([0], [0], [-np.inf], "cost below 1e200"),
        ([0], [0], [1e200], "cost below 1e200"),
        ([0], [0, 1], [1.0, 1.0], "expected equal lengths, got 1, 2, 2"),
    ],
)
def test_other_pairs_are_refused(rows: Any, columns: Any, costs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign_sparse(np.array(rows), np.array(columns), np.array(costs), (3, 2))


@pytest.mark.parametrize("start", [[1, 2, 3], [0, 3, 2], [0, 2, 1], [0, 1, 3]])
def test_starts_that_count_wrongly_are_refused(start: list[int]) -> None:
    columns, costs, out = np.zeros(2, np.int32), np.zeros(2), np.empty(2, np.int32)
    with pytest.raises(ValueError, match="start: expected"):
        _native.assign_sparse(np.array(start, np.int32), columns, costs, 5, 1.0, out)
