"""The INT8 dialects: how one range becomes a scale and a zero point for a family of backends."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DEAD_SCALE = np.float32(2.0**-7)
"""For a tensor that was zero in every calibration picture: any scale represents it."""
SMALLEST_SCALE = 1e-10
SMALLEST_HALF = np.float32(2.0**-20)
"""The smallest scale in float16, which has 16 of its steps left there to tell scales apart."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """``activation``: dtype of quantised activations, ``symmetric``: their zero point is 0.

    ``pair_limit``: the largest sum of two neighbouring weights of a convolution that sums over
    channels, if the kernels need one. ``integer_bias``: int32 at scale_x * scale_w, not float.
    ``predictors``: also quantise the weights of the last convolutions, whose outputs stay float.
    ``lean_add``: leave the branch of a residual sum that only a convolution feeds unquantised, so
    that the backend can add within the convolution. ``share_concat``: a Concat takes only inputs
    of equal scale. ``guard_floats``: the backend gives a float convolution behind a
    DequantizeLinear INT8 weights with one scale for all (ONNX Runtime's WeightBiasQuantization,
    since 1.20), unless the scale there is a vector. ``half``: what is not INT8 is float16, and so
    are all scales, as TensorRT wants them: it takes the type of a tensor from its scale.
    """

    name: Literal["trt", "ort"]
    activation: Literal["int8", "uint8"]
    symmetric: bool
    pair_limit: int | None
    integer_bias: bool
    predictors: bool
    lean_add: bool
    share_concat: bool
    guard_floats: bool
    half: bool = False

    @property
    def key(self) -> str:
        """Tells all of them apart, in range tables."""
        return f"{self.name} {self.activation}"

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer of an activation."""
        if self.activation == "uint8":
            return (0, 255)
        return (-127, 127) if self.symmetric else (-128, 127)


# fmt: off
TRT = Dialect(
    "trt", "int8", symmetric=True, pair_limit=None,
    integer_bias=False, predictors=True, lean_add=True, share_concat=True, guard_floats=False,
    half=True,
)
# x86 without VNNI adds two uint8 * int8 products in saturating 16 bits (vpmaddubsw). The usual
# cure is 7-bit weights; but only the sum of each pair must stay within 32767 / 255 = 128, and
# that costs far less: the largest weights rarely are neighbours.
ORT_X86 = Dialect(
    "ort", "uint8", symmetric=False, pair_limit=128,
    integer_bias=True, predictors=False, lean_add=False, share_concat=False, guard_floats=True,
)
ORT_ARM = Dialect(
    "ort", "int8", symmetric=False, pair_limit=None,
    integer_bias=True, predictors=False, lean_add=False, share_concat=False, guard_floats=True,
)
# fmt: on
DIALECTS = (TRT, ORT_X86, ORT_ARM)


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
        scale = _scale(max(-low, high), largest, dialect.half)
        return np.asarray(scale), np.asarray(0, dtype)
    scale = _scale(high - low, largest - smallest, dialect.half)
    zero = int(np.clip(np.rint(smallest - low / float(scale)), smallest, largest))
    return np.asarray(scale), np.asarray(zero, dtype)


def _scale(span: float, steps: int, half: bool) -> np.float32:
    """span / steps, rounded so that steps * scale does not exceed span in float32."""
    if span < SMALLEST_SCALE * steps:
        return DEAD_SCALE
    kind = np.dtype(np.float16 if half else np.float32).type
    scale = kind(min(span / steps, float(np.finfo(kind).max)))
    while np.float32(steps) * np.float32(scale) > np.float32(span):
        scale = np.nextafter(scale, kind(0))
    return np.maximum(np.float32(scale), SMALLEST_HALF) if half else np.float32(scale)


def half_above(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The next numbers of float16, so that what a scale reaches is not cut."""
    near = scale.astype(np.float16)
    above = np.where(near < scale, np.nextafter(near, np.float16(np.inf)), near)
    return np.maximum(above.astype(np.float32), SMALLEST_HALF)
