"""The projection onto the dual cone beside scipy's solvers, and what UPGrad promises with it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy.optimize")

import torch
from scipy import optimize

from edgemtl.train.projector import MOST_TASKS, ExactProjector, project

F64 = np.ndarray


def by_nnls(u: F64, jacobian: F64) -> F64:
    """The projection itself, J^T w: w = u + z, z >= 0 nearest to -J^T u."""
    z, _ = optimize.nnls(jacobian.T, -jacobian.T @ u)
    return np.asarray(jacobian.T @ (u + z))


def upgrad(jacobian: F64) -> F64:
    """Equation 4 of arXiv 2406.16232: the mean of the projected rows."""
    m = len(jacobian)
    return np.asarray(project(np.eye(m) / m, jacobian @ jacobian.T).sum(0) @ jacobian)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("n", [2, 5, 40])
def test_equals_non_negative_least_squares(m: int, n: int) -> None:
    rng = np.random.default_rng((m, n))
    for _ in range(20):
        jacobian = rng.normal(size=(m, n))
        u = rng.uniform(-0.2, 1, (3, m))
        found = project(u, jacobian @ jacobian.T)
        assert (found >= u - 1e-12).all()
        for weights, row in zip(found, u, strict=True):
            assert weights @ jacobian == pytest.approx(by_nnls(row, jacobian), abs=1e-6)


def test_equals_a_general_solver_where_the_solution_is_unique() -> None:
    rng = np.random.default_rng(1)
    jacobian = rng.normal(size=(3, 10)) + np.array([[1.0], [-1.0], [0.3]])
    g, u = jacobian @ jacobian.T, np.array([0.5, 0.2, 0.3])
    solved = optimize.minimize(
        lambda v: v @ g @ v, u + 0.1, jac=lambda v: 2 * g @ v, method="SLSQP",
        bounds=[(low, None) for low in u], options={"ftol": 1e-14},
    )  # fmt: skip
    assert project(u[None], g)[0] == pytest.approx(solved.x, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_mean_conflicts_with_no_task(m: int, scale: float) -> None:
    rng = np.random.default_rng(m)
    for _ in range(50):
        jacobian = scale * rng.normal(size=(m, 4)) * 10.0 ** rng.uniform(-4, 4, (m, 1))
        step = upgrad(jacobian)
        lengths = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(jacobian.mean(0))
        assert (jacobian @ step >= -1e-6 * lengths).all()


def test_where_nothing_conflicts_it_is_the_mean() -> None:
    jacobian = np.abs(np.random.default_rng(2).normal(size=(4, 9)))
    assert upgrad(jacobian) == pytest.approx(jacobian.mean(0), abs=1e-12)
    orthogonal = np.diag([1.0, 2.0, 3.0])
    assert upgrad(orthogonal) == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-12)


def test_two_rows_in_conflict_by_hand() -> None:
    # G = [[18, -22], [-22, 38]]: each row takes as much of the other as leaves it orthogonal
    w = np.array([0.5 + 0.5 * 22 / 18, 0.5 + 0.5 * 22 / 38])
    jacobian = np.array([[-4.0, 1, 1], [6.0, 1, 1]])
    assert upgrad(jacobian) == pytest.approx(w @ jacobian, abs=1e-12)


@pytest.mark.parametrize(
    ("jacobian", "expected"),
    [
        ([[3.0, 4.0]], [3.0, 4.0]),
        ([[0.0, 0.0]], [0.0, 0.0]),
        ([[0.0, 0.0], [2.0, 0.0]], [1.0, 0.0]),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]),
        ([[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0]),
        ([[1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]], [1 / 3, 1.0]),
    ],
)
def test_degenerate_gradients(jacobian: list[list[float]], expected: list[float]) -> None:
    assert upgrad(np.array(jacobian)) == pytest.approx(expected, abs=1e-9)


def test_dependent_rows_in_single_precision() -> None:
    """A Gramian of float32 is not quite semi-definite; the projection must bear that."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        rows = rng.normal(size=(2, 1000))
        jacobian = np.stack([rows[0], rows[1], -rows[0] + 1e-4 * rows[1]]).astype(np.float32)
        w = project(np.eye(3) / 3, (jacobian @ jacobian.T).astype(np.float64)).sum(0)
        step = w @ jacobian.astype(np.float64)
        lengths = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(step)
        assert np.isfinite(w).all()
        assert (jacobian @ step >= -1e-3 * lengths).all()


def test_tensors_keep_shape_and_type() -> None:
    jacobian = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    u = torch.diag(torch.full((3,), 1 / 3))
    w = ExactProjector()(u, jacobian @ jacobian.T)
    assert (w.shape, w.dtype) == (u.shape, torch.float32)
    one = ExactProjector()(u[0], (jacobian @ jacobian.T).double())
    torch.testing.assert_close(one, w[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        project(np.eye(2), np.array([[1.0, value], [value, 1.0]]))
    with pytest.raises(ValueError, match="finite"):
        project(np.array([[value, 1.0]]), np.eye(2))


def test_too_many_tasks_are_refused() -> None:
    many = MOST_TASKS + 1
    with pytest.raises(ValueError, match="at most"):
        project(np.eye(many), np.eye(many))
