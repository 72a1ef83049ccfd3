"""INT8 weights and biases of convolutions: arithmetic on arrays, no graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.graph.dialect import DEAD_SCALE, SMALLEST_SCALE, Dialect, half_above

_LARGEST_WEIGHT = 127
_BIAS_LIMIT = 2.0**30


@dataclass(frozen=True, slots=True)
class IntegerWeights:
    """A convolution in INT8: ``weights`` i8 [O, I, kh, kw], ``scale`` f32 [O] of them, ``bias``
    f64 [O] in real units, corrected for the rounding."""

    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float64]

    @property
    def restored(self) -> NDArray[np.float32]:
        """What the integers stand for."""
        return restore_weights(self.weights, self.scale)


def quantise_convolution(
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    scale_x: NDArray[np.float32],
    means: NDArray[np.float64] | None,
    dialect: Dialect,
) -> IntegerWeights:
    """A convolution as a dialect has it. ``scale_x``: of its input, ``means`` f64 [C]: of the
    input's channels, for the bias correction, or None for none."""
    limit = None if weights.shape[1] == 1 else dialect.pair_limit
    smallest = smallest_scale(bias, scale_x) if dialect.integer_bias else None
    integers, scale = quantise_weights(weights, limit, smallest, dialect.half)
    exact = bias.astype(np.float64)
    if means is not None:
        exact = exact + bias_correction(weights, restore_weights(integers, scale), means)
    return IntegerWeights(integers, scale, exact)


def quantise_weights(
    weights: NDArray[np.float32],
    pair_limit: int | None = None,
    smallest: NDArray[np.float32] | None = None,
    half: bool = False,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 weights [O, I, kh, kw] and one scale f32 [O] per output channel.

    ``pair_limit`` bounds the sums of weights 2i and 2i + 1 in the kernels' order (kh, kw, I).
    ``smallest`` f32 [O] keeps an int32 bias in range where weights are almost zero. ``half``: the
    scales are numbers of float16.
    """
    flat = np.moveaxis(weights, 1, -1).reshape(len(weights), -1)
    scale = np.abs(flat).max(1, initial=0.0) / _LARGEST_WEIGHT
    if pair_limit is not None:
        scale = np.maximum(scale, np.abs(_pair_sums(flat)).max(1, initial=0.0) / pair_limit)
    scale = np.where(scale < SMALLEST_SCALE, DEAD_SCALE, scale).astype(np.float32)
    if smallest is not None:
        scale = np.maximum(scale, smallest)
    if half:
        scale = half_above(scale)
    rounded = np.rint(flat / scale[:, None])
    if pair_limit is not None:
        # rounding can push a sum over by one: take it from the first weight of the pair
        over = np.abs(_pair_sums(rounded)) > pair_limit
        firsts = rounded[:, : 2 * over.shape[1] : 2]
        firsts -= np.sign(firsts) * over
    limited = np.clip(rounded, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int8)
    last = (len(weights), *weights.shape[2:], weights.shape[1])
    return np.ascontiguousarray(np.moveaxis(limited.reshape(last), -1, 1)), scale


def restore_weights(quantised: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the integers stand for."""
    restored: NDArray[np.float32] = quantised * scale.reshape(-1, *([1] * (quantised.ndim - 1)))
    return restored


def _pair_sums(flat: NDArray[Any]) -> NDArray[Any]:
    """Sums of neighbours [O, K // 2] of rows [O, K]; a last single one has no neighbour."""
    even = flat.shape[1] // 2 * 2
    sums: NDArray[Any] = flat[:, 0:even:2] + flat[:, 1:even:2]
    return sums


def bias_correction(
    weights: NDArray[np.float32], restored: NDArray[np.float32], means: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What to add to the bias [O] so that rounding the weights does not shift the mean output.

    E[W x] - E[Wq x] = (W - Wq) E[x], with E[x] [C] the mean of each input channel (Nagel et al.,
    arXiv 1906.04721, section 4.2); picture borders are left out of account.
    """
    moved = (weights.astype(np.float64) - restored).sum((2, 3))
    outputs, per_group = moved.shape
    groups = len(means) // per_group
    inputs = np.repeat(means.reshape(groups, per_group), outputs // groups, axis=0)
    correction: NDArray[np.float64] = (moved * inputs).sum(1)
    return correction


def smallest_scale(bias: NDArray[np.float32], scale_x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight scales f32 [O] below which the bias would leave int32 at scale_x * scale_w."""
    smallest: NDArray[np.float32] = (np.abs(bias) / (_BIAS_LIMIT * scale_x)).astype(np.float32)
    return smallest


def integer_bias(bias: NDArray[np.float64], scale: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bias [O] in steps of ``scale`` [O]."""
    steps = np.rint(bias / scale.astype(np.float64))
    return np.clip(steps, -(2.0**31), 2.0**31 - 1).astype(np.int32)
