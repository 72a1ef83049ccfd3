"""Whatever a caller passes to the C module is either right or a TypeError or ValueError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from edgemtl import _native
from edgemtl.track import TrackerConfig

CONFIG = tuple(float(number) for number in astuple(TrackerConfig()))
BYTETRACK = (0.1, 0.5, 0.6, 0.8, 30, False, False)
MAPPING = (0.5, 0.5, 0.0, 8.0, 64.0, 32.0)
N, M, D, CAPACITY = 5, 4, 3, 6
TYPES = ("f4", "f8", "i1", "u1", "i4", "u4", "i8", "?", "f2", "c8", ">f4", ">i4", ">f8", "S4", "V4")
REFUSED = (TypeError, ValueError)


def _rows() -> list[Any]:
    """Boxes, scores, labels and embeddings of N detections."""
    random = np.random.default_rng(0)
    boxes = random.random((N, 4)).astype("f4")
    boxes[:, 2:] += 5
    return [boxes, np.full(N, 0.9, "f4"), np.zeros(N, "i4"), random.random((N, D)).astype("f4")]


def _ready_made() -> np.ndarray:
    """N rows of six numbers: boxes, scores, classes."""
    more = np.stack([np.full(N, 0.9), np.zeros(N)], 1)
    return np.concatenate([_rows()[0] * 9, more], 1).astype("f4")


def _found() -> list[np.ndarray]:
    return [np.empty((N, 4), "f4"), np.empty(N, "f4"), np.empty(N, "i4")]


def _tracks() -> list[Any]:
    out = [np.empty(CAPACITY, "i8"), np.empty((CAPACITY, 4), "f4"), np.empty(CAPACITY, "f4")]
    return [*out, np.empty(CAPACITY, "i4"), np.empty(CAPACITY, "i4")]


def _step(*arguments: Any) -> int:
    return _native.Tracker(CONFIG, CAPACITY, D).step(*arguments)


def _bytetrack_step(*arguments: Any) -> int:
    return _native.ByteTrack(BYTETRACK, CAPACITY).step(*arguments)


def _calls() -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """A right call of every function that takes arrays."""
    boxes = _rows()[0]
    picture = np.zeros((12, 9, 3), "u1")
    return {
        "letterbox": (
            _native.letterbox,
            [picture, np.empty((3, 8, 7), "i1"), True, 1.0, -128.0, 128, False, 0],
        ),
        "letterbox_nv12": (
            _native.letterbox_nv12,
            [
                np.zeros((12, 10), "u1"),
                np.zeros((6, 10), "u1"),
                False,
                np.empty((3, 8, 7), "i1"),
                True,
                1.0,
                -128.0,
                128,
                False,
                0,
            ],
        ),
        "boxes_to_net": (_native.boxes_to_net, [boxes, MAPPING, np.empty((N, 4), "f4")]),
        "boxes_to_src": (_native.boxes_to_src, [boxes, MAPPING, np.empty((N, 4), "f4")]),
        "decode": (_native.decode, [*_rows(), MAPPING, 0.5, *[np.empty_like(a) for a in _rows()]]),
        "iou": (_native.iou, [boxes, boxes[:M].copy(), np.empty((N, M), "f4")]),
        "nms": (_native.nms, [*_rows()[:3], 0.5, False, 9, np.empty(N, "i4")]),
        "detect": (
            _native.detect,
            [3, _ready_made(), 2, 40, 60, MAPPING, 0.5, 0.5, False, N, *_found()],
        ),
        "assign": (_native.assign, [np.zeros((N, M)), 9.0, 9.0, np.empty(N, "i4")]),
        "assign_sparse": (
            _native.assign_sparse,
            [
                np.arange(N + 1, dtype="i4"),
                np.zeros(N, "i4"),
                np.zeros(N),
                M,
                9.0,
                np.empty(N, "i4"),
            ],
        ),
        "kalman": (
            _native.kalman,
            [np.ones((N, 4)), np.ones(N), 1.0, (0.2, 0.3, 0.4, 0.4, 2.0, 0.4), np.empty((N, 4))],
        ),
        "step": (_step, [*_rows(), 0, 40, 60, np.eye(2, 3), *_tracks()]),
        "bytetrack": (_bytetrack_step, [*_rows()[:3], 0, *_tracks()]),
    }


OUTPUTS = {
    "letterbox": [1],
    "letterbox_nv12": [3],
    "boxes_to_net": [2],
    "boxes_to_src": [2],
    "decode": [6, 7, 8, 9],
    "iou": [2],
    "nms": [6],
    "detect": [10, 11, 12],
    "assign": [3],
    "assign_sparse": [5],
    "kalman": [4],
    "step": [8, 9, 10, 11, 12],
    "bytetrack": [4, 5, 6, 7, 8],
}
PLACES = [
    (name, i)
    for name, (_, arguments) in _calls().items()
    for i, argument in enumerate(arguments)
    if isinstance(argument, np.ndarray)
]
every_array = pytest.mark.parametrize(("name", "place"), PLACES)
every_function = pytest.mark.parametrize("name", OUTPUTS)


def _call(name: str, place: int, change: Callable[[Any], Any]) -> Any:
    function, arguments = _calls()[name]
    arguments[place] = change(arguments[place])
    return function(*arguments)


@every_function
def test_the_right_call_works(name: str) -> None:
    function, arguments = _calls()[name]
    function(*arguments)


@every_array
@pytest.mark.parametrize("dtype", TYPES)
def test_other_types(name: str, place: int, dtype: str) -> None:
    right = _calls()[name][1][place].dtype
    planes = (name, place) in {("letterbox", 1), ("letterbox_nv12", 3)}
    allowed = ("i1", "u1", "f4") if planes else (right.str[1:],)
    if np.dtype(dtype) in [np.dtype(a) for a in allowed]:
        _call(name, place, lambda a: a.astype(dtype))
        return
    with pytest.raises(TypeError, match="expected"):
        _call(name, place, lambda a: np.zeros(a.shape, dtype))


@every_array
def test_other_ranks(name: str, place: int) -> None:
    for change in (lambda a: a[None], lambda a: a[0], lambda a: np.zeros((), a.dtype)):
        with pytest.raises(REFUSED, match="expected"):
            _call(name, place, change)


@every_array
def test_strided_arrays(name: str, place: int) -> None:
    def thinned(a: np.ndarray) -> np.ndarray:
        return np.repeat(a, 2, axis=-1)[..., ::2]

    with pytest.raises(REFUSED, match=r"contiguous|follow each other"):
        _call(name, place, thinned)
    if (name, place) not in {("letterbox", 0), ("letterbox_nv12", 0), ("letterbox_nv12", 1)}:
        with pytest.raises(TypeError, match="contiguous"):
            _call(name, place, lambda a: a[::-1])


@every_array
def test_too_few_rows(name: str, place: int) -> None:
    if (name, place) in {("letterbox", 0), ("assign", 0), ("kalman", 0), ("detect", 1)}:
        _call(name, place, lambda a: a[:-1])  # the outputs may be longer than the inputs
        return
    for rows in (0, 1, -1):
        with pytest.raises(ValueError, match="expected"):
            _call(name, place, lambda a, rows=rows: a[:rows])


@every_array
def test_other_widths(name: str, place: int) -> None:
    array = _calls()[name][1][place]
    if array.ndim != 2 or (name, place) == ("assign", 0):
        return
    for width in (0, array.shape[1] - 1, array.shape[1] + 1):
        with pytest.raises(ValueError, match="expected"):
            _call(name, place, lambda a, width=width: np.zeros((len(a), width), a.dtype))


@every_function
def test_outputs_must_be_writable(name: str) -> None:
    def frozen(a: np.ndarray) -> np.ndarray:
        a.flags.writeable = False
        return a

    for place in OUTPUTS[name]:
        with pytest.raises(TypeError, match="writable"):
            _call(name, place, frozen)


@every_array
def test_things_that_are_no_arrays(name: str, place: int) -> None:
    optional = {("decode", 3), ("step", 3), ("step", 7)}
    for thing in (1, 1.5, "text", [1.0, 2.0], object(), b"", np.float32(3), memoryview(b"abcd")):
        with pytest.raises(REFUSED, match="expected"):
            _call(name, place, lambda _, thing=thing: thing)
    if (name, place) not in optional and (name, place) != ("decode", 9):
        with pytest.raises(TypeError, match="expected"):
            _call(name, place, lambda _: None)


@every_function
def test_number_of_arguments(name: str) -> None:
    function, arguments = _calls()[name]
    for wrong in (arguments[:-1], [*arguments, 0], []):
        with pytest.raises(TypeError):
            function(*wrong)


@pytest.mark.parametrize(
    "mapping",
    [
        (1, 1, 0, 0, 5),
        (1, 1, 0, 0, 5, 5, 5),
        [1, 1, 0, 0, 5, 5],
        None,
        (0, 1, 0, 0, 5, 5),
        (1, -1, 0, 0, 5, 5),
        (np.nan, 1, 0, 0, 5, 5),
        (1, 1e300, 0, 0, 5, 5),
        (1, 1, np.nan, 0, 5, 5),
        (1, 1, 0, np.inf, 5, 5),
        (1, 1, 0, 0, np.nan, 5),
        (1, 1, 0, 0, 5, np.inf),
        (1, 1, 0, 0, "5", 5),
    ],
)
def test_mappings(mapping: Any) -> None:
    for name, place in (("boxes_to_net", 1), ("boxes_to_src", 1), ("decode", 4), ("detect", 5)):
        with pytest.raises(REFUSED):
            _call(name, place, lambda _: mapping)


@pytest.mark.parametrize(
    ("place", "value"),
    [(3, np.nan), (3, np.inf), (3, 1e300), (4, np.nan), (5, -1), (5, 256), (5, 1.5), (3, "1")],
)
def test_pixel_formats(place: int, value: Any) -> None:
    with pytest.raises(REFUSED):
        _call("letterbox", place, lambda _: value)


@pytest.mark.parametrize(
    "arguments",
    [
        (CONFIG[:-1], 4, 0),
        ((*CONFIG, 1.0), 4, 0),
        ((np.nan, *CONFIG[1:]), 4, 0),
        ((*CONFIG[:-1], 1e300), 4, 0),
        (("a", *CONFIG[1:]), 4, 0),
        (None, 4, 0),
        (CONFIG, 0, 0),
        (CONFIG, -1, 0),
        (CONFIG, 65537, 0),
        (CONFIG, 4, -1),
        (CONFIG, 4, 65537),
        (CONFIG, 4.5, 0),
        (CONFIG, 4),
    ],
)
def test_trackers(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(REFUSED):
        _native.Tracker(*arguments)
    with pytest.raises(TypeError):
        _native.Tracker(CONFIG, 4, 0, extra=1)


@pytest.mark.parametrize(
    "arguments",
    [
        (BYTETRACK[:-1], 4),
        ((*BYTETRACK, 1), 4),
        ((np.nan, *BYTETRACK[1:]), 4),
        ((*BYTETRACK[:2], -1.0, *BYTETRACK[3:]), 4),
        ((*BYTETRACK[:3], 1.1, *BYTETRACK[4:]), 4),
        ((*BYTETRACK[:4], -1, *BYTETRACK[5:]), 4),
        ((*BYTETRACK[:4], 1.5, *BYTETRACK[5:]), 4),
        (None, 4),
        (BYTETRACK, 0),
        (BYTETRACK, 65537),
        (BYTETRACK, 4.5),
        (BYTETRACK,),
    ],
)
def test_bytetrackers(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(REFUSED):
        _native.ByteTrack(*arguments)
    with pytest.raises(TypeError):
        _native.ByteTrack(BYTETRACK, 4, extra=1)


def test_step_numbers() -> None:
    for place, value in [(5, 0), (6, 0), (5, -4), (4, 1.5), (5, None)]:
        with pytest.raises(REFUSED):
            _call("step", place, lambda _, value=value: value)
    with pytest.raises(OverflowError):
        _call("step", 4, lambda _: 2**63)


@pytest.mark.parametrize(
    "camera",
    [
        [[1, 0, np.nan], [0, 1, 0]],
        [[np.nan, 0, 0], [0, 1, 0]],
        [[1, np.inf, 0], [0, 1, 0]],
        [[1, 0, 0], [0, 1, -1.1e6]],
        [[1, 0, 0], [1, 0, 0]],
        [[0.005, 0, 0], [0, 0.005, 0]],
        [[99, 50, 0], [-99, 99, 0]],
        [[1e5, 0, 0], [0, 1e-5, 0]],
        [[1, 0, 0], [1e5, 1, 0]],
    ],
)
def test_cameras(camera: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="camera: expected a 2x3 matrix of finite numbers"):
        _call("step", 7, lambda _: np.array(camera, np.float64))
    assert _call("step", 7, lambda _: None) >= 0


def test_a_step_of_many_detections() -> None:
    tracker, n = _native.Tracker(CONFIG, 65536, 0), 32768
    rows = [np.zeros((n, 4), "f4"), np.zeros(n, "f4"), np.zeros(n, "i4"), None]
    out = [np.empty(65536, "i8"), np.empty((65536, 4), "f4"), np.empty(65536, "f4")]
    out += [np.empty(65536, "i4"), np.empty(65536, "i4")]
    assert tracker.step(*rows, 0, 9, 9, None, *out) == 0
    assert _native.ByteTrack(BYTETRACK, 65536).step(*rows[:3], 0, *out) == 0
    rows[0] = np.zeros((1_000_001, 4), "f4")
    with pytest.raises(ValueError, match="boxes: expected at most 1000000 rows, got 1000001"):
        tracker.step(*rows, 0, 9, 9, None, *out)


def _anything(random: np.random.Generator, right: np.ndarray) -> Any:
    """An array of drawn values; half the time of a drawn size, type and layout too."""
    like = random.random() < 0.5
    sides = random.choice([0, 1, 3, 4, 5, 6, 8], random.integers(1, 4))
    shape = right.shape if like else tuple(int(v) for v in sides)
    dtype = right.dtype.str if like else random.choice(["f4", "f4", "f8", "i4", "i8", "u1", "i1"])
    array = random.choice([0, 0.7, 1, 3, 40, 90], shape).astype(dtype)
    if array.dtype.kind == "f":
        array[random.random(shape) < 0.05] = random.choice([np.nan, np.inf, -np.inf, 1e30])
    if like:
        return array
    way = random.integers(6)
    if way == 0:
        return array[::-1]
    if way == 1:
        return array.T
    return np.broadcast_to(array[:1], shape) if way == 2 and len(array) else array


@every_function
@pytest.mark.parametrize("seed", range(3))
def test_random_arguments_never_crash(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    worked = 0
    for _ in range(400):
        function, arguments = _calls()[name]
        places = [i for _, i in PLACES if _ == name]
        for place in random.choice(places, random.integers(1, 3), replace=False):
            arguments[place] = _anything(random, arguments[place])
        try:
            function(*arguments)
            worked += 1
        except REFUSED as error:
            assert str(error)  # noqa: PT017
    assert 0 < worked < 400
