"""One affine warp per picture: letterbox, scale, shift and mirror in a single resampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import UNKNOWN, Truth
from edgemtl.records import F32, I32, I64, U8
from edgemtl.train.config import AugmentConfig

PAD = 128
_MIN_SIDE_PX = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture as the network sees it, with its truth in network pixels.

    pixels u8 [h, w, 3] BGR; boxes_net f32 [N, 4] clipped to the picture; labels i32 [N];
    identities i64 [N]; ignore bool [N]; scene; confidence f32 [N], appearance f32 [N, D] and
    attributes i32 [N, M] (or None) as in Truth. ``pasted``: the class of what covers part of the
    picture, and ``share``: how much of it is still its own (see ``paste``).
    """

    pixels: U8
    boxes_net: F32
    labels: I32
    identities: I64
    ignore: NDArray[np.bool_]
    scene: int
    confidence: F32
    appearance: F32
    attributes: I32 | None = None
    pasted: int = UNKNOWN
    share: float = 1.0


def letterbox_matrix(
    src_hw: tuple[int, int], net_hw: tuple[int, int], cover: bool = False
) -> NDArray[np.float64]:
    """The 2x3 affine map, in pixel-edge coordinates, that centres a picture in the input.

    Within it, or with ``cover`` over all of it.
    """
    ratios = (net_hw[0] / src_hw[0], net_hw[1] / src_hw[1])
    scale = max(ratios) if cover else min(ratios)
    dx, dy = (net_hw[1] - src_hw[1] * scale) / 2, (net_hw[0] - src_hw[0] * scale) / 2
    return np.array([[scale, 0, dx], [0, scale, dy]], np.float64)


def random_matrix(
    src_hw: tuple[int, int],
    net_hw: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
    cover: bool = False,
) -> NDArray[np.float64]:
    """A letterbox (or its opposite), then a random scale about the centre, shift and mirror."""
    matrix = letterbox_matrix(src_hw, net_hw, cover)
    low, high = np.log(config.scale)
    zoom = float(np.exp(rng.uniform(low, high)))
    shift = rng.uniform(-config.shift, config.shift, 2) * (net_hw[1], net_hw[0])
    centre = np.array([net_hw[1] / 2, net_hw[0] / 2])
    matrix = matrix * zoom
    matrix[:, 2] += centre - centre * zoom + shift
    if rng.random() < config.flip:
        matrix[0] = -matrix[0]
        matrix[0, 2] += net_hw[1]
    return matrix


