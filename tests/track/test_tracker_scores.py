"""What scores and classes decide: the detector's scale, births, confirmation, what is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from track_scenes import MS, SIZE, SURE, by_detection, found, walkers

from edgemtl.records import Detections
from edgemtl.track import Tracker, TrackerConfig


def _doubtful_now_and_then(factor: float, frames: int) -> list[Detections]:
    random = np.random.default_rng(2)
    return [
        found(
            np.array(walkers(i * 0.04)) + random.normal(0, 1, (3, 2)),
            (random.choice([0.9, 0.9, 0.9, 0.4], 3) * factor).tolist(),
        )
        for i in range(frames)
    ]


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.1])
def test_a_detector_of_any_confidence_gives_the_same_tracks(factor: float) -> None:
    """Once its scale is known; a timid one starts its first tracks some frames later."""
    all_shown = replace(TrackerConfig(), show_odds=1e6)
    plain, other = Tracker(all_shown), Tracker(all_shown)
    frames = zip(_doubtful_now_and_then(1, 150), _doubtful_now_and_then(factor, 150), strict=True)
    for i, (usual, scaled) in enumerate(frames):
        a, b = (t.step(d, i * 40 * MS, SIZE) for t, d in [(plain, usual), (other, scaled)])
        if i >= 10:
            assert sorted(by_detection(b, 3)) == [1, 2, 3]
            assert len(a) == 3
        if i >= 50:
            order = [by_detection(b, 3).index(k) for k in by_detection(a, 3)]
            assert order == [0, 1, 2] or by_detection(a, 3) != by_detection(b, 3)
            by_place = np.argsort(b.det_index)
            assert b.boxes_src[by_place] == pytest.approx(
                a.boxes_src[np.argsort(a.det_index)], abs=1
            )


def test_a_picture_of_noise_alone_gives_no_tracks() -> None:
    """The scale has a floor."""
    tracker = Tracker()
    for i in range(400):
        assert len(tracker.step(found(walkers(i * 0.01), [0.25] * 3), i * 40 * MS, SIZE)) == 0


def test_the_scale_follows_a_detector_that_changes() -> None:
    """Too timid for a birth at first; half a minute later it is known to be so."""
    tracker = Tracker()
    for i in range(50):
        tracker.step(found([(100, 100)], [0.95]), i * 40 * MS, SIZE)
    for i in range(50, 900):
        tracks = tracker.step(found([(100, 100), (400, 300)], [0.5, 0.5]), i * 40 * MS, SIZE)
        assert i > 60 or len(tracks) == 1
    assert by_detection(tracks, 2) == [1, 2]
    tracker.reset()
    for i in range(3):
        tracks = tracker.step(found([(100, 100)], [0.5]), i * 40 * MS, SIZE)
    assert len(tracks) == 0, "a reset forgets the scale"


@pytest.mark.parametrize(
    ("needed", "detections"), [(0.0, 1), (0.9, 1), (1.6, 2), (2.5, 3), (4.5, 5)]
)
def test_a_track_is_known_when_its_scores_suffice(needed: float, detections: int) -> None:
    """A score like those of the prior counts one."""
    tracker = Tracker(replace(TrackerConfig(), confirm_score=needed))
    shown = [len(tracker.step(found([(300, 200)], [0.7]), i * 40 * MS, SIZE)) for i in range(7)]
    assert shown == [int(i + 1 >= detections) for i in range(7)]


@pytest.mark.parametrize(("every_ms", "known"), [(200, True), (300, False)])
def test_who_is_not_known_yet_is_forgotten_sooner(every_ms: int, known: bool) -> None:
    config = replace(TrackerConfig(), tentative_s=0.25, confirm_score=3.5, lost_s=2.0)
    tracker, shown = Tracker(config), 0
    for i in range(10):
        shown += len(tracker.step(found([(300, 200)]), i * every_ms * MS, SIZE))
        tracker.step(Detections.empty(), (i * 10 + 9) * every_ms // 10 * MS, SIZE)
    assert (shown > 0) == known


def test_doubtful_detections_continue_tracks_and_start_none() -> None:
    tracker = Tracker(replace(TrackerConfig(), show_odds=1e6))
    for i in range(40):
        scores = [0.9, 0.9, 0.35] if i < 10 else [0.9, 0.35, 0.35]
        tracks = tracker.step(found(walkers(i * 0.04), scores), i * 40 * MS, SIZE)
        if i >= 1:
            assert by_detection(tracks, 3) == [1, 2, 0]


@pytest.mark.parametrize(("show", "shown"), [(2.0, False), (3.5, False), (40.0, True)])
def test_tracks_of_doubtful_detections_are_followed_not_shown(show: float, shown: bool) -> None:
    tracker = Tracker(replace(TrackerConfig(), show_odds=show, birth_score=0.3))
    for i in range(30):
        tracks = tracker.step(found(walkers(i * 0.04), [0.95, 0.95, 0.5]), i * 40 * MS, SIZE)
    assert by_detection(tracks, 3) == [1, 2, 3 if shown else 0]
    for i in range(30, 200):
        tracks = tracker.step(found(walkers(i * 0.04), [0.95] * 3), i * 40 * MS, SIZE)
    for i in range(200, 900):
        tracks = tracker.step(found(walkers(8), [0.95] * 3), i * 40 * MS, SIZE)
    assert by_detection(tracks, 3) == [1, 2, 3], "the identity that it had all along"


def test_hours_of_detections_do_not_wear_a_track_out() -> None:
    """And its mean score is one of late: fewer doubtful detections than clear ones hide it."""
    tracker, places = Tracker(), [(100, 100), (400, 300)]
    clear, doubtful = found(places), found(places, [0.9, 0.5])
    for i in range(25_000):
        tracks = tracker.step(clear, i * 10 * MS, SIZE)
        assert i < 2 or len(tracks) == 2
    for i in range(25_000, 39_000):
        tracks = tracker.step(doubtful, i * 10 * MS, SIZE)
    assert tracks.track_ids.tolist() == [1]


def test_the_class_is_the_one_with_most_score_behind_it() -> None:
    tracker = Tracker(SURE)
    labels = [4, 4, 7, 4, 7, 4, 7, 7, 7, 7, 7, 7]
    got = [
        tracker.step(found([(300, 200)], labels=[k]), i * 40 * MS, SIZE).labels.tolist()
        for i, k in enumerate(labels)
    ]
    assert got[:8] == [[4]] * 8
    assert got[-1] == [7]


def test_a_class_is_never_so_sure_that_it_cannot_change() -> None:
    tracker = Tracker(SURE)
    for i in range(500):
        tracker.step(found([(300, 200)], labels=[4]), i * 40 * MS, SIZE)
    for i in range(500, 515):
        tracks = tracker.step(found([(300, 200)], labels=[7]), i * 40 * MS, SIZE)
    assert tracks.labels.tolist() == [7]


@pytest.mark.parametrize(("penalty", "ids"), [(0.0, [2, 1]), (0.3, [1, 2])])
def test_classes_hold_identities_apart(penalty: float, ids: list[int]) -> None:
    """Each is found a little nearer to where the other was."""
    tracker = Tracker(replace(SURE, class_penalty=penalty))
    tracker.step(found([(200, 200), (214, 200)], labels=[0, 1]), 0, SIZE)
    tracks = tracker.step(found([(209, 200), (205, 200)], labels=[0, 1]), 40 * MS, SIZE)
    assert by_detection(tracks, 2) == ids


def test_a_full_tracker_refuses_the_weakest_births() -> None:
    config = replace(SURE, birth_score=0.5)
    tracker = Tracker(config, capacity=3)
    places = [(60, 60), (160, 60), (260, 60), (360, 60), (460, 60)]
    tracks = tracker.step(found(places, [0.7, 0.9, 0.6, 0.9, 0.8]), 0, SIZE)
    assert by_detection(tracks, 5) == [0, 1, 0, 2, 3]
    assert tracker.refused == 2
    tracks = tracker.step(found(places, [0.9] * 5), 40 * MS, SIZE)
    assert by_detection(tracks, 5) == [0, 1, 0, 2, 3]
    assert tracker.refused == 4
    tied = Tracker(config, capacity=2)
    assert by_detection(tied.step(found(places, [0.8] * 5), 0, SIZE), 5) == [1, 2, 0, 0, 0]
    tied.reset()
    assert tied.refused == 0


def test_a_crowd_is_followed_and_ends() -> None:
    tracker, random = Tracker(SURE, capacity=500), np.random.default_rng(2)
    grid = np.stack(np.meshgrid(np.arange(25) * 24 + 20, np.arange(16) * 28 + 20), -1).reshape(
        -1, 2
    )
    for i in range(4):
        moved = grid + random.normal(0, 0.5, grid.shape)
        tracks = tracker.step(found(moved, side=16), i * 40 * MS, SIZE)
        assert by_detection(tracks, 400) == list(range(1, 401))
    assert len(tracker.step(Detections.empty(), 10_000 * MS, SIZE)) == 0
    assert tracker.step(found([(9, 9)]), 10_040 * MS, SIZE).track_ids.tolist() == [401]
