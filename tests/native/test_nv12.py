"""NV12 letterbox: against the plain formula, its own bits in numpy, and OpenCV's way over BGR."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import pytest
import reference

from edgemtl.manifest import InputSpec
from edgemtl.ops import letterbox, letterbox_geometry, letterbox_nv12

SIZES = [
    ((2, 2), (1, 1)),
    ((2, 2), (64, 64)),
    ((2, 40), (16, 16)),
    ((40, 2), (16, 16)),
    ((36, 52), (36, 52)),
    ((36, 52), (61, 47)),
    ((102, 78), (33, 97)),
    ((480, 640), (96, 128)),
    ((270, 482), (320, 320)),
    ((72, 96), (36, 48)),
    ((4, 400), (8, 8)),
]
PLAIN = InputSpec(size_hw=(1, 1), dtype="uint8", channels="bgr", scale=1, offset=0, pad=7)
KR_KB = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
ERROR = 0.5 + 0.07
"""Rounding to a level; 7 bits between the passes and 6 in each product, factors of 14 bits."""

Matrix = Literal["bt601", "bt709"]


def _picture(hw: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, hw, np.uint8),
        random.integers(0, 256, (hw[0] // 2, hw[1]), np.uint8),
    )


def _factors(matrix: str) -> tuple[float, float, float, float, float]:
    """Of luma; V in red; U and V in green; U in blue (ITU-R BT.601 and BT.709, limited range)."""
    kr, kb = KR_KB[matrix]
    kg, chroma = 1 - kr - kb, 255 / 224
    red, blue = 2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma
    return 255 / 219, red, -blue * kb / kg, -red * kr / kg, blue


def _plain(y: np.ndarray, uv: np.ndarray, height: int, width: int, matrix: str) -> np.ndarray:
    """f64 [height, width, 3] BGR in 0 to 255, unrounded."""
    pairs = uv.reshape(uv.shape[0], -1, 2)
    luma = np.maximum(reference.bilinear(y[..., None], height, width)[..., 0] - 16, 0)
    u, v = np.moveaxis(reference.bilinear(pairs, height, width) - 128, -1, 0)
    ky, rv, gu, gv, bu = _factors(matrix)
    bgr = [ky * luma + bu * u, ky * luma + gu * u + gv * v, ky * luma + rv * v]
    return np.stack(bgr, -1).clip(0, 255)


def _exact(y: np.ndarray, uv: np.ndarray, height: int, width: int, matrix: str) -> np.ndarray:
    """i64 [height, width, 3] BGR: the kernel's own steps, in 64-bit numpy."""

    def times(value: np.ndarray, factor: float) -> np.ndarray:
        return (value * round(factor * 2**14) + 2**14) >> 15

    luma = _resized_bits(y[..., None], height, width)[..., 0] - (16 << 7)
    u, v = np.moveaxis(_resized_bits(uv.reshape(len(uv), -1, 2), height, width) - (128 << 7), -1, 0)
    ky, rv, gu, gv, bu = _factors(matrix)
    grey = times(np.maximum(luma, 0), ky)
    bgr = [
        grey + times(2 * u, bu / 2),
        grey + times(u, gu) + times(v, gv),
        grey + times(v, rv),
    ]
    return np.clip((np.stack(bgr, -1) + 32) >> 6, 0, 255)


