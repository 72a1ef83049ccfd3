"""Sheets, captions and hatched regions, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl import drawing as d


def flat(height: int, width: int, value: int = 90) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_tiles_lie_beside_and_below_each_other() -> None:
    sheet = d.grid([flat(4, 6, 10), flat(8, 5, 20), flat(3, 9, 30)], 2, 2)
    assert sheet.shape == (8 + 2 + 3, 13, 3)
    assert (sheet[:4, :6] == 10).all()
    assert (sheet[:8, 8:13] == 20).all()
    assert (sheet[10:, :9] == 30).all()
    rest = np.ones(sheet.shape[:2], bool)
    rest[:4, :6] = rest[:8, 8:13] = rest[10:, :9] = False
    assert (sheet[rest] == d.PAPER).all()
    assert sheet.flags.c_contiguous


@pytest.mark.parametrize(
    ("size_hw", "into", "wanted", "scale"),
    [
        ((100, 200), (50, 50), (25, 50), 0.25),
        ((30, 20), (60, 80), (60, 40), 2.0),
        ((1, 500), (50, 50), (1, 50), 0.1),
    ],
)
def test_a_picture_fits(
    size_hw: tuple[int, int], into: tuple[int, int], wanted: tuple[int, int], scale: float
) -> None:
    picture, found = d.fit(flat(*size_hw), into)
    assert picture.shape == (*wanted, 3)
    assert found == pytest.approx(scale)
    assert (picture == 90).all()


def test_a_caption_is_cut_at_its_width() -> None:
    strip = d.caption([("found", d.RIGHT), ("a name that is much too long", d.WRONG)], 60)
    assert strip.shape[1] == 60
    assert (strip == d.RIGHT).all(-1).any()
    empty = d.caption([], 60)
    assert empty.shape == strip.shape
    assert (empty == d.PAPER).all()


def test_a_region_is_hatched_inside_and_nowhere_else() -> None:
    picture = flat(60, 80)
    d.draw_region(picture, np.array([10, 20, 50, 44], np.float32), d.QUIET)
    inside = (picture[21:43, 11:49] == d.QUIET).all(-1)
    assert 0.05 < inside.mean() < 0.4
    assert (picture[20, 10:50] == d.QUIET).all()
    picture[20:44, 10:50] = 90
    assert (picture == 90).all()


@pytest.mark.parametrize(
    "box",
    [
        (5, 5, 5, 5),
        (-90, -90, -50, -50),
        (np.nan,) * 4,
        (-1e30, -1e30, 1e30, 1e30),
        (70, 50, 200, 200),
    ],
)
def test_degenerate_regions(box: tuple[float, ...]) -> None:
    picture = flat(60, 80)
    d.draw_region(picture, np.array(box, np.float32), d.QUIET)
    assert picture.shape == (60, 80, 3)
