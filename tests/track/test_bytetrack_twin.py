"""The C ByteTrack and its plain twin give the same identities, on scenes of every kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bytetrack_reference import ReferenceByteTracker

from edgemtl.records import Detections
from edgemtl.track import ByteTrackConfig, ByteTracker


class Scene:
    """Objects that move, hide and meet, seen by a detector of changing mood."""

    def __init__(self, seed: int, objects: int) -> None:
        self.random = np.random.default_rng(seed)
        self.place = self.random.uniform([0, 0], [640, 480], (objects, 2))
        self.speed = self.random.uniform(-5, 5, (objects, 2))
        self.sides = self.random.uniform([20, 40], [70, 140], (objects, 2))
        self.hidden = np.zeros(objects, np.int64)

    def next_frame(self) -> Detections:
        r, n = self.random, len(self.place)
        self.place += self.speed
        self.speed[(self.place < -20) | (self.place > [660, 500])] *= -1
        self.hidden = np.where(self.hidden > 0, self.hidden - 1, r.integers(1, 40, n))
        self.hidden[r.random(n) < 0.95] = 0
        seen = np.flatnonzero((self.hidden == 0) & (r.random(n) < 0.9))
        seen = np.concatenate([seen, seen[r.random(len(seen)) < 0.1]])  # some of them twice
        false = int(r.poisson(2))
        centres = self.place[seen] + r.standard_normal((len(seen), 2)) * 2
        centres = np.concatenate([centres, r.uniform([0, 0], [640, 480], (false, 2))])
        sides = self.sides[seen] * np.exp(r.standard_normal((len(seen), 2)) * 0.05)
        sides = np.concatenate([sides, r.uniform(20, 90, (false, 2))])
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
        wild = r.choice([np.nan, np.inf, -np.inf, 2e6], boxes.shape)
        boxes = np.where(r.random(boxes.shape) < 0.005, wild, boxes).astype(np.float32)
        scores = r.beta(2, 1, len(boxes)).astype(np.float32)
        scores[r.random(len(scores)) < 0.02] = np.nan
        return Detections(boxes, scores, r.integers(0, 3, len(boxes)).astype(np.int32))


def _compare(
    scene: Scene | Heap, config: ByteTrackConfig, frames: int, capacity: int = 1024
) -> int:
    """Steps both through the same frames; the number of tracks they began."""
    ours, twin = ByteTracker(config, capacity=capacity), ReferenceByteTracker(config, capacity)
    for frame in range(frames):
        found = scene.next_frame()
        got, want = ours.step(found, frame, (480, 640)), twin.step(found)
        assert got.track_ids.tolist() == [row[0] for row in want]
        assert got.det_index.tolist() == [row[4] for row in want]
        assert got.labels.tolist() == [row[3] for row in want]
        assert got.scores.tolist() == [row[2] for row in want]
        boxes = np.array([row[1] for row in want]).reshape(-1, 4)
        assert got.boxes_src == pytest.approx(boxes, abs=1e-3)
        assert ours.refused == twin.refused
    return twin.next_id - 1


@pytest.mark.parametrize("seed", range(4))
def test_default_settings(seed: int) -> None:
    assert _compare(Scene(seed, 12), ByteTrackConfig(), 200) > 12


@pytest.mark.parametrize(
    "changes",
    [
        {"match_predicted": True},
        {"fuse_score": True},
        {"fuse_score": True, "match_predicted": True, "match_thresh": 0.9},
        {"track_buffer": 0},
        {"track_buffer": 300, "match_thresh": 0.999},
        {"track_thresh": 0.7, "high_thresh": 0.3, "min_score": 0.0},
        {"track_thresh": 0.0, "high_thresh": 0.0, "min_score": 0.5},
        {"match_thresh": 0.3, "high_thresh": 1.0},
    ],
)
def test_other_settings(changes: dict[str, Any]) -> None:
    for seed in (7, 8):
        _compare(Scene(seed, 14), replace(ByteTrackConfig(), **changes), 120)


def test_a_crowd() -> None:
    assert _compare(Scene(3, 60), ByteTrackConfig(), 60) > 60


class Heap:
    """Hundreds of detections at one place, more than a track is compared with."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(11)

    def next_frame(self) -> Detections:
        n = int(self.random.integers(70, 200))
        corner = self.random.normal(300, 6, (n, 2))
        side = self.random.uniform(50, 70, (n, 2))
        boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
        scores = self.random.uniform(0.2, 1, n).astype(np.float32)
        return Detections(boxes, scores, np.zeros(n, np.int32))


@pytest.mark.parametrize("capacity", [1, 60])
def test_a_heap_of_detections(capacity: int) -> None:
    """Up to 64 tracks that compete cannot tell that only 64 detections are looked at."""
    assert _compare(Heap(), ByteTrackConfig(), 40, capacity) >= capacity


@pytest.mark.parametrize("capacity", [1, 5])
def test_a_tracker_that_is_too_small(capacity: int) -> None:
    _compare(Scene(5, 12), ByteTrackConfig(), 150, capacity)
