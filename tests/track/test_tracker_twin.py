"""The C tracker and its plain twin give the same identities, on scenes of every kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from tracker_reference import ReferenceTracker

from edgemtl.records import Detections
from edgemtl.track import Tracker, TrackerConfig

SIZE = (480, 640)
DIM = 8
DAY_NS = 86_400_000_000_000


@dataclass
class Manner:
    """How a detector and a camera behave."""

    clear: float = 0.7
    """Share of detections with a clear score; the others have any."""
    confidence: float = 0.9
    """Of the clear ones."""
    by_class: tuple[float, ...] = (1.0, 1.0, 1.0)  # what the scores of a class are times
    missed: float = 0.15
    false: float = 1.0
    """False alarms of a frame."""
    garbage: float = 0.01
    """Share of coordinates that are no numbers or far too large."""
    look_noise: float = 0.2
    pan: float = 0.0
    """Pixels a second, to which only the tracker's own guess is an answer."""
    shaken: bool = False
    """Whether the camera moves, turns and zooms by matrices that the tracker is told."""
    spread: float = 1.0
    """Share of the picture's sides that the objects start in."""


class Scene:
    """Moving objects seen through a careless detector: gaps, false alarms, wrong classes, NaN."""

    def __init__(self, seed: int, objects: int, manner: Manner | None = None) -> None:
        self.random, self.manner = np.random.default_rng(seed), manner or Manner()
        middle, half = np.array([320, 240]), np.array([320, 240]) * self.manner.spread
        self.place = self.random.uniform(middle - half, middle + half, (objects, 2))
        self.speed = self.random.uniform(-90, 90, (objects, 2)) * self.manner.spread
        self.sides = self.random.uniform([20, 40], [60, 120], (objects, 2))
        self.looks = self.random.standard_normal((objects, DIM))
        self.labels = self.random.integers(0, 3, objects)

    def move(self, dt: float) -> np.ndarray | None:
        """Objects, then the camera: its matrix, if it is known."""
        self.place += (self.speed + np.array([self.manner.pan, 0.0])) * dt
        outside = (self.place < -20) | (self.place > [660, 500])
        self.speed[outside] *= -1
        if not self.manner.shaken or self.random.random() < 0.2:
            return None
        angle, zoom = self.random.normal(0, 0.01), np.exp(self.random.normal(0, 0.01))
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        camera = np.concatenate([turn, self.random.normal(0, 15, (2, 1))], 1)
        self.place = self.place @ turn.T + camera[:, 2]
        self.speed = self.speed @ turn.T
        self.sides = np.clip(self.sides * zoom, 5, 300)
        return camera

    def detections(self) -> Detections:
        r, m, n = self.random, self.manner, len(self.place)
        seen = np.flatnonzero(r.random(n) >= m.missed)
        noisy = self.place[seen] + r.standard_normal((len(seen), 2)) * 2
        sides = self.sides[seen] * np.exp(r.standard_normal((len(seen), 2)) * 0.04)
        false = int(r.poisson(m.false))
        centres = np.concatenate([noisy, r.uniform([0, 0], [640, 480], (false, 2))])
        sides = np.concatenate([sides, r.uniform(20, 90, (false, 2))])
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype(np.float32)
        clear = r.random(len(boxes)) < m.clear
        good = m.confidence * r.uniform(0.9, 1.1, len(boxes))
        scores = np.where(clear, good, r.uniform(0.02, 1, len(boxes)) * m.confidence)
        scores = scores.astype(np.float32)
        labels = np.concatenate([self.labels[seen], r.integers(0, 3, false)])
        labels = np.where(r.random(len(labels)) < 0.1, r.integers(0, 3, len(labels)), labels)
        scores *= np.array(m.by_class, np.float32)[labels]
        looks = np.concatenate([self.looks[seen], r.standard_normal((false, DIM))])
        looks += r.standard_normal(looks.shape) * m.look_noise
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        wild = r.choice([np.nan, np.inf, -np.inf, 2e6], boxes.shape)
        boxes = np.where(r.random(boxes.shape) < m.garbage, wild, boxes)
        odd = r.random(len(scores)) < 2 * m.garbage
        scores[odd] = r.choice([np.nan, np.inf, -1.0, 0.0], int(odd.sum()))
        unknown = r.random(len(looks)) < 0.1
        looks[unknown] = r.choice([0.0, np.nan, np.inf], (int(unknown.sum()), 1))
        order = r.permutation(len(boxes))
        return Detections(
            boxes[order].astype(np.float32),
            scores[order],
            labels[order].astype(np.int32),
            looks[order].astype(np.float32),
        )


