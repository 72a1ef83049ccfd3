"""Boxes, names and captions drawn into pictures, and sheets of many pictures: OpenCV alone.

Colours are BGR. Text is ASCII, which is what OpenCV's fonts have; other characters show as ``?``.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from edgemtl.records import F32, U8

Colour = tuple[int, int, int]
Part = tuple[str, Colour]
"""Some words and their colour."""

WHITE, QUIET, INK, PAPER = (255, 255, 255), (170, 170, 170), (0, 0, 0), (34, 30, 28)
RIGHT, WRONG = (178, 178, 0), (0, 120, 240)  # teal and orange: apart for the colour-blind too
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.61803398875
_HATCH_PX = 8


def colour_of(number: int) -> Colour:
    """A bright colour; neighbouring numbers differ most."""
    r, g, b = colorsys.hsv_to_rgb((number * _GOLDEN) % 1.0, 0.75, 1.0)
    return int(255 * b), int(255 * g), int(255 * r)


def name_of(names: tuple[str, ...], label: int) -> str:
    """The class's name, or its number where there are fewer names."""
    return names[label] if 0 <= label < len(names) else str(label)


def pixels_of(picture: U8, box: F32) -> tuple[int, int, int, int]:
    """Whole pixels, kept near the picture: OpenCV takes no NaN and no number beyond 32 bits."""
    far = 4 * max(picture.shape[:2])
    x1, y1, x2, y2 = np.nan_to_num(np.rint(box)).clip(-far, far).astype(int).tolist()
    return x1, y1, x2, y2


def draw_box(picture: U8, box: F32, colour: Colour, line: int) -> None:
    """The outline of ``box`` f32 [4] xyxy, its last column and row included."""
    x1, y1, x2, y2 = pixels_of(picture, box)
    cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, line)


def draw_tag(picture: U8, box: F32, text: str, colour: Colour, scale: float) -> None:
    """Dark text on a plate of the object's colour above the box, or inside it at the top edge."""
    size = 0.6 * scale
    (width, height), base = cv2.getTextSize(text, _FONT, size, 1)
    left, y, _, _ = pixels_of(picture, box)
    x = max(0, min(left, picture.shape[1] - width - 4))
    top = y - height - base - 2 if y - height - base - 2 >= 0 else y
    cv2.rectangle(picture, (x, top), (x + width + 3, top + height + base + 1), colour, -1)
    place = (x + 2, top + height + 1)
    cv2.putText(picture, text, place, _FONT, size, INK, 1, cv2.LINE_AA)


def draw_region(picture: U8, box: F32, colour: Colour) -> None:
    """A region that does not count: outlined and hatched."""
    x1, y1, x2, y2 = pixels_of(picture, box)
    x1, y1 = max(x1, 0), max(y1, 0)
    part = picture[y1 : max(y2, 0), x1 : max(x2, 0)]
    if part.size:
        height, width = part.shape[:2]
        hatched = part.copy()
        for start in range(-height, width, _HATCH_PX):
            cv2.line(hatched, (start, height), (start + height, 0), colour, 1)
        part[:] = hatched
    draw_box(picture, box, colour, 1)


def fit(picture: U8, size_hw: tuple[int, int]) -> tuple[U8, float]:
    """A resized copy that just fits ``size_hw``, and the scale that does it."""
    height, width = picture.shape[:2]
    scale = min(size_hw[0] / height, size_hw[1] / width)
    to = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, to, interpolation=how), np.uint8), scale


def caption(parts: Sequence[Part], width: int, scale: float = 0.7) -> U8:
    """A strip u8 [h, width, 3] with ``parts`` one after the other, cut where it ends."""
    size = 0.6 * scale
    (_, height), base = cv2.getTextSize("Hg", _FONT, size, 1)
    strip = np.full((height + base + 6, width, 3), PAPER, np.uint8)
    x = 4
    for text, colour in parts:
        cv2.putText(strip, text, (x, height + 4), _FONT, size, colour, 1, cv2.LINE_AA)
        x += int(cv2.getTextSize(text + "  ", _FONT, size, 1)[0][0])
    return strip


def beside(tiles: Sequence[U8], gap: int = 4) -> U8:
    """Tiles from left to right, at the top of a strip as high as the highest."""
    height = max(tile.shape[0] for tile in tiles)
    width = sum(tile.shape[1] for tile in tiles) + gap * (len(tiles) - 1)
    strip = np.full((height, width, 3), PAPER, np.uint8)
    x = 0
    for tile in tiles:
        strip[: tile.shape[0], x : x + tile.shape[1]] = tile
        x += tile.shape[1] + gap
    return strip


def below(strips: Sequence[U8], gap: int = 4) -> U8:
    """Strips from top to bottom, at the left of a sheet as wide as the widest."""
    turned = [np.swapaxes(strip, 0, 1) for strip in strips]
    return np.ascontiguousarray(np.swapaxes(beside(turned, gap), 0, 1))


def grid(tiles: Sequence[U8], columns: int, gap: int = 4) -> U8:
    """Tiles in rows of ``columns``."""
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return below([beside(row, gap) for row in rows], gap)
