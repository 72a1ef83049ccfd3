"""Boxes must follow their pixels, whatever the view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from edgemtl.data.base import UNKNOWN, Truth
from edgemtl.data.imageset import empty_truth
from edgemtl.train.augment import (
    PAD,
    augment,
    clip_truth,
    colour,
    erase,
    letterbox_matrix,
    mosaic,
    random_matrix,
    warp,
    warp_boxes,
)
from edgemtl.train.config import AugmentConfig

PLAIN = AugmentConfig(gain=0.0, bias=0.0, saturation=0.0)


def one_box(size_hw: tuple[int, int], box: tuple[int, int, int, int]):
    picture = np.zeros((*size_hw, 3), np.uint8)
    picture[box[1] : box[3], box[0] : box[2]] = 255
    truth = Truth(
        np.array([box], np.float32),
        np.array([0], np.int32),
        np.array([7], np.int64),
        np.zeros(1, bool),
        3,
    )
    return picture, truth


def bright(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """The extent of what is white (the pad is 128)."""
    y, x = np.nonzero(pixels[..., 0] > 190)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


@pytest.mark.parametrize("size_hw", [(96, 128), (95, 131), (200, 64)])
@pytest.mark.parametrize("seed", range(6))
def test_the_box_frames_the_white_pixels(size_hw: tuple[int, int], seed: int) -> None:
    picture, truth = one_box(size_hw, (20, 30, 50, 70))
    sample = augment(picture, truth, (96, 128), PLAIN, np.random.default_rng(seed))
    assert sample.pixels.shape == (96, 128, 3)
    if len(sample.boxes_net):
        np.testing.assert_allclose(sample.boxes_net[0], bright(sample.pixels), atol=1.6)


def test_letterbox_equals_the_runtimes_geometry() -> None:
    ops = pytest.importorskip("edgemtl.ops")
    for src in ((576, 768), (97, 33), (20, 400)):
        boxes = np.array([[1, 2, 15, 18]], np.float32)
        geometry = ops.letterbox_geometry(src, (320, 416))
        ours = warp_boxes(boxes, letterbox_matrix(src, (320, 416)))
        # the runtime rounds the resized size and its place to whole pixels: half a pixel each
        np.testing.assert_allclose(ours, ops.boxes_to_net(boxes, geometry), atol=1.01)


def test_a_box_mostly_outside_becomes_ignored_and_takes_the_scene_along() -> None:
    picture, truth = one_box((96, 128), (0, 0, 40, 40))
    config = PLAIN.model_copy(update={"scale": (1.0, 1.0), "shift": 0.5, "flip": 0.0})
    outcomes = set()
    for seed in range(40):
        sample = augment(picture, truth, (96, 128), config, np.random.default_rng(seed))
        ignored = bool(sample.ignore.any()) or not len(sample.labels)
        outcomes.add((ignored, sample.scene))
    assert outcomes == {(True, UNKNOWN), (False, 3)}


def test_ignored_regions_do_not_decide_about_the_scene() -> None:
    boxes = np.array([[-35, 0, 5, 40], [0, 0, 128, 96]], np.float32)
    truth = Truth(
        boxes, np.array([0, 0], np.int32), np.array([7, -1], np.int64), np.array([False, True]), 3
    )
    assert clip_truth(truth, boxes, (0.0, 0.0, 128.0, 96.0), 0.3).scene == UNKNOWN
    inside = boxes + np.array([40, 0, 40, 0], np.float32)
    assert clip_truth(truth, inside, (0.0, 0.0, 128.0, 96.0), 0.3).scene == 3
    region = Truth(boxes[1:], truth.labels[1:], truth.identities[1:], truth.ignore[1:], 3)
    assert clip_truth(region, boxes[1:] - 500, (0.0, 0.0, 128.0, 96.0), 0.3).scene == 3


def test_mirror_keeps_corners_in_order() -> None:
    config = AugmentConfig(flip=1.0)
    matrix = random_matrix((96, 128), (96, 128), config, np.random.default_rng(0))
    box = warp_boxes(np.array([[10, 10, 30, 40]], np.float32), matrix)[0]
    assert matrix[0, 0] < 0
    assert box[0] < box[2]
    assert box[1] < box[3]


def test_an_empty_truth_stays_empty() -> None:
    none = Truth(
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.zeros(0, bool),
        1,
    )
    picture = np.zeros((50, 50, 3), np.uint8)
    sample = augment(picture, none, (32, 64), PLAIN, np.random.default_rng(0))
    assert sample.boxes_net.shape == (0, 4)
    assert sample.scene == 1


def test_mosaic_boxes_stay_in_their_tiles_and_the_scene_is_unknown() -> None:
    pictures = [one_box((96, 128), (40, 30, 80, 70)) for _ in range(4)]
    sample = mosaic(pictures, (96, 128), PLAIN, np.random.default_rng(3))
    assert sample.scene == UNKNOWN
    assert 1 <= len(sample.boxes_net) <= 4
    for x1, y1, x2, y2 in sample.boxes_net:
        inner = sample.pixels[int(y1) + 2 : int(y2) - 2, int(x1) + 2 : int(x2) - 2]
        assert inner.size == 0 or inner.mean() > 200


STILL = AugmentConfig(
    scale=(1, 1), shift=0, flip=0, gain=0.0, bias=0.0, saturation=0.0, min_visible=0.5
)
SCENE_OF_CLASS = np.array([4, 2, UNKNOWN], np.int32)


def labelled(*boxes: tuple[int, int, int, int, int], scene: int = UNKNOWN, ignore: int = -1):
    """A picture of 64x64 with boxes (x1, y1, x2, y2, class), of which one may be ignored."""
    truth = Truth(
        np.array([b[:4] for b in boxes], np.float32).reshape(-1, 4),
        np.array([b[4] for b in boxes], np.int32),
        np.full(len(boxes), UNKNOWN, np.int64),
        np.arange(len(boxes)) == ignore,
        scene,
    )
    return np.zeros((64, 64, 3), np.uint8), truth


SMALL, LARGE = (26, 26, 38, 38), (16, 16, 48, 48)


@pytest.mark.parametrize(
    ("pictures", "scene"),
    [
        ([(4, (*SMALL, 0)), (2, (*LARGE, 1)), (5,), (4, (*SMALL, 0))], 2),
        ([(4, (*LARGE, 0), (*SMALL, 1)), (5,), (5,), (2, (*SMALL, 1))], 4),
        ([(4, (*SMALL, 0)), (UNKNOWN, (*LARGE, 2)), (5,), (5,)], UNKNOWN),
        ([(4, (*SMALL, 0)), (4, (*SMALL, 0), (*LARGE, 1)), (5,), (5,)], UNKNOWN),
        ([(4, (*SMALL, 0)), (UNKNOWN, (*LARGE, 1)), (5,), (5,)], UNKNOWN),
        ([(5,), (5,), (5,), (5,)], 5),
        ([(5,), (5,), (5,), (4,)], UNKNOWN),
    ],
    ids=["largest", "of one picture", "names none", "a teacher's", "doubtful", "no box", "odd"],
)
def test_the_largest_visible_box_names_the_image_class_of_a_mosaic(
    pictures: list[Any], scene: int
) -> None:
    four = [labelled(*boxes, scene=own) for own, *boxes in pictures]
    for seed in range(5):
        made = mosaic(four, (128, 128), STILL, np.random.default_rng(seed), SCENE_OF_CLASS)
        assert made.scene == scene
    unsaid = mosaic(four, (128, 128), STILL, np.random.default_rng(0))
    assert unsaid.scene == UNKNOWN


def test_a_mosaic_has_no_image_class_where_an_ignored_region_is_largest() -> None:
    four = [labelled((*SMALL, 0), scene=4)] * 3 + [labelled((*LARGE, 1), scene=2, ignore=0)]
    made = mosaic(four, (128, 128), STILL, np.random.default_rng(0), SCENE_OF_CLASS)
    assert made.scene == UNKNOWN


def test_warp_without_change_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 64, 3)).astype(np.uint8)
    out = np.empty_like(picture)
    warp(picture, letterbox_matrix((32, 64), (32, 64)), out)
    np.testing.assert_array_equal(out, picture)


def test_colour_off_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(colour(picture, PLAIN, np.random.default_rng(0)), picture)


@pytest.mark.parametrize(("size_hw", "part"), [((64, 96), 0.5), ((33, 47), 0.9), ((32, 32), 1.0)])
def test_a_square_is_erased_around_a_place_that_is_evenly_drawn(
    size_hw: tuple[int, int], part: float
) -> None:
    rng = np.random.default_rng(0)
    hidden, full = np.zeros(size_hw), part * min(size_hw)
    for _ in range(400):
        pixels = np.full((*size_hw, 3), 7, np.uint8)
        erase(pixels, part, rng)
        gone = (pixels == PAD).all(-1)
        assert ((pixels == 7).all(-1) | gone).all()
        rows, columns = (np.flatnonzero(gone.any(axis)) for axis in (1, 0))
        assert gone.sum() == len(rows) * len(columns), "one rectangle"
        assert max(len(rows), len(columns)) <= full + 1
        # a place in a corner leaves a quarter
        assert min(len(rows), len(columns)) >= full / 2 - 1
        hidden += gone
    assert hidden.min() > 0, "any place can be hidden"


def test_only_pictures_without_boxes_are_erased() -> None:
    how = PLAIN.model_copy(update={"erase": 0.5, "scale": (1.0, 1.0), "shift": 0.0})
    picture, truth = one_box((64, 64), (0, 0, 64, 64))
    kept = augment(picture, truth, (64, 64), how, np.random.default_rng(0))
    assert (kept.pixels == 255).all()
    shown = augment(picture, empty_truth(3), (64, 64), how, np.random.default_rng(0))
    assert 0.0 < (shown.pixels == PAD).mean() <= 0.27
    assert shown.scene == 3