GAPS = (0, 20, 40, 40, 40, 120, 700)


def _compare(
    scene: Scene,
    config: TrackerConfig,
    frames: int,
    look: bool,
    capacity: int = 1024,
    gaps: tuple[int, ...] = GAPS,
) -> ReferenceTracker:
    """Steps both through the same frames at uneven times (gaps in ms); the twin at the end."""
    ours = Tracker(config, capacity=capacity, embedding_dim=DIM if look else None)
    twin = ReferenceTracker(config, capacity, look)
    now, reported = 20_000 * DAY_NS, 0
    for _ in range(frames):
        gap = int(scene.random.choice(gaps))
        now += gap * 1_000_000
        camera = scene.move(gap / 1000)
        found = scene.detections()
        got, want = ours.step(found, now, SIZE, camera), twin.step(found, now, SIZE, camera)
        assert got.track_ids.tolist() == [row[0] for row in want]
        assert got.det_index.tolist() == [row[4] for row in want]
        assert got.labels.tolist() == [row[3] for row in want]
        assert got.scores.tolist() == [row[2] for row in want]
        boxes = np.array([row[1] for row in want]).reshape(-1, 4)
        assert got.boxes_src == pytest.approx(boxes, abs=1e-3, rel=1e-6)
        assert ours.refused == twin.refused
        reported += len(want)
    assert reported > frames / 2
    return twin


both_looks = pytest.mark.parametrize("look", [False, True], ids=["boxes", "embeddings"])


@both_looks
@pytest.mark.parametrize("seed", range(3))
def test_default_settings(seed: int, look: bool) -> None:
    assert _compare(Scene(seed, 9), TrackerConfig(), 120, look).next_id > 9


@both_looks
@pytest.mark.parametrize(
    "changes",
    [
        {"coast_s": 0.5, "confirm_score": 0.9, "show_odds": 1.2},
        {"strong_score": 0.95, "birth_score": 0.3, "class_penalty": 0.0, "show_odds": 90.0},
        {"lost_s": 0.3, "tentative_s": 0.0, "min_height_ratio": 0.9, "fade_s": 0.0},
        {"iou_weight": 1.0, "max_cost": 0.6, "position_noise": 0.05, "size_noise": 0.1},
        {"iou_weight": 0.0, "max_distance": 0.4, "appearance_weight": 0.95},
        {"confirm_score": 0.0, "min_score": 0.0, "birth_score": 0.0, "strong_score": 0.0},
        {"max_cost": 1.5, "max_cost_second": 0.99, "initial_speed": 0.3, "fade_s": 0.4},
        {"likelihood_weight": 1.0, "direction_weight": 0.6, "height_weight": 2.0},
        {"likelihood_weight": 0.0, "tentative_penalty": 0.0, "acceleration_noise": 3.0},
        {"camera_motion": False, "shape_noise": 0.2, "tentative_s": 4.0, "lost_s": 1.0},
    ],
)
def test_other_settings(changes: dict[str, float], look: bool) -> None:
    _compare(Scene(7, 8), replace(TrackerConfig(), **changes), 80, look)


@pytest.mark.parametrize("confidence", [0.25, 0.5, 0.98])
def test_detectors_of_any_confidence(confidence: float) -> None:
    """The lowest is below what the score scale can be."""
    config = TrackerConfig(birth_score=0.6, min_score=0.05)
    _compare(Scene(4, 9, Manner(confidence=confidence)), config, 80, False)