def _resized_bits(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """i64 [height, width, C], levels << 7, from [H, W, C]."""

    def neighbours(size: int, source: int, bits: int) -> tuple[Any, Any, Any]:
        at = np.clip((np.arange(size) + 0.5) * (source / size) - 0.5, 0, source - 1)
        first = np.floor(at).astype(int)
        return first, np.minimum(first + 1, source - 1), ((at - first) * 2**bits + 0.5).astype(int)

    rows = plane.astype(np.int64) << 7
    y0, y1, fy = neighbours(height, plane.shape[0], 15)
    fy = np.minimum(fy, 32767)[:, None, None]
    rows = rows[y0] + (((rows[y1] - rows[y0]) * fy + 2**14) >> 15)
    x0, x1, fx = neighbours(width, plane.shape[1], 14)
    fx = fx[:, None]
    return (rows[:, x0] * (2**14 - fx) + rows[:, x1] * fx + 2**13) >> 14


def _spec(net_hw: tuple[int, int], **changes: object) -> InputSpec:
    return PLAIN.model_copy(update={"size_hw": net_hw, **changes})


def _run(y: np.ndarray, uv: np.ndarray, spec: InputSpec, matrix: Matrix = "bt601") -> np.ndarray:
    out = np.full((3, *spec.size_hw), 99, spec.dtype)
    letterbox_nv12(y, uv, out, spec, matrix)
    return out


def _bgr(y: np.ndarray, uv: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.concatenate([y, uv]), cv2.COLOR_YUV2BGR_NV12)


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("align", ["center", "top_left"])
@pytest.mark.parametrize(("src", "net"), SIZES)
def test_pixels_border_and_geometry(
    src: tuple[int, int], net: tuple[int, int], align: str, matrix: Matrix
) -> None:
    y, uv = _picture(src)
    got = _run(y, uv, _spec(net, align=align), matrix).transpose(1, 2, 0)
    top, left, height, width = reference.letterbox_place(src, net, align == "top_left")
    inside = got[top : top + height, left : left + width]
    assert np.array_equal(inside, _exact(y, uv, height, width, matrix))
    assert np.abs(inside - _plain(y, uv, height, width, matrix)).max() <= ERROR
    border = np.ones(net, bool)
    border[top : top + height, left : left + width] = False
    assert (got[border] == 7).all()
    out = np.empty((3, *net), np.uint8)
    geometry = letterbox_nv12(y, uv, out, _spec(net, align=align), matrix)
    assert geometry == letterbox_geometry(src, net, align)


@pytest.mark.parametrize("net", [(48, 64), (30, 40), (100, 133), (96, 128)])
def test_grey_and_one_colour_as_through_bgr(net: tuple[int, int]) -> None:
    """Where chroma is the same everywhere the ways differ by rounding alone: 0.5 levels each in the
    conversion and the resize of OpenCV, and ours."""
    y = _picture((96, 128), 1)[0] // 2 + 60
    for chroma in [(128, 128), (110, 140), (150, 120)]:
        uv = np.tile(np.array(chroma, np.uint8), (48, 64))
        resized = cv2.resize(_bgr(y, uv), net[::-1], interpolation=cv2.INTER_LINEAR)
        top, left, height, width = reference.letterbox_place((96, 128), net, False)
        if (height, width) != net:
            resized = cv2.resize(_bgr(y, uv), (width, height), interpolation=cv2.INTER_LINEAR)
        got = _run(y, uv, _spec(net)).transpose(1, 2, 0)[top : top + height, left : left + width]
        assert np.abs(got.astype(int) - resized).max() <= 2


@pytest.mark.parametrize("net", [(90, 160), (144, 256), (64, 114), (360, 640)])
def test_soft_pictures_are_nearer_the_original_than_through_bgr(net: tuple[int, int]) -> None:
    """OpenCV repeats each chroma sample, which is a few levels off where colours change."""
    random = np.random.default_rng(4)
    small = random.integers(60, 196, (8, 14, 3), np.uint8)
    picture = cv2.resize(small, (320, 180), interpolation=cv2.INTER_CUBIC)
    y = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)[:180]
    half = cv2.resize(picture, (160, 90), interpolation=cv2.INTER_AREA)
    planes = cv2.cvtColor(half.repeat(2, 0).repeat(2, 1), cv2.COLOR_BGR2YUV_I420)[180:]
    uv = np.stack([planes[:45].reshape(-1), planes[45:].reshape(-1)], -1)
    uv = uv.reshape(90, 320)
    _, _, height, width = reference.letterbox_place((180, 320), net, True)

    def resized(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(int)

    got = _run(y, uv, _spec(net, align="top_left")).transpose(1, 2, 0)[:height, :width]
    error, theirs = got - resized(picture), resized(_bgr(y, uv)) - resized(picture)
    assert np.abs(got - resized(_bgr(y, uv))).max() <= 6
    assert np.abs(error).mean() <= np.abs(theirs).mean()
    assert np.abs(error).max() <= max(np.abs(theirs).max(), 3)
    assert np.abs(error.mean()) <= 0.5


def test_blacks_and_whites_beyond_the_range_are_clipped() -> None:
    for level, want in [(0, 0), (16, 0), (235, 255), (255, 255)]:
        y, uv = np.full((8, 8), level, np.uint8), np.full((4, 8), 128, np.uint8)
        assert (_run(y, uv, _spec((20, 20))) == want).all()
    for pair in [(0, 0), (255, 255), (0, 255), (255, 0)]:
        y, uv = np.full((8, 8), 255, np.uint8), np.tile(np.array(pair, np.uint8), (4, 4))
        assert np.abs(_run(y, uv, _spec((8, 8))).transpose(1, 2, 0) - _bgr(y, uv)).max() <= 1


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [("int8", 1, -128), ("int8", 0.5, -64), ("uint8", 2, -128), ("float32", 1 / 255, 0)],
)
def test_types_and_channel_orders(dtype: str, scale: float, offset: float, channels: str) -> None:
    y, uv = _picture((40, 56), 3)
    levels = _run(y, uv, _spec((64, 48)))
    spec = _spec((64, 48), dtype=dtype, scale=scale, offset=offset, channels=channels)
    want = reference.stored(levels[::-1] if channels == "rgb" else levels, dtype, scale, offset)
    assert np.array_equal(_run(y, uv, spec), want)


