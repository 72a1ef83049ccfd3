"""A long run of the trackers: memory stays flat and tracks bounded while ids count on.

Seeded objects are born, walk, are missed in 8 % of the frames, and die; clutter, rows of garbage,
crowds beyond the capacity and gaps in time come in between. Writes results/tracker_soak.json.

    python benchmarks/tracker_soak.py            # 200,000 frames of each tracker, some minutes
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.records import Detections
from edgemtl.track.presets import PRESETS, make_tracker, preset

RESULT = Path(__file__).parent / "results" / "tracker_soak.json"
HEIGHT, WIDTH = 1080, 1920
CAPACITY = 256
CROWD_EVERY, CROWD = 1500, 1500
DIM = 16
MARKS = 10
"""How often the memory is read; the first reading is what the others are compared with."""

Array = NDArray[Any]


def frames(count: int, seed: int) -> Iterator[tuple[Detections, int]]:
    """(detections with embeddings, time in ns) of each frame, made one at a time."""
    random = np.random.default_rng(seed)
    objects, now = _born(random, 20), 0
    for i in range(count):
        gap = int(random.integers(2, 250)) if random.random() < 1e-3 else 1
        now += gap * 40_000_000
        objects[:, :2] += objects[:, 2:4] * min(gap, 5)
        inside = (objects[:, :2] > 0).all(1) & (objects[:, :2] < (WIDTH, HEIGHT)).all(1)
        objects = objects[inside & (random.random(len(objects)) > 0.01)]
        births = random.poisson(0.5 if len(objects) < 30 else 0.1)
        objects = np.concatenate([objects, _born(random, births)])
        seen = objects[random.random(len(objects)) > 0.08]
        clutter = CROWD if i % CROWD_EVERY == CROWD_EVERY - 1 else random.poisson(0.3)
        yield _detected(random, np.concatenate([seen, _born(random, clutter)])), now


def _born(random: np.random.Generator, n: int) -> Array:
    """f64 [n, 6 + DIM]: centre, speed in pixels per frame, width and height, look."""
    look = random.standard_normal((n, DIM))
    return np.concatenate(
        [
            random.uniform(0, (WIDTH, HEIGHT), (n, 2)),
            random.normal(0, 3, (n, 2)),
            random.uniform(20, 120, (n, 2)),
            look / np.linalg.norm(look, axis=1, keepdims=True),
        ],
        1,
    )


def _detected(random: np.random.Generator, objects: Array) -> Detections:
    centres, sides = objects[:, :2], objects[:, 4:6]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    boxes += random.normal(0, 1, boxes.shape)
    if random.random() < 0.02:
        odd = random.random(boxes.shape) < 0.2
        boxes[odd] = random.choice([np.nan, np.inf, -np.inf, 1e9, -1e9, 0.0], odd.sum())
    return Detections(
        boxes.astype(np.float32),
        random.uniform(0.3, 1.0, len(boxes)).astype(np.float32),
        random.integers(0, 2, len(boxes)).astype(np.int32),
        objects[:, 6:].astype(np.float32),
    )


def resident_kib() -> int:
    """The memory of this process that is in RAM (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def soak(name: str, count: int, seed: int) -> dict[str, Any]:
    """One tracker over ``count`` frames: resident memory along the way, tracks and ids."""
    tracker = make_tracker(preset(name), capacity=CAPACITY, embedding_dim=DIM)
    memory: list[int] = []
    most, last, detections = 0, 0, 0
    for i, (found, now) in enumerate(frames(count, seed), 1):
        tracks = tracker.step(found, now, (HEIGHT, WIDTH))
        if tracks.track_ids.dtype != np.int64 or len(tracks) > CAPACITY:
            raise RuntimeError(f"frame {i}: {len(tracks)} tracks, ids {tracks.track_ids.dtype}")
        most, detections = max(most, len(tracks)), detections + len(found)
        last = max(last, int(tracks.track_ids.max(initial=0)))
        if i % (count // MARKS) == 0:
            memory.append(resident_kib())
    return {
        "frames": count,
        "detections": detections,
        "last_id": last,
        "most_tracks_in_a_frame": most,
        "capacity": CAPACITY,
        "refused_births": tracker.refused,
        "resident_kib": memory,
        "growth_kib": max(memory) - memory[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    facts: dict[str, Any] = {"host": host_facts(), "seed": options.seed, "trackers": {}}
    for name in PRESETS:
        facts["trackers"][name] = soak(name, options.frames, options.seed)
        print(name, facts["trackers"][name])
    write_text(options.out, json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
