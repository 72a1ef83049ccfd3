"""What is drawn where, in which colour; and that nothing degenerate stops a run."""

from __future__ import annotations

import colorsys
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from edgemtl.drawing import colour_of, name_of
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.records import Detections, Frame, FrameResult, Scene, Tracks
from edgemtl.runtime.overlay import draw

GREY = (170, 170, 170)
MANIFEST = Manifest(
    name="m",
    input=InputSpec(size_hw=(32, 64)),
    classes=("person", "car"),
    image_classes=("street", "field"),
)


def _frame(size_hw: tuple[int, int] = (200, 300), value: int = 20) -> Frame:
    return Frame(np.full((*size_hw, 3), value, np.uint8), 0, 0, 0)


def _detections(*boxes: tuple[float, ...], labels: Any = None) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, 0.5, np.float32),
        np.array([0] * n if labels is None else labels, np.int32),
    )


def _result(
    found: Detections | None = None,
    tracks: dict[int, tuple[float, ...]] | None = None,
    det_index: tuple[int, ...] = (),
    scene: Scene | None = None,
    size_hw: tuple[int, int] = (200, 300),
) -> FrameResult:
    tracks = tracks or {}
    n = len(tracks)
    index = det_index or (-1,) * n
    return FrameResult(
        0, 0, 0, size_hw, scene, Detections.empty() if found is None else found,
        Tracks(
            np.array(list(tracks), np.int64),
            np.array(list(tracks.values()), np.float32).reshape(-1, 4),
            np.full(n, 0.9, np.float32),
            np.zeros(n, np.int32),
            np.array(index, np.int32),
        ),
    )  # fmt: skip


def test_a_copy_is_drawn_on() -> None:
    frame = _frame()
    result = _result(_detections((50, 60, 90, 100)), {3: (120, 60, 180, 150)})
    picture = draw(frame, result, MANIFEST)
    assert (frame.pixels == 20).all()
    assert picture.shape == frame.pixels.shape
    assert picture.dtype == np.uint8
    assert (picture != 20).any()


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_frames_of_a_decoder_are_drawn_in_colour(matrix: Literal["bt601", "bt709"]) -> None:
    nv12 = np.full((300, 300), 81, np.uint8)  # the red of BT.601
    nv12[200:] = np.tile(np.array([90, 240], np.uint8), 150)
    frame = Frame(nv12, 0, 0, 0, format="nv12", matrix=matrix)
    assert frame.size_hw == (200, 300)
    picture = draw(frame, _result(_detections()))
    assert picture.shape == (200, 300, 3)
    if matrix == "bt601":
        want = cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12)
        assert np.abs(picture.astype(int) - want).max() <= 1
    else:  # round(1.1644 * 65 + 2.1124 * -38), ...
        assert np.abs(picture[0, 0].astype(int) - [0, 24, 255]).max() <= 1
    assert (nv12[:200] == 81).all()


def test_nothing_found_changes_nothing() -> None:
    frame = _frame()
    np.testing.assert_array_equal(draw(frame, _result()), frame.pixels)


def _edges(picture: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    """The middle pixel of each side of a box, its last column and row included."""
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return picture[[y1, y2 - 1, y, y], [x, x, x1, x2 - 1]]


def test_boxes_and_their_colours() -> None:
    loose, tracked = (200, 100, 240, 140), (40, 60, 100, 150)
    found = _detections(loose, tracked)
    picture = draw(_frame(), _result(found, {5: (60, 70, 130, 160)}, (1,)), MANIFEST)
    assert (_edges(picture, loose) == GREY).all()
    assert (_edges(picture, (60, 70, 130, 160)) == colour_of(5)).all()
    assert not (_edges(picture, tracked) == GREY).all(1).any(), "a tracked detection shows once"
    assert (picture[120, 220] == 20).all(), "boxes are not filled"
    assert (picture[110, 95] == 20).all()
    assert (picture[141:160, 200:240] == 20).all()
    # the plates with the names lie above the boxes
    assert (picture[90:99, 202:206] == GREY).all(-1).any()
    assert (picture[58:69, 62:66] == colour_of(5)).all(-1).any()


def test_a_box_at_the_top_has_its_plate_inside() -> None:
    picture = draw(_frame(), _result(_detections((50, 0, 120, 90))), MANIFEST)
    assert (picture[1:8, 52:56] == GREY).all(-1).sum() > 10
    lower = draw(_frame(), _result(_detections((50, 5, 120, 90))), MANIFEST)
    assert (lower[:5] == 20).all()
    assert (lower[6:13, 52:56] == GREY).all(-1).sum() > 10


def test_the_scene_is_written_in_the_corner() -> None:
    scene = Scene(1, np.array([0.25, 0.75], np.float32))
    picture = draw(_frame(), _result(scene=scene), MANIFEST)
    assert (picture[:30, :60] == 255).all(-1).any()
    assert (picture[60:] == 20).all()
    other = draw(_frame(), _result(scene=Scene(0, np.array([0.75, 0.25], np.float32))), MANIFEST)
    assert (picture != other).any(), "names differ"


def test_colours_are_bright_and_neighbours_differ() -> None:
    colours = [colour_of(n) for n in range(1, 40)]
    assert len(set(colours)) == 39
    for b, g, r in colours:
        assert all(type(v) is int and 0 <= v <= 255 for v in (b, g, r))
        _, saturation, value = colorsys.rgb_to_hsv(r / 255, g / 255, b / 255)
        assert value > 0.99
        assert saturation == pytest.approx(0.75, abs=0.01)
    for one, two in pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(one, two, strict=True)) > 150


@pytest.mark.parametrize(
    ("label", "name"), [(0, "person"), (1, "car"), (2, "2"), (-1, "-1"), (10**6, "1000000")]
)
def test_names(label: int, name: str) -> None:
    assert name_of(MANIFEST.classes, label) == name


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 10),
        (40, 40, 20, 20),
        (-500, -500, -400, -400),
        (-50, -50, 1000, 1000),
        (5000, 5000, 6000, 6000),
        (-1e30, -1e30, 1e30, 1e30),
        (2.0**31, 0, 2.0**33, 10),
        (NAN, NAN, NAN, NAN),
        (-INF, 0, INF, 10),
        (0.4, 0.6, 1.4, 1.6),
    ],
    ids=str,
)
@pytest.mark.parametrize("size_hw", [(1, 1), (2, 500), (200, 300)])
def test_degenerate_boxes(box: tuple[float, ...], size_hw: tuple[int, int]) -> None:
    result = _result(_detections(box, labels=[77]), {1: box}, (-1,), size_hw=size_hw)
    for manifest in (None, MANIFEST):
        assert draw(_frame(size_hw), result, manifest).shape == (*size_hw, 3)


def test_a_box_around_the_picture_leaves_it_clean() -> None:
    picture = draw(_frame(), _result(_detections((-1e6, -1e6, 1e6, 1e6))))
    below_the_plate = picture[40:]
    assert (below_the_plate == 20).all()


def test_views_with_any_strides() -> None:
    base = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    result = _result(_detections((50, 60, 90, 100)))
    for view in (base[::-1], base[:, ::-1], base[::2, ::3], base[20:150, 10:280]):
        whole = Frame(np.ascontiguousarray(view), 0, 0, 0)
        before = base.copy()
        drawn = draw(Frame(view, 0, 0, 0), result)
        np.testing.assert_array_equal(drawn, draw(whole, result))
        np.testing.assert_array_equal(base, before)
