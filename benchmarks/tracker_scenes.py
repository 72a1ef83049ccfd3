"""Seeded synthetic scenes of moving objects, as streams of detections, for costs of updates."""

from __future__ import annotations

import numpy as np
from peers.client import Stream

FPS = 30.0
MISSED = 0.08
FALSE_SHARE = 0.02
"""False detections a frame, as a share of the objects (Poisson)."""
FULL_HD = (1080, 1920)
SPARSE_AT = 20
"""A sparse scene has as much room for each object as this many have in Full HD."""


def scene(objects: int, frames: int, sparse: bool, seed: int = 0) -> Stream:
    """``objects`` at constant velocity, turning round at the edges of the picture.

    Full HD, or ``sparse``: an area in proportion to the objects. Heights 40 to 160 px, widths .4 of
    them, speeds of sd 60 px/s in x and in y; centres and sides are measured with sd .02 of the
    height. 9 of 10 detections have scores of .6 to .95, the others .2 to .5; false ones .2 to .6.
    """
    rng = np.random.default_rng(seed)
    scale = max(1.0, objects / SPARSE_AT) ** 0.5 if sparse else 1.0
    size_hw = (round(FULL_HD[0] * scale), round(FULL_HD[1] * scale))
    heights = rng.uniform(40, 160, objects)
    sides = np.stack([0.4 * heights, heights], 1)
    room = np.array([size_hw[1], size_hw[0]]) - sides
    corner, speed = rng.uniform(0, 1, (objects, 2)) * room, rng.normal(0, 60, (objects, 2))
    boxes, scores = [], []
    for _ in range(frames):
        corner += speed / FPS
        speed *= np.where(((corner < 0) & (speed < 0)) | ((corner > room) & (speed > 0)), -1, 1)
        seen = rng.random(objects) >= MISSED
        false = rng.poisson(FALSE_SHARE * objects)
        blur = rng.normal(0, 0.02, (2, objects, 2)) * heights[:, None]
        centre, side = corner + sides / 2 + blur[0], sides + np.maximum(blur[1], -sides / 4)
        found = np.concatenate([centre - side / 2, centre + side / 2], 1)[seen]
        wrong_side = rng.uniform(40, 160, (false, 1)) * [0.4, 1]
        wrong = rng.uniform(0, 1, (false, 2)) * (np.array(size_hw)[::-1] - wrong_side)
        sure = np.where(rng.random(seen.sum()) < 0.9, 0, 1)
        low, high = np.array([0.6, 0.2])[sure], np.array([0.95, 0.5])[sure]
        boxes.append(np.concatenate([found, np.concatenate([wrong, wrong + wrong_side], 1)]))
        scores.append(np.concatenate([rng.uniform(low, high), rng.uniform(0.2, 0.6, false)]))
    counts = np.array([len(each) for each in scores])
    return Stream(
        boxes=np.concatenate(boxes).astype(np.float32),
        scores=np.concatenate(scores).astype(np.float32),
        labels=np.zeros(counts.sum(), np.int32),
        counts=counts,
        times_s=np.arange(frames) / FPS,
        size_hw=size_hw,
        fps=FPS,
    )
