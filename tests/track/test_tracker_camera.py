"""A camera that moves, told or guessed; and what is shown of objects that nobody sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from track_scenes import MS, SIZE, SURE, by_detection, found, same

from edgemtl.records import Detections, Tracks
from edgemtl.track import Tracker, TrackerConfig

ROW = np.array([(80 + 80 * k, 240) for k in range(5)], np.float64)
CROWD = np.array([(80 + 120 * (k % 5), 130 + 220 * (k // 5)) for k in range(10)], np.float64)
UNTOLD = replace(SURE, camera_motion=False)


def _shifted(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y]], np.float64)


def _leaping(tracker: Tracker, told: bool) -> list[list[int]]:
    """The camera leaps by a whole place of a row of objects, back and forth."""
    ids = []
    for i in range(20):
        leap = 0.0 if i == 0 else 80.0 if i % 2 else -80.0
        places = ROW + np.array([80.0 * (i % 2), 0])
        camera = _shifted(leap) if told else None
        ids.append(by_detection(tracker.step(found(places), i * 40 * MS, SIZE, camera), 5))
    return ids


def test_a_told_leap_keeps_identities_that_break_without() -> None:
    assert _leaping(Tracker(UNTOLD), told=True) == [[1, 2, 3, 4, 5]] * 20
    without = _leaping(Tracker(UNTOLD), told=False)
    assert without[1][:4] == [2, 3, 4, 5], "each takes its neighbour's"


def test_a_camera_that_turns_and_zooms() -> None:
    """A quarter turn and back, near and far; speeds turn with the picture."""
    tracker, middle = Tracker(UNTOLD), np.array([320.0, 240.0])
    turn = np.array([[0.0, -1.5], [1.5, 0.0]])
    camera = np.concatenate([turn, (middle - turn @ middle)[:, None]], 1)
    places = middle + np.array([(-60, -40), (60, -40), (-60, 40), (60, 40)])
    speed = np.array([3.0, 0.0])
    for i in range(20):
        moved = places + i * speed
        tracker.step(found(moved), i * 40 * MS, SIZE)
    turned = (places + 20 * speed) @ turn.T + camera[:, 2]
    tracks = tracker.step(found(turned, side=60), 800 * MS, SIZE, camera)
    assert by_detection(tracks, 4) == [1, 2, 3, 4]
    assert tracks.boxes_src == pytest.approx(found(turned, side=60).boxes_src, abs=0.3)
    tracks = tracker.step(Detections.empty(), 840 * MS, SIZE)
    assert tracks.boxes_src == pytest.approx(
        found(turned + turn @ speed, side=60).boxes_src, abs=0.7
    )


def test_no_motion_is_the_same_as_no_camera() -> None:
    a, b = Tracker(UNTOLD), Tracker(UNTOLD)
    for i in range(10):
        places = ROW + 2.0 * i
        still = _shifted(0).astype(np.float32) if i % 2 else [[1, 0, 0], [0, 1, 0]]
        one = a.step(found(places), i * 40 * MS, SIZE)
        two = b.step(found(places), i * 40 * MS, SIZE, still)
        assert same(one, two)


@pytest.mark.parametrize(
    "camera",
    [
        np.eye(3),
        np.zeros(6),
        np.eye(3, 2),
        np.zeros((1, 2, 3)),
        np.zeros((2, 3)),
        np.float64(1.0),
        _shifted(np.nan),
        _shifted(-np.inf),
        _shifted(0) * 200,
        _shifted(0) / 200,
        _shifted(2e6),
        np.array([[1, 0, 0], [np.nan, 1, 0]]),
    ],
)
def test_other_matrices_are_refused_and_change_nothing(camera: Any) -> None:
    a, b = Tracker(SURE), Tracker(SURE)
    for i in range(6):
        assert same(a.step(found(ROW), i * 40 * MS, SIZE), b.step(found(ROW), i * 40 * MS, SIZE))
        with pytest.raises(ValueError, match="camera: expected"):
            a.step(found(ROW + 9), (i * 40 + 10) * MS, SIZE, camera)


def test_matrices_that_pile_up_end_nothing_but_tracks() -> None:
    """A hundredfold zoom again and again throws what nobody sees out of all numbers."""
    tracker, zoom = Tracker(SURE), np.array([[99.9, 0, 1e6], [0, 99.9, -1e6]])
    for _ in range(200):
        tracks = tracker.step(found(np.repeat(ROW, 6, 0)), 0, SIZE, zoom)
        assert np.isfinite(tracks.boxes_src).all()
        assert len(set(tracks.track_ids.tolist())) == len(tracks)
    tracker.reset()
    assert len(tracker.step(found(ROW), 0, SIZE)) == 5


def _hidden_while_the_camera_jerks(config: TrackerConfig, seen: int) -> list[int]:
    """Three jerks; the first object is hidden during them. The identities afterwards."""
    tracker, places = Tracker(config), CROWD[: seen + 1].copy()
    for i in range(40):
        if i in (15, 20, 25):
            places += [14, 5]
        hidden = 14 < i < 30
        tracks = tracker.step(found(places[int(hidden) :]), i * 40 * MS, SIZE)
    return by_detection(tracks, len(places))


def test_what_all_were_wrong_by_moves_the_unseen_too() -> None:
    assert _hidden_while_the_camera_jerks(SURE, 9) == list(range(1, 11))
    assert _hidden_while_the_camera_jerks(UNTOLD, 9) == [11, *range(2, 11)]
    assert _hidden_while_the_camera_jerks(SURE, 5) == [7, *range(2, 7)], "too few to tell"


@pytest.mark.parametrize(("common", "spread", "moves"), [(1, 8, False), (8, 2, True)])
def test_errors_of_chance_move_nobody(common: float, spread: float, moves: bool) -> None:
    """In the last frame all but the first are found beside where they should be."""
    a, b = Tracker(SURE), Tracker(UNTOLD)
    for i in range(12):
        for tracker in (a, b):
            tracker.step(found(CROWD), i * 40 * MS, SIZE)
    wrong = np.linspace(common - spread, common + spread, 9)
    last = found(CROWD[1:] + np.stack([wrong, 0 * wrong], 1))
    one, two = (t.step(last, 480 * MS, SIZE) for t in (a, b))
    assert same(one, two) != moves
    assert one.boxes_src[0] - two.boxes_src[0] == pytest.approx([8 * moves, 0, 8 * moves, 0])


def _coasting(
    tracker: Tracker, places: np.ndarray, per_frame: np.ndarray, jerk: float
) -> list[Tracks]:
    """Twelve frames of these objects, then some without the first: what is shown of that one."""
    shown = []
    for i in range(12, 40):
        at = places + i * per_frame + [jerk * (i % 2), 0]
        seen = at if i < 24 else at[1:]
        tracks = tracker.step(found(seen), i * 40 * MS, SIZE)
        shown.append(tracks)
    return shown


def _frames_shown(shown: list[Tracks]) -> int:
    return sum(1 in t.track_ids for t in shown[12:])


@pytest.mark.parametrize(("coast_s", "frames"), [(0.0, 0), (0.1, 2), (0.2, 5), (0.3, 7)])
def test_unseen_objects_are_shown_for_a_moment(coast_s: float, frames: int) -> None:
    config = replace(SURE, coast_s=coast_s)
    shown = _coasting(Tracker(config), CROWD[:1], np.array([4.0, 0]), 0)
    assert _frames_shown(shown) == frames
    for i, tracks in enumerate(shown[12 : 12 + frames]):
        assert tracks.det_index.tolist() == [-1]
        want = found(CROWD[:1] + np.array([4.0 * (24 + i), 0])).boxes_src
        assert tracks.boxes_src == pytest.approx(want, abs=3)


def test_who_left_over_the_border_is_not_shown() -> None:
    config = replace(SURE, coast_s=1.0)
    for place, speed in [((350, 200), 10), ((290, 200), -10), ((300, 420), 0), ((300, 60), 0)]:
        drift = np.array([speed, 0.0])
        shown = _coasting(Tracker(config), np.array([place], np.float64), drift, 0)
        border = [20 < place[0] + i * speed < 620 and 20 < place[1] < 460 for i in range(24, 40)]
        frames = _frames_shown(shown)
        assert frames <= sum(border) + 1
        assert frames >= min(sum(border) - 1, 1)


def test_a_moving_camera_shortens_what_is_shown_unseen() -> None:
    config = replace(SURE, coast_s=0.4)
    still = _frames_shown(_coasting(Tracker(config), CROWD, np.zeros(2), 0.0))
    jerky = _frames_shown(_coasting(Tracker(config), CROWD, np.zeros(2), 12.0))
    assert still == 10
    assert 0 < jerky < 8
