"""Letterbox: against OpenCV and the plain twin, for every layout a picture may have in memory."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import reference

from edgemtl.manifest import InputSpec
from edgemtl.ops import letterbox, letterbox_geometry

SIZES = [
    ((1, 1), (8, 8)),
    ((1, 1), (1, 1)),
    ((1, 9), (16, 16)),
    ((9, 1), (16, 16)),
    ((2, 3), (64, 64)),
    ((37, 53), (37, 53)),
    ((37, 53), (61, 47)),
    ((101, 77), (33, 97)),
    ((480, 640), (96, 128)),
    ((270, 481), (320, 320)),
    ((3, 400), (8, 8)),
    ((400, 3), (5, 7)),
    ((64, 64), (1, 1)),
    ((64, 64), (1, 200)),
    ((96, 160), (48, 80)),
    ((108, 180), (36, 60)),
    ((144, 240), (24, 40)),
    ((7, 64), (4, 32)),
    ((11, 66), (4, 22)),
]
PLAIN = InputSpec(size_hw=(1, 1), dtype="uint8", channels="bgr", scale=1, offset=0, pad=7)
ERROR = 0.5 + 0.02
"""Rounding to a level, and the kernel's 7 bits between its passes with weights of 14 and 15."""


def _picture(hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


def _spec(net_hw: tuple[int, int], **changes: object) -> InputSpec:
    return PLAIN.model_copy(update={"size_hw": net_hw, **changes})


def _run(image: np.ndarray, spec: InputSpec) -> np.ndarray:
    out = np.full((3, *spec.size_hw), 99, spec.dtype)
    letterbox(image, out, spec)
    return out


@pytest.mark.parametrize("align", ["center", "top_left"])
@pytest.mark.parametrize(("src", "net"), SIZES)
def test_pixels_border_and_geometry(src: tuple[int, int], net: tuple[int, int], align: str) -> None:
    image = _picture(src)
    got = _run(image, _spec(net, align=align)).transpose(1, 2, 0)
    top, left, height, width = reference.letterbox_place(src, net, align == "top_left")
    inside = got[top : top + height, left : left + width]
    assert np.abs(inside - reference.bilinear(image, height, width)).max() <= ERROR
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).reshape(
        height, width, 3
    )
    assert np.abs(inside.astype(int) - resized).max() <= 1
    border = np.ones(net, bool)
    border[top : top + height, left : left + width] = False
    assert (got[border] == 7).all()
    geometry = letterbox_geometry(src, net, align)
    assert geometry.pad_xy == (left, top)
    assert geometry.scale_xy == (width / src[1], height / src[0])
    out = np.empty((3, *net), np.uint8)
    assert letterbox(image, out, _spec(net, align=align)) == geometry


def test_equal_size_is_a_copy() -> None:
    image = _picture((13, 29))
    assert np.array_equal(_run(image, _spec((13, 29))).transpose(1, 2, 0), image)


def test_extreme_levels_keep_their_range() -> None:
    image = np.zeros((31, 31, 3), np.uint8)
    image[::2, 1::2] = 255
    image[1::2, ::2] = 255
    for net in [(57, 57), (19, 19), (31, 62)]:
        top, left, height, width = reference.letterbox_place((31, 31), net, False)
        got = _run(image, _spec(net)).transpose(1, 2, 0)[top : top + height, left : left + width]
        assert np.abs(got - reference.bilinear(image, height, width)).max() <= ERROR
    white = np.full((5, 7, 3), 255, np.uint8)
    assert (_run(white, _spec((50, 70))) == 255).all()


@pytest.mark.parametrize("net", [(500, 500), (307, 307), (151, 151)])
def test_rounding_has_no_bias(net: tuple[int, int]) -> None:
    """Each pass rounds to the nearest: a pass that cuts off shifts the mean by 1/256 of a level."""
    image = _picture((301, 301), 2)
    got = _run(image, _spec(net)).transpose(1, 2, 0)
    error = got - reference.bilinear(image, *net)
    assert abs(error.mean()) < 5 * 0.29 / np.sqrt(error.size) + 3e-4


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [
        ("int8", 1, -128),
        ("int8", 0.5, -64),
        ("int8", 4, -300),
        ("int8", -1, 127),
        ("uint8", 1, 0),
        ("uint8", 1, 20),
        ("uint8", 2, -128),
        ("uint8", 1e30, -1e30),
        ("uint8", 3e38, 0),
        ("float32", 1 / 128, -1),
        ("float32", 1 / 255, 0),
        ("float32", -0.017, 2.1),
    ],
)
def test_types_and_channel_orders(dtype: str, scale: float, offset: float, channels: str) -> None:
    image = _picture((40, 56), 3)
    levels = _run(image, _spec((64, 48)))
    spec = _spec((64, 48), dtype=dtype, scale=scale, offset=offset, channels=channels)
    want = reference.stored(levels[::-1] if channels == "rgb" else levels, dtype, scale, offset)
    assert np.array_equal(_run(image, spec), want)


