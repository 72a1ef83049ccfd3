"""INT8 weights and biases: per channel, within the kernels' limits, unbiased."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.graph.weights import (
    bias_correction,
    integer_bias,
    quantise_weights,
    restore_weights,
    smallest_scale,
)


def _weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (8, 1, 5, 5), (2, 16, 1, 1), (1, 1, 1, 1)])
def test_symmetric_per_channel_to_half_a_step(shape: tuple[int, ...]) -> None:
    weights = _weights(*shape) * np.logspace(-3, 3, shape[0]).reshape(-1, 1, 1, 1)
    weights = weights.astype(np.float32)
    quantised, scale = quantise_weights(weights)
    assert np.abs(quantised.astype(int)).reshape(shape[0], -1).max(1).tolist() == [127] * shape[0]
    error = np.abs(restore_weights(quantised, scale) - weights)
    assert (error <= scale.reshape(-1, 1, 1, 1) * 0.5001).all()


@pytest.mark.parametrize("shape", [(64, 3, 3, 3), (64, 33, 1, 1), (32, 8, 5, 5), (4, 1, 1, 1)])
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_no_pair_of_products_leaves_sixteen_bits(shape: tuple[int, ...], spread: float) -> None:
    """vpmaddubsw adds a * w[2i] + b * w[2i + 1] with bytes a, b: exhaustively at the worst a, b."""
    weights = 1 + spread * _weights(*shape)
    quantised, _ = quantise_weights(weights.astype(np.float32), pair_limit=128)
    rows = np.moveaxis(quantised, 1, -1).reshape(shape[0], -1).astype(np.int64)
    even = rows.shape[1] // 2 * 2
    for a in (0, 255):
        for b in (0, 255):
            sums = a * rows[:, 0:even:2] + b * rows[:, 1:even:2]
            assert sums.size == 0 or (-(2**15) <= sums.min() <= sums.max() < 2**15)


def test_pairs_cost_less_than_seven_bits() -> None:
    weights = _weights(64, 64, 1, 1)

    def error(largest: float | None) -> float:
        if largest is None:
            quantised, scale = quantise_weights(weights, pair_limit=128)
            return float(((restore_weights(quantised, scale) - weights) ** 2).mean())
        step = np.abs(weights).max((1, 2, 3), keepdims=True) / largest
        return float(((np.rint(weights / step) * step - weights) ** 2).mean())

    assert error(127) < error(None) < 0.6 * error(64)


def test_dead_and_tiny_channels() -> None:
    weights = np.zeros((3, 4, 1, 1), np.float32)
    weights[1] = 1e-30
    weights[2, 0] = 5
    quantised, scale = quantise_weights(weights, pair_limit=128)
    assert (scale > 0).all()
    assert not quantised[:2].any()
    bias = np.array([1e3, -1e3, 1], np.float32)
    _, scale = quantise_weights(weights, None, smallest_scale(bias, np.float32(1e-9)))
    steps = integer_bias(bias.astype(np.float64), scale * np.float32(1e-9))
    np.testing.assert_allclose(steps * (scale * 1e-9), bias, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(6, 4, 1), (6, 6, 6), (6, 4, 2)])
def test_bias_correction_restores_the_mean_output(inputs: int, outputs: int, groups: int) -> None:
    """Against the definition: mean output over many constant-in-space inputs."""
    rng = np.random.default_rng(1)
    weights = _weights(outputs, inputs // groups, 3, 3)
    coarse = np.round(weights * 2) / 2
    x = rng.uniform(0, 6, (200, inputs))
    means = x.mean(0)
    want = np.zeros(outputs)
    for o in range(outputs):
        first = o // (outputs // groups) * (inputs // groups)
        part = x[:, first : first + inputs // groups]
        want[o] = (part @ (weights - coarse)[o].sum((1, 2))).mean()
    have = bias_correction(weights, coarse.astype(np.float32), means)
    np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5)
