"""The INT8 dialects: how one range becomes a scale and a zero point for a family of backends."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_DEAD_SCALE = np.float32(2.0**-7)
"""For a tensor that was zero in every calibration picture: any scale represents it."""
_SMALLEST_SCALE = 1e-10
_LARGEST_WEIGHT = {7: 64, 8: 127}  # 2 * 255 * 64 = 32640 still fits int16


@dataclass(frozen=True, slots=True)
class Dialect:
    """``activation``: dtype of quantised activations, ``symmetric``: their zero point is 0.

    ``dense_bits``: width of the weights of convolutions that sum over channels (depthwise ones
    always have 8). ``integer_bias``: int32 at scale_x * scale_w instead of float.
    ``predictors``: also quantise the weights of the last convolutions, whose outputs stay float.
    ``lean_add``: leave the branch of a residual sum that only a convolution feeds unquantised, so
    that the backend can add within the convolution. ``share_concat``: a Concat takes only inputs
    of equal scale.
    """

    name: Literal["trt", "ort"]
    activation: Literal["int8", "uint8"]
    symmetric: bool
    dense_bits: Literal[7, 8]
    integer_bias: bool
    predictors: bool
    lean_add: bool
    share_concat: bool

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of an activation."""
        if self.activation == "uint8":
            return (0, 255)
        return (-127, 127) if self.symmetric else (-128, 127)


# fmt: off
TRT = Dialect(
    "trt", "int8", symmetric=True, dense_bits=8,
    integer_bias=False, predictors=True, lean_add=True, share_concat=True,
)
# x86 without VNNI multiplies uint8 by int8 pairwise into saturating 16 bits (vpmaddubsw): only
# 7-bit weights keep 255 * w * 2 inside, and they run at the same speed everywhere.
ORT_X86 = Dialect(
    "ort", "uint8", symmetric=False, dense_bits=7,
    integer_bias=True, predictors=False, lean_add=False, share_concat=False,
)
ORT_ARM = Dialect(
    "ort", "int8", symmetric=False, dense_bits=8,
    integer_bias=True, predictors=False, lean_add=False, share_concat=False,
)
# fmt: on


def host_dialect(machine: str | None = None) -> Dialect:
    """The ONNX Runtime dialect of a machine, as ``platform.machine`` names it; default this one."""
    machine = (machine or platform.machine()).lower()
    return ORT_ARM if machine.startswith(("arm", "aarch64")) else ORT_X86


def activation_parameters(
    low: float, high: float, dialect: Dialect
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Scale f32 [] and zero point [] for values in [low, high]; zero is always exact.

    A range that starts at 0 never represents more than ``high``: then a ReLU6 before the
    quantisation is redundant and backends (and we) drop it.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    smallest, largest = dialect.limits
    dtype = np.dtype(dialect.activation)
    if dialect.symmetric:
        scale = _scale(max(-low, high), largest)
        return np.asarray(scale), np.asarray(0, dtype)
    scale = _scale(high - low, largest - smallest)
    zero = int(np.clip(np.rint(smallest - low / float(scale)), smallest, largest))
    return np.asarray(scale), np.asarray(zero, dtype)


def _scale(span: float, steps: int) -> np.float32:
    """span / steps, rounded so that steps * scale does not exceed span in float32."""
    if span < _SMALLEST_SCALE * steps:
        return _DEAD_SCALE
    scale = np.float32(span / steps)
    while np.float32(steps) * scale > np.float32(span):
        scale = np.nextafter(scale, np.float32(0))
    return scale


def quantise_weights(
    weights: NDArray[np.float32], bits: int, smallest_scale: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 weights [O, ...] and one scale f32 [O] per output channel.

    ``smallest_scale`` f32 [O] keeps an int32 bias in range where weights are almost zero.
    """
    flat = weights.reshape(len(weights), -1)
    largest = _LARGEST_WEIGHT[bits]
    scale = np.abs(flat).max(1, initial=0.0) / largest
    scale = np.where(scale < _SMALLEST_SCALE, _DEAD_SCALE, scale).astype(np.float32)
    if smallest_scale is not None:
        scale = np.maximum(scale, smallest_scale)
    shape = (-1, *([1] * (weights.ndim - 1)))
    quantised = np.clip(np.rint(weights / scale.reshape(shape)), -largest, largest)
    return quantised.astype(np.int8), scale
