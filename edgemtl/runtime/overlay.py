"""Results drawn into the picture, readable at any size."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from edgemtl import ops
from edgemtl.manifest import Manifest
from edgemtl.records import F32, U8, Frame, FrameResult

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.61803398875
_QUIET = (170, 170, 170)
Colour = tuple[int, int, int]


def colour_of(track_id: int) -> Colour:
    """A bright BGR colour; neighbouring ids differ most."""
    r, g, b = colorsys.hsv_to_rgb((track_id * _GOLDEN) % 1.0, 0.75, 1.0)
    return int(255 * b), int(255 * g), int(255 * r)


def draw(frame: Frame, result: FrameResult, manifest: Manifest | None = None) -> U8:
    """A copy of the frame with tracks (coloured by id), other detections (grey) and the scene.

    Without a ``manifest`` classes are numbers.
    """
    pixels = ops.bgr_of(frame)
    picture = pixels.copy(order="C") if pixels is frame.pixels else pixels
    scale = max(0.35, min(picture.shape[:2]) / 900)
    line = max(1, round(2 * scale))
    classes = manifest.classes if manifest else ()
    tracked = set(result.tracks.det_index.tolist())
    found = result.detections
    for k in range(len(found)):
        if k not in tracked:
            _box(picture, found.boxes_src[k], _QUIET, 1)
            text = f"{name_of(classes, int(found.labels[k]))} {found.scores[k]:.2f}"
            _tag(picture, found.boxes_src[k], text, _QUIET, 0.8 * scale)
    tracks = result.tracks
    for k in range(len(tracks)):
        colour = colour_of(int(tracks.track_ids[k]))
        _box(picture, tracks.boxes_src[k], colour, line)
        name = name_of(classes, int(tracks.labels[k]))
        text = f"{tracks.track_ids[k]} {name} {tracks.scores[k]:.2f}"
        _tag(picture, tracks.boxes_src[k], text, colour, scale)
    if result.scene is not None:
        names = manifest.image_classes if manifest else ()
        scene = result.scene
        text = f"{name_of(names, scene.label)} {scene.probs[scene.label]:.2f}"
        corner = np.array([4, 4 + 26 * scale, 0, 0], np.float32)
        _tag(picture, corner, text, (255, 255, 255), 1.3 * scale)
    return picture


def name_of(names: tuple[str, ...], label: int) -> str:
    """The class's name, or its number where the model names fewer."""
    return names[label] if 0 <= label < len(names) else str(label)


def _pixels(picture: U8, box: F32) -> tuple[int, int, int, int]:
    """Whole pixels, kept near the picture: OpenCV takes no NaN and no number beyond 32 bits."""
    far = 4 * max(picture.shape[:2])
    x1, y1, x2, y2 = np.nan_to_num(np.rint(box)).clip(-far, far).astype(int).tolist()
    return x1, y1, x2, y2


def _box(picture: U8, box: F32, colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = _pixels(picture, box)
    cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, line)


def _tag(picture: U8, box: F32, text: str, colour: Colour, scale: float) -> None:
    """Dark text on a plate of the object's colour above the box, or inside it at the top edge."""
    size = 0.6 * scale
    (width, height), base = cv2.getTextSize(text, _FONT, size, 1)
    left, y, _, _ = _pixels(picture, box)
    x = max(0, min(left, picture.shape[1] - width - 4))
    top = y - height - base - 2 if y - height - base - 2 >= 0 else y
    cv2.rectangle(picture, (x, top), (x + width + 3, top + height + base + 1), colour, -1)
    place = (x + 2, top + height + 1)
    cv2.putText(picture, text, place, _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
