"""The matching of largest weight against scipy's, and where it has nothing to match."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.metrics.matching import match

scipy_optimize = pytest.importorskip("scipy.optimize")


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 9), (9, 2), (30, 40), (60, 25)])
@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_total_weight_equals_scipy(shape, share):
    rng = np.random.default_rng(shape[0] * 100 + int(share * 10))
    for _ in range(20):
        weights = rng.random(shape) * (rng.random(shape) < share)
        rows, columns = match(weights)
        ours = weights[rows, columns]
        theirs = weights[scipy_optimize.linear_sum_assignment(-weights)]
        assert len(set(rows)) == len(rows)
        assert len(set(columns)) == len(columns)
        assert (ours > 0).all()
        assert ours.sum() == pytest.approx(theirs.sum(), abs=1e-12)


def test_integer_ties_keep_the_total():
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = rng.integers(0, 4, (8, 11)).astype(float)
        rows, columns = match(weights)
        best = scipy_optimize.linear_sum_assignment(-weights)
        assert weights[rows, columns].sum() == weights[best].sum()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (4, 4)])
def test_nothing_to_match(shape):
    rows, columns = match(np.zeros(shape))
    assert len(rows) == len(columns) == 0


def test_negative_weights_forbid():
    rows, columns = match(np.array([[-1.0, 2.0], [-3.0, 1.0]]))
    assert rows.tolist() == [0]
    assert columns.tolist() == [1]