def test_planes_may_be_views() -> None:
    whole = np.random.default_rng(5).integers(0, 256, (90, 80), np.uint8)
    y, uv = whole[:60], whole[60:]
    want = _run(y.copy(), uv.copy(), _spec((33, 44)))
    assert np.array_equal(_run(y, uv, _spec((33, 44))), want)
    wide = np.full((60, 100), 9, np.uint8)
    wide[:, 10:90] = y
    assert np.array_equal(_run(wide[:, 10:90], uv, _spec((33, 44))), want)
    flipped_y, flipped_uv = y[::-1].copy()[::-1], uv[::-1].copy()[::-1]
    assert np.array_equal(_run(flipped_y, flipped_uv, _spec((33, 44))), want)


def test_writes_only_its_own_slot() -> None:
    batch = np.full((3, 3, 24, 24), 55, np.uint8)
    letterbox_nv12(*_picture((30, 20)), batch[1], _spec((24, 24)))
    assert (batch[0] == 55).all()
    assert (batch[2] == 55).all()
    assert not (batch[1] == 55).all()


def test_as_bgr_of_the_same_picture() -> None:
    """A picture without detail: both letterboxes agree wherever they are."""
    y, uv = np.full((50, 70), 120, np.uint8), np.tile(np.array([90, 170], np.uint8), (25, 35))
    out = np.empty((3, 40, 40), np.uint8)
    letterbox(_bgr(y, uv), out, _spec((40, 40)))
    assert np.abs(_run(y, uv, _spec((40, 40))).astype(int) - out).max() <= 1


def test_other_planes_are_refused() -> None:
    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.uint8)

    for y, uv, text in [
        (zeros(4, 5), zeros(2, 5), "y: expected"),
        (zeros(5, 4), zeros(2, 4), "y: expected"),
        (zeros(0, 4), zeros(0, 4), "y: expected"),
        (zeros(4, 32768), zeros(2, 32768), "y: expected"),
        (zeros(4, 4), zeros(4, 4), "uv: expected"),
        (zeros(4, 4), zeros(2, 2), "uv: expected"),
        (zeros(4, 8)[:, ::2], zeros(2, 4), "y: bytes of a row"),
        (zeros(4, 4), zeros(2, 4)[:, ::-1], "uv: bytes of a row"),
    ]:
        with pytest.raises(ValueError, match=text):
            _run(y, uv, _spec((8, 8)))
    for y, uv in [(zeros(4, 4, 1), zeros(2, 4)), (zeros(4, 4), zeros(2, 2, 2))]:
        with pytest.raises(TypeError, match="expected 2-dimensional"):
            _run(y, uv, _spec((8, 8)))
    unknown: Any = "bt2020"
    with pytest.raises(ValueError, match="matrix: expected 'bt601' or 'bt709', got 'bt2020'"):
        _run(zeros(4, 4), zeros(2, 4), _spec((8, 8)), unknown)
    with pytest.raises(ValueError, match=r"out: expected uint8 \[3, 8, 8\], got int8"):
        letterbox_nv12(zeros(4, 4), zeros(2, 4), np.zeros((3, 8, 8), np.int8), _spec((8, 8)))
