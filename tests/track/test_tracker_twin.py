"""The C tracker and its plain twin give the same identities, on scenes of every kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tracker_reference import ReferenceTracker

from edgemtl.records import Detections
from edgemtl.track import Tracker, TrackerConfig

SIZE = (480, 640)
DIM = 8


class Scene:
    """Moving objects seen through a careless detector: gaps, false alarms, wrong classes, NaN."""

    def __init__(self, seed: int, objects: int, pan: float = 0.0, look_noise: float = 0.2) -> None:
        self.random = np.random.default_rng(seed)
        self.place = self.random.uniform([0, 0], [640, 480], (objects, 2))
        self.speed = self.random.uniform(-90, 90, (objects, 2))
        self.sides = self.random.uniform([20, 40], [60, 120], (objects, 2))
        self.looks = self.random.standard_normal((objects, DIM))
        self.labels = self.random.integers(0, 3, objects)
        self.pan = np.array([pan, 0.0])
        self.look_noise = look_noise

    def move(self, dt: float) -> None:
        self.place += (self.speed + self.pan) * dt
        outside = (self.place < -20) | (self.place > [660, 500])
        self.speed[outside] *= -1

    def detections(self) -> Detections:
        r, n = self.random, len(self.place)
        seen = np.flatnonzero(r.random(n) < 0.85)
        noisy = self.place[seen] + r.standard_normal((len(seen), 2)) * 2
        sides = self.sides[seen] * np.exp(r.standard_normal((len(seen), 2)) * 0.04)
        false = int(r.poisson(1.0))
        centres = np.concatenate([noisy, r.uniform([0, 0], [640, 480], (false, 2))])
        sides = np.concatenate([sides, r.uniform(20, 90, (false, 2))])
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype(np.float32)
        scores = r.uniform(0.05, 1, len(boxes)).astype(np.float32)
        labels = np.concatenate([self.labels[seen], r.integers(0, 3, false)])
        labels = np.where(r.random(len(labels)) < 0.1, r.integers(0, 3, len(labels)), labels)
        looks = np.concatenate([self.looks[seen], r.standard_normal((false, DIM))])
        looks += r.standard_normal(looks.shape) * self.look_noise
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        wild = r.choice([np.nan, np.inf, -np.inf, 2e6], boxes.shape)
        boxes = np.where(r.random(boxes.shape) < 0.01, wild, boxes)
        scores[r.random(len(scores)) < 0.02] = np.nan
        unknown = r.random(len(looks)) < 0.1
        looks[unknown] = r.choice([0.0, np.nan, np.inf], (int(unknown.sum()), 1))
        order = r.permutation(len(boxes))
        return Detections(
            boxes[order].astype(np.float32),
            scores[order],
            labels[order].astype(np.int32),
            looks[order].astype(np.float32),
        )


def _compare(scene: Scene, config: TrackerConfig, frames: int, capacity: int, look: bool) -> int:
    """Steps both through the same frames at uneven times; the number of identities they gave."""
    ours = Tracker(config, capacity=capacity, embedding_dim=DIM if look else None)
    twin = ReferenceTracker(config, capacity, look)
    now = 1_700_000_000_000_000_000
    for _ in range(frames):
        gap = int(scene.random.choice([0, 20, 40, 40, 40, 120, 700]))
        now += gap * 1_000_000
        scene.move(gap / 1000)
        found = scene.detections()
        got, want = ours.step(found, now, SIZE), twin.step(found, now, SIZE)
        assert got.track_ids.tolist() == [row[0] for row in want]
        assert got.det_index.tolist() == [row[4] for row in want]
        assert got.labels.tolist() == [row[3] for row in want]
        assert got.scores.tolist() == [row[2] for row in want]
        boxes = np.array([row[1] for row in want]).reshape(-1, 4)
        assert got.boxes_src == pytest.approx(boxes, abs=2e-3, rel=1e-5)
        assert ours.refused == twin.refused
    return twin.next_id - 1


@pytest.mark.parametrize("look", [False, True], ids=["boxes", "embeddings"])
@pytest.mark.parametrize("seed", range(3))
def test_default_settings(seed: int, look: bool) -> None:
    assert _compare(Scene(seed, 9), TrackerConfig(), 120, 1024, look) >= 9


@pytest.mark.parametrize(
    "changes",
    [
        {"coast_s": 0.2, "confirm_score": 0.9},
        {"split_score": 0.8, "birth_score": 0.3, "class_penalty": 0.0},
        {"lost_s": 0.3, "tentative_s": 0.0, "min_height_ratio": 0.9},
        {"iou_weight": 1.0, "max_cost": 0.6, "position_noise": 0.05},
        {"iou_weight": 0.0, "max_distance": 0.4, "appearance_weight": 0.9},
        {"confirm_score": 0.0, "min_score": 0.0, "birth_score": 0.0},
        {"max_cost": 1.5, "max_cost_second": 0.99, "initial_speed": 0.3},
    ],
)
def test_other_settings(changes: dict[str, float]) -> None:
    for look in (False, True):
        assert _compare(Scene(7, 8), replace(TrackerConfig(), **changes), 60, 1024, look) > 0


def test_a_panning_camera() -> None:
    _compare(Scene(3, 14, pan=150.0), TrackerConfig(), 80, 1024, False)


def test_looks_that_change_from_frame_to_frame() -> None:
    """In a crowd where the look decides, what each detection taught shows in the identities."""
    config = replace(TrackerConfig(), appearance_weight=0.9, max_distance=2.0, max_cost=1.2)
    _compare(Scene(6, 40, look_noise=1.0), config, 60, 1024, True)


@pytest.mark.parametrize("capacity", [1, 5])
def test_a_tracker_that_is_too_small(capacity: int) -> None:
    config = replace(TrackerConfig(), birth_score=0.2)
    _compare(Scene(5, 12), config, 80, capacity, True)