@both_looks
def test_classes_of_unlike_confidence(look: bool) -> None:
    twin = _compare(Scene(5, 9, Manner(by_class=(1.05, 0.5, 0.75))), TrackerConfig(), 120, look)
    assert twin.scales[0] > 0.9 > 0.7 > twin.scales[2] > 0.6 > 0.5 > twin.scales[1]


def test_a_detector_that_changes() -> None:
    """Within a stream, from confident to timid: the scale follows."""
    scene = Scene(8, 9)
    scene.manner = Manner(missed=0.02)
    ours, twin = Tracker(), ReferenceTracker(TrackerConfig())
    for i in range(300):
        scene.manner.confidence = 0.98 if i < 50 else 0.45
        scene.move(0.2)
        found = scene.detections()
        got, want = (t.step(found, i * 200_000_000, SIZE) for t in (ours, twin))
        assert got.track_ids.tolist() == [row[0] for row in want]
        assert i != 49 or min(twin.scales[k] for k in range(3)) > 0.9
    assert all(0.4 < twin.scales[k] < 0.5 for k in range(3))


@both_looks
@pytest.mark.parametrize("pan", [40.0, 150.0])
def test_a_panning_camera_that_nobody_knows_of(pan: float, look: bool) -> None:
    manner = Manner(pan=pan, missed=0.3)
    twin = _compare(Scene(3, 14, manner), TrackerConfig(coast_s=1.0), 80, look)
    assert twin.camera_speed > 0


@both_looks
@pytest.mark.parametrize("seed", range(2))
def test_a_camera_whose_motion_is_told(seed: int, look: bool) -> None:
    _compare(Scene(seed, 12, Manner(shaken=True)), TrackerConfig(coast_s=0.5), 100, look)


@pytest.mark.parametrize("look_noise", [0.3, 1.0])
def test_looks_in_a_crowd(look_noise: float) -> None:
    """Where the look decides, what each detection taught shows in the identities."""
    config = TrackerConfig(appearance_weight=0.9, max_distance=2.0, max_cost=1.2)
    _compare(Scene(6, 40, Manner(look_noise=look_noise)), config, 60, True)


@both_looks
@pytest.mark.parametrize(("objects", "spread"), [(30, 1.0), (90, 1.0), (90, 0.05)])
def test_crowds_beyond_the_grid(objects: int, spread: float, look: bool) -> None:
    """All over the picture, or in a thin heap and a few false alarms elsewhere."""
    manner = Manner(spread=spread, false=2.0)
    _compare(Scene(11, objects, manner), TrackerConfig(), 30, look, gaps=(40, 40, 100))


@both_looks
def test_weak_crowds_beyond_the_grid(look: bool) -> None:
    """The second association looks in a grid too."""
    manner = Manner(clear=0.45, missed=0.05)
    _compare(Scene(12, 90, manner), TrackerConfig(), 30, look, gaps=(40,))


@both_looks
def test_more_candidates_than_a_track_keeps(look: bool) -> None:
    config = TrackerConfig(max_cost=2.0, max_cost_second=0.95, min_height_ratio=0.1)
    manner = Manner(spread=0.03, clear=0.6, false=0.0)
    twin = _compare(Scene(13, 110, manner), config, 25, look, gaps=(40,))
    assert twin.capped > 1000


@pytest.mark.parametrize("capacity", [1, 5])
def test_a_tracker_that_is_too_small(capacity: int) -> None:
    config = TrackerConfig(birth_score=0.2)
    assert _compare(Scene(6, 12), config, 80, True, capacity).refused > 0


def test_garbage_only_now_and_then_leaves_a_track() -> None:
    manner = Manner(garbage=0.2, missed=0.0)
    _compare(Scene(9, 20, manner), TrackerConfig(), 80, True)


def test_gaps_up_to_an_hour() -> None:
    gaps = (40, 40, 40, 40, 1_000, 2_150, 2_250, 9_000, 3_600_000)
    scene = Scene(10, 6, Manner(missed=0.0, clear=0.95))
    scene.speed *= 0.0
    _compare(scene, TrackerConfig(), 120, False, gaps=gaps)
