"""Results drawn into the picture, readable at any size."""

from __future__ import annotations

import numpy as np

from edgemtl import ops
from edgemtl.drawing import QUIET, WHITE, colour_of, draw_box, draw_tag, name_of
from edgemtl.manifest import Manifest
from edgemtl.records import U8, Frame, FrameResult


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
            draw_box(picture, found.boxes_src[k], QUIET, 1)
            text = f"{name_of(classes, int(found.labels[k]))} {found.scores[k]:.2f}"
            draw_tag(picture, found.boxes_src[k], text, QUIET, 0.8 * scale)
    tracks = result.tracks
    for k in range(len(tracks)):
        colour = colour_of(int(tracks.track_ids[k]))
        draw_box(picture, tracks.boxes_src[k], colour, line)
        name = name_of(classes, int(tracks.labels[k]))
        text = f"{tracks.track_ids[k]} {name} {tracks.scores[k]:.2f}"
        draw_tag(picture, tracks.boxes_src[k], text, colour, scale)
    if result.scene is not None:
        names = manifest.image_classes if manifest else ()
        scene = result.scene
        text = f"{name_of(names, scene.label)} {scene.probs[scene.label]:.2f}"
        corner = np.array([4, 4 + 26 * scale, 0, 0], np.float32)
        draw_tag(picture, corner, text, WHITE, 1.3 * scale)
    return picture
