"""What the synthetic world is drawn with: shapes, textures, grounds and light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgemtl.records import U8

SHAPES = ("disc", "box", "triangle", "star", "ring")
PATTERNS = ("upright", "level", "checks", "spot", "diagonal")
SCENES = ("day", "dusk", "night", "fog")
TEXTURE_SIDE = 96
_RING_HOLE = 0.5
_STAR_INNER = 0.45


def outline(shape: str) -> NDArray[np.float64]:
    """Corners [P, 2] of a shape that fills the square -1..1 about its centre."""
    if shape == "box":
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    if shape == "triangle":
        return np.array([[0, -1], [1, 1], [-1, 1]], np.float64)
    if shape == "star":
        angle = np.arange(10) * np.pi / 5 - np.pi / 2
        reach = np.where(np.arange(10) % 2 == 0, 1.0, _STAR_INNER)
        return np.stack([np.cos(angle) * reach, np.sin(angle) * reach], 1)
    angle = np.arange(32) * 2 * np.pi / 32
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def texture(rng: np.random.Generator) -> tuple[U8, int]:
    """A patterned square, u8 [S, S, 3] BGR: what tells one object from another of its class.

    Also the kind of the pattern: its place in PATTERNS.
    """
    hues = rng.integers(0, 180, 2)
    colours = [_colour(int(hue), rng) for hue in hues]
    y, x = np.mgrid[0:TEXTURE_SIDE, 0:TEXTURE_SIDE]
    period = int(rng.integers(14, 34))
    kind = int(rng.integers(len(PATTERNS)))
    if kind == 0:
        pick = (x // period) % 2
    elif kind == 1:
        pick = (y // period) % 2
    elif kind == 2:
        pick = (x // period + y // period) % 2
    elif kind == 3:
        pick = (
            (x - TEXTURE_SIDE // 2) ** 2 + (y - TEXTURE_SIDE // 2) ** 2 < (period * 1.2) ** 2
        ) * 1
    else:
        pick = (x + y > TEXTURE_SIDE) * 1
    return np.asarray(np.array(colours, np.uint8)[pick], np.uint8), kind


def _colour(hue: int, rng: np.random.Generator) -> list[int]:
    saturation, value = int(rng.integers(90, 256)), int(rng.integers(110, 256))
    pixel = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.uint8), cv2.COLOR_HSV2BGR)
    return [int(v) for v in pixel[0, 0]]


def ground(scene: str, size_hw: tuple[int, int], rng: np.random.Generator) -> U8:
    """A background u8 [H, W, 3]: sky over land, soft texture, and clutter that is no object."""
    h, w = size_hw
    sky, land = _palette(scene, rng)
    horizon = int(h * rng.uniform(0.25, 0.45))
    rows = np.linspace(0, 1, h)[:, None]
    picture = np.where(
        (np.arange(h) < horizon)[:, None, None],
        sky * (1 - 0.3 * rows[..., None]),
        land * (0.7 + 0.5 * rows[..., None]),
    )
    picture = np.broadcast_to(picture, (h, w, 3)).astype(np.float32)
    coarse = rng.normal(0, 1, (h // 24 + 2, w // 24 + 2, 1)).astype(np.float32)
    cloud = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    picture = np.ascontiguousarray(np.clip(picture + 12 * cloud[..., None], 0, 255)).astype(
        np.uint8
    )
    for _ in range(int(rng.integers(14, 30))):
        _clutter(picture, rng)
    return cv2.GaussianBlur(picture, (0, 0), 0.8).astype(np.uint8)


def _palette(
    scene: str, rng: np.random.Generator
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    sky, land = {
        "day": ((225, 190, 140), (95, 150, 120)),
        "dusk": ((120, 120, 210), (70, 85, 120)),
        "night": ((60, 40, 30), (60, 55, 50)),
        "fog": ((190, 190, 190), (165, 168, 165)),
    }[scene]
    shift = rng.normal(0, 10, 3)
    return (np.array(sky, np.float32) + shift, np.array(land, np.float32) + shift)


def _clutter(picture: U8, rng: np.random.Generator) -> None:
    """A faint line or blotch near the ground's own colour."""
    h, w = picture.shape[:2]
    x, y = int(rng.integers(w)), int(rng.integers(h))
    base = picture[y, x].astype(int) + rng.integers(-28, 29, 3)
    colour = tuple(int(v) for v in np.clip(base, 0, 255))
    if rng.random() < 0.5:
        end = (x + int(rng.integers(-80, 81)), y + int(rng.integers(-30, 31)))
        cv2.line(picture, (x, y), end, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    else:
        axes = (int(rng.integers(4, 40)), int(rng.integers(3, 14)))
        cv2.ellipse(picture, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)


_LIGHT = {
    "day": ((1.0, 1.0, 1.0), 0.0),
    "dusk": ((0.62, 0.72, 0.92), 6.0),
    "night": ((0.5, 0.42, 0.38), 4.0),
    "fog": ((0.5, 0.5, 0.5), 95.0),
}


def light_table(scene: str) -> U8:
    """What a scene's light makes of each level, u8 [1, 256, 3] for ``cv2.LUT``."""
    gain, lift = _LIGHT[scene]
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip(levels * np.array(gain, np.float32) + lift, 0, 255)
    return np.asarray(table.astype(np.uint8).reshape(1, 256, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A shape in place. mask u8 [h, w]; ``left``, ``top`` of it in the picture; box x1 y1 x2 y2."""

    mask: U8
    left: int
    top: int
    box: tuple[float, float, float, float]
    turn: NDArray[np.float64]


def stamp(
    shape: str, centre: tuple[float, float], half: tuple[float, float], angle: float
) -> Stamp:
    """The anti-aliased mask of a shape of half sizes ``half`` turned by ``angle`` (radians)."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]]) * np.array(half)[None]
    corners = outline(shape) @ turn.T
    low, high = corners.min(0) + centre, corners.max(0) + centre
    left, top = int(np.floor(low[0])) - 1, int(np.floor(low[1])) - 1
    size = (int(np.ceil(high[1])) + 2 - top, int(np.ceil(high[0])) + 2 - left)
    mask = np.zeros(size, np.uint8)
    _fill(mask, corners + centre - (left, top), 255)
    if shape == "ring":
        _fill(mask, corners * _RING_HOLE + centre - (left, top), 0)
    return Stamp(mask, left, top, (*low, *high), turn)


def _fill(mask: U8, corners: NDArray[np.float64], value: int) -> None:
    # cv2 puts integers at pixel centres; ours are pixel edges
    points = np.round((corners - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points.reshape(-1, 1, 2)], (value,), cv2.LINE_AA, 4)


def paint(picture: U8, place: Stamp, pattern: U8) -> None:
    """Blend a textured shape into the picture, in place; what lies outside is cut off."""
    h, w = picture.shape[:2]
    y1, x1 = max(0, place.top), max(0, place.left)
    y2, x2 = min(h, place.top + place.mask.shape[0]), min(w, place.left + place.mask.shape[1])
    if y1 >= y2 or x1 >= x2:
        return
    mask = place.mask[y1 - place.top : y2 - place.top, x1 - place.left : x2 - place.left]
    centre = ((place.box[0] + place.box[2]) / 2 - x1, (place.box[1] + place.box[3]) / 2 - y1)
    matrix: Any = np.empty((2, 3))
    matrix[:, :2] = place.turn * (2.0 / TEXTURE_SIDE)
    matrix[:, 2] = centre - place.turn.sum(1)
    cloth = cv2.warpAffine(pattern, matrix, (x2 - x1, y2 - y1), borderMode=cv2.BORDER_REPLICATE)
    share = mask[..., None].astype(np.float32) * (1 / 255)
    part = picture[y1:y2, x1:x2]
    part[:] = (part * (1 - share) + cloth * share + 0.5).astype(np.uint8)