VIEWS = {
    "crop": lambda big: big[5:35, 7:60],
    "upside down": lambda big: big[::-1],
    "upside-down crop": lambda big: big[30:4:-1, 2:41],
    "every third row": lambda big: big[::3, 1:],
    "one row for all": lambda big: np.broadcast_to(big[:1], (20, 64, 3)),
    "one column": lambda big: big[:, 9:10],
    "a column of a thinned view": lambda big: big[:, ::2][:, 3:4],
    "a row of a flipped view": lambda big: big[::-1][4:5],
    "read-only": lambda big: np.frombuffer(big.tobytes(), np.uint8).reshape(big.shape),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_equal_their_copies(name: str) -> None:
    view = VIEWS[name](_picture((48, 64), 5))
    assert np.array_equal(_run(view, _spec((32, 40))), _run(view.copy(), _spec((32, 40))))


def test_source_is_left_alone_and_ends_exactly() -> None:
    """The last row's last byte is the buffer's last (and a reversed view's first): see sanitize."""
    for hw in [(1, 1), (2, 2), (7, 5), (16, 17), (33, 31)]:
        for net in [(40, 40), (6, 6), hw]:
            whole = _picture(hw, 8).reshape(-1).copy()
            before = whole.copy()
            image = whole.reshape(*hw, 3)
            a, b = _run(image, _spec(net)), _run(image[::-1], _spec(net))
            assert np.array_equal(whole, before)
            top, left, height, width = reference.letterbox_place(hw, net, False)
            for got, source in ((a, image), (b, image[::-1])):
                inside = got.transpose(1, 2, 0)[top : top + height, left : left + width]
                assert np.abs(inside - reference.bilinear(source, height, width)).max() <= ERROR


def test_writes_only_its_own_slot() -> None:
    batch = np.full((3, 3, 24, 24), 55, np.uint8)
    letterbox(_picture((30, 20)), batch[1], _spec((24, 24)))
    assert (batch[0] == 55).all()
    assert (batch[2] == 55).all()
    assert not (batch[1] == 55).all()


def test_geometry_of_many_sizes() -> None:
    random = np.random.default_rng(1)
    for _ in range(2000):
        src = tuple(int(v) for v in np.exp(random.uniform(0, 10, 2)).astype(int))
        net = tuple(int(v) for v in np.exp(random.uniform(0, 7, 2)).astype(int))
        for align in ("center", "top_left"):
            top, left, height, width = reference.letterbox_place(src, net, align == "top_left")
            geometry = letterbox_geometry(src, net, align)
            assert geometry.pad_xy == (left, top)
            assert geometry.scale_xy == (width / src[1], height / src[0])
            assert 1 <= height <= net[0]
            assert 1 <= width <= net[1]


@pytest.mark.parametrize("sizes", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, -3, 1), (1, 1, 1, 0)])
def test_sizes_below_a_pixel_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        letterbox_geometry(sizes[:2], sizes[2:])


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros((4, 4, 3), np.int8), TypeError),
        (np.zeros((4, 4, 3), np.float32), TypeError),
        (np.zeros((4, 4), np.uint8), TypeError),
        (np.zeros((4, 4, 4), np.uint8), ValueError),
        (np.zeros((0, 4, 3), np.uint8), ValueError),
        (np.zeros((4, 0, 3), np.uint8), ValueError),
        (np.zeros((1, 32768, 3), np.uint8), ValueError),
        (np.zeros((4, 4, 3), np.uint8)[:, ::-1], ValueError),
        (np.zeros((4, 4, 3), np.uint8)[..., ::-1], ValueError),
        (np.zeros((4, 8, 3), np.uint8)[:, ::2], ValueError),
        (np.zeros((3, 4, 4), np.uint8).transpose(1, 2, 0), ValueError),
    ],
)
def test_other_pictures_are_refused(image: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="image"):
        _run(image, _spec((8, 8)))


def test_other_outputs_are_refused() -> None:
    image, spec = _picture((4, 4)), _spec((8, 8))
    frozen = np.zeros((3, 8, 8), np.uint8)
    frozen.flags.writeable = False
    for out in [
        np.zeros((3, 8, 8), np.int8),
        np.zeros((3, 8, 9), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
    ]:
        with pytest.raises(ValueError, match=r"out: expected uint8 \[3, 8, 8\], got"):
            letterbox(image, out, spec)
    for out in [frozen, np.zeros((8, 8, 3), np.uint8).transpose(2, 0, 1)]:
        with pytest.raises(TypeError, match="writable contiguous"):
            letterbox(image, out, spec)