def warp(image: U8, matrix: NDArray[np.float64], out: U8) -> None:
    """Resample into ``out`` u8 [h, w, 3]; what the picture does not cover becomes the pad."""
    # cv2 maps pixel centres, our matrices pixel edges
    centred = matrix.copy()
    centred[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5
    cv2.warpAffine(
        image,
        centred,
        (out.shape[1], out.shape[0]),
        dst=out,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(PAD, PAD, PAD),
    )


def warp_boxes(boxes: F32, matrix: NDArray[np.float64]) -> F32:
    """Axis-aligned boxes [N, 4] under a map without rotation; a mirror keeps x1 < x2."""
    x = boxes[:, 0::2] * matrix[0, 0] + matrix[0, 2]
    y = boxes[:, 1::2] * matrix[1, 1] + matrix[1, 2]
    x, y = np.sort(x, 1), np.sort(y, 1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1).astype(np.float32)


def clip_truth(
    truth: Truth, boxes: F32, frame: tuple[float, float, float, float], visible: float
) -> Sample:
    """Clip boxes to ``frame`` (x1, y1, x2, y2); what is mostly outside becomes an ignore region.

    The picture's class goes too when its largest object, ignored regions apart, is mostly outside.
    Pixels are left empty.
    """
    lower, upper = np.array(frame[:2] * 2, np.float32), np.array(frame[2:] * 2, np.float32)
    clipped = np.clip(boxes, lower, upper)
    area, left = _area(boxes), _area(clipped)
    part = left / np.maximum(area, 1e-6)
    keep = (clipped[:, 2:] - clipped[:, :2]).min(1, initial=np.inf) >= _MIN_SIDE_PX
    scene = truth.scene
    told = np.where(truth.ignore, -1.0, area)
    if (~truth.ignore).any() and part[int(told.argmax())] < visible:
        scene = UNKNOWN
    return Sample(
        np.zeros((0, 0, 3), np.uint8),
        clipped[keep],
        truth.labels[keep],
        truth.identities[keep],
        (truth.ignore | (part < visible))[keep],
        scene,
        _or(truth.confidence, np.ones(len(truth), np.float32))[keep],
        _or(truth.appearance, np.zeros((len(truth), 0), np.float32))[keep],
        None if truth.attributes is None else truth.attributes[keep],
    )


def _or(given: F32 | None, default: F32) -> F32:
    return default if given is None else given


def _area(boxes: F32) -> F32:
    area: F32 = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def augment(
    image: U8,
    truth: Truth,
    net_hw: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Sample:
    """A random view of one picture."""
    matrix = random_matrix((image.shape[0], image.shape[1]), net_hw, config, rng)
    pixels = np.empty((*net_hw, 3), np.uint8)
    warp(image, matrix, pixels)
    frame = (0.0, 0.0, float(net_hw[1]), float(net_hw[0]))
    seen = clip_truth(truth, warp_boxes(truth.boxes_src, matrix), frame, config.min_visible)
    pixels = colour(pixels, config, rng)
    if config.erase and not len(truth):
        erase(pixels, config.erase, rng)
    return replace(seen, pixels=pixels)


def erase(pixels: U8, part: float, rng: np.random.Generator) -> None:
    """Hide a square around a random place, in ``pixels`` (Cutout, arXiv 1708.04552, section 3.2).

    Its side is ``part`` of the shorter side; it may lie partly outside.
    """
    h, w = pixels.shape[:2]
    half = part * min(h, w) / 2
    x, y = rng.uniform(0, w), rng.uniform(0, h)
    rows, columns = (slice(max(0, round(middle - half)), round(middle + half)) for middle in (y, x))
    pixels[rows, columns] = PAD


def paste(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """``sample`` under a rectangle of ``other``, which lies there at the same place.

    CutMix (arXiv 1905.04899, section 3.1, eq. 1-2): the rectangle has the picture's proportions,
    a uniform area before it is clipped, and a uniform centre. Both of one size, without boxes;
    either's class may be unknown: then nothing is pasted.
    """
    if UNKNOWN in (sample.scene, other.scene):
        return sample
    h, w = sample.pixels.shape[:2]
    half = np.array([h, w]) * np.sqrt(rng.random()) / 2
    middle = rng.uniform(0, (h, w))
    (y1, x1), (y2, x2) = (
        np.clip(np.rint(middle + sign * half), 0, (h, w)).astype(int) for sign in (-1, 1)
    )
    pixels = sample.pixels.copy()
    pixels[y1:y2, x1:x2] = other.pixels[y1:y2, x1:x2]
    covered = float((y2 - y1) * (x2 - x1)) / (h * w)
    return replace(sample, pixels=pixels, pasted=other.scene, share=1.0 - covered)


def mosaic(
    pictures: list[tuple[U8, Truth]],
    net_hw: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
    scene_of_class: I32 | None = None,
) -> Sample:
    """Four pictures of ONE data set around a random centre (YOLOv4, arXiv 2004.10934, 3.3).

    One set only, because what one set does not label another may. ``scene_of_class`` i32 [C]: the
    image class that a largest box's class names; without it that of the mosaic is unknown.
    """
    h, w = net_hw
    cx, cy = int(rng.uniform(0.35, 0.65) * w), int(rng.uniform(0.35, 0.65) * h)
    tiles = [(0, 0, cx, cy), (cx, 0, w, cy), (0, cy, cx, h), (cx, cy, w, h)]
    canvas = np.empty((h, w, 3), np.uint8)
    parts = []
    for (image, truth), (x1, y1, x2, y2) in zip(pictures, tiles, strict=True):
        size = (y2 - y1, x2 - x1)
        # filling the tile, a picture keeps more of its size than letterboxed into it
        view = random_matrix((image.shape[0], image.shape[1]), size, config, rng, cover=True)
        tile = np.empty((*size, 3), np.uint8)
        warp(image, view, tile)
        canvas[y1:y2, x1:x2] = tile
        view[:, 2] += (x1, y1)
        frame = (float(x1), float(y1), float(x2), float(y2))
        parts.append(
            clip_truth(truth, warp_boxes(truth.boxes_src, view), frame, config.min_visible)
        )
    told = [p.attributes for p in parts if p.attributes is not None]  # of one set: all, or none
    return Sample(
        colour(canvas, config, rng),
        np.concatenate([p.boxes_net for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.identities for p in parts]),
        np.concatenate([p.ignore for p in parts]),
        UNKNOWN if scene_of_class is None else _scene_of(parts, scene_of_class),
        np.concatenate([p.confidence for p in parts]),
        np.concatenate([p.appearance for p in parts]),
        None if not told else np.concatenate(told),
    )


def _scene_of(parts: list[Sample], scene_of_class: I32) -> int:
    """The image class of the picture with the largest visible box, if that box is why it has it.

    It is not where the set's rule leaves the box out: a teacher's, or one that is doubtful.
    """
    largest = [float(_area(p.boxes_net).max(initial=0.0)) for p in parts]
    part = parts[int(np.argmax(largest))]
    if not any(largest):
        return part.scene if len({p.scene for p in parts}) == 1 else UNKNOWN
    box = int(_area(part.boxes_net).argmax())
    named = int(scene_of_class[part.labels[box]])
    return named if named == part.scene and not part.ignore[box] else UNKNOWN


def colour(pixels: U8, config: AugmentConfig, rng: np.random.Generator) -> U8:
    """Random brightness, contrast, white balance and saturation."""
    gain = 1 + rng.uniform(-config.gain, config.gain) + rng.uniform(-1, 1, 3) * config.gain / 3
    bias = rng.uniform(-config.bias, config.bias)
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip((levels - PAD) * gain + PAD + bias, 0, 255).astype(np.uint8)
    out = cv2.LUT(pixels, table.reshape(1, 256, 3))
    amount = float(rng.uniform(0, config.saturation))
    if amount > 0.05:
        gray = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        sign = 1 if rng.random() < 0.6 else -1
        out = cv2.addWeighted(out, 1 - sign * amount, gray, sign * amount, 0)
    return np.asarray(out, np.uint8)
