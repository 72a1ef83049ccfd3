"""Projection onto the dual cone of a few gradients: what UPGrad needs a quadratic solver for.

Proposition 1 of arXiv 2406.16232: the projection of J^T u onto the dual cone of the rows of J is
J^T w, where w minimises v^T G v over v >= u, and G = J J^T. With z = v - u >= 0 this is a linear
complementarity problem; tasks are few, so every set of free entries of z is tried and the one that
satisfies the conditions of Karush, Kuhn and Tucker is the solution. No iteration, no tolerance to
tune, and no solver under another licence.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_TASKS = 10
"""2^10 systems of 10 equations: some milliseconds. Far more tasks want an iterative solver."""
_SINGULAR = 1e-10  # of the largest eigenvalue
_SATISFIED = 1e-9

F64 = NDArray[np.float64]


class ExactProjector:
    """The call shape of torchjd's ``DualConeProjector``: (U [..., m], G [m, m]) -> W [..., m].

    Each row of ``U`` are weights of gradients, ``G`` the matrix of their inner products. Raises
    ValueError for values that are not finite and for more than MOST_TASKS tasks.
    """

    def __call__(self, weights: Tensor, gramian: Tensor) -> Tensor:
        u, g = (t.detach().cpu().numpy().astype(np.float64) for t in (weights, gramian))
        w = project(u.reshape(-1, u.shape[-1]), g).reshape(u.shape)
        return torch.as_tensor(w, dtype=weights.dtype, device=weights.device)


def project(u: F64, gramian: F64) -> F64:
    """w [N, m] for weights u [N, m]; see :class:`ExactProjector`."""
    m = len(gramian)
    if m > MOST_TASKS:
        raise ValueError(f"gramian: expected at most {MOST_TASKS} tasks, got {m}")
    if not (np.isfinite(gramian).all() and np.isfinite(u).all()):
        raise ValueError("gramian, u: expected finite values; a gradient is NaN or infinite")
    # in units of each gradient's length, so that a small one is not lost beside a large one
    length = np.sqrt(np.maximum(np.diag(gramian), 0.0))
    length[length == 0] = 1.0
    cosine = gramian / length[:, None] / length[None]
    v = _solve((cosine + cosine.T) / 2, u * length)
    return np.asarray(v / length)


def _solve(g: F64, u: F64) -> F64:
    """min v^T g v over v >= u, for each row of u [N, m]; g has a diagonal of ones or zeros."""
    free = _subsets(len(g))
    # the equations of the free entries; the others keep z = 0
    system = g * free[:, :, None] * free[:, None, :] + np.eye(len(g)) * ~free[:, :, None]
    slope = u @ g
    inverse = np.linalg.pinv(system, rcond=_SINGULAR, hermitian=True)
    z = np.einsum("sij,nsj->nsi", inverse, -slope[:, None] * free)
    rise = (z + u[:, None]) @ g
    worst = np.maximum(-np.minimum(z, 0).min(-1), -np.minimum(rise, 0).min(-1))
    # the first that will do has the fewest free entries and the best condition
    enough = worst <= _SATISFIED * np.abs(u).max(-1, initial=0.0)[:, None]
    best = np.where(enough.any(1), enough.argmax(1), worst.argmin(1))
    chosen = z[np.arange(len(u)), best]
    return np.asarray(u + np.maximum(chosen, 0.0))


@lru_cache(maxsize=MOST_TASKS + 1)
def _subsets(m: int) -> NDArray[np.bool_]:
    """bool [2^m, m]: all subsets of m entries, the small ones first."""
    bits = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
    return bits[np.argsort(bits.sum(1), kind="stable")].astype(np.bool_)
