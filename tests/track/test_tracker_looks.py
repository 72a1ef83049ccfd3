"""What appearances and the direction of motion decide, and what they leave to the place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from track_scenes import MS, SIZE, SURE, by_detection, found, same

from edgemtl.records import Detections, Tracks
from edgemtl.track import Tracker

LOOKS = np.eye(2, 16)


@pytest.mark.parametrize("with_looks", [False, True])
def test_looks_tell_apart_what_positions_cannot(with_looks: bool) -> None:
    """Two meet and are hidden for a moment; then both stand where the other is awaited."""
    tracker = Tracker(embedding_dim=16 if with_looks else None)
    looks = LOOKS if with_looks else None
    for i in range(30):
        meeting = [(150 + 5 * i, 200), (450 - 5 * i, 200)]
        tracks = tracker.step(found(meeting, looks=looks), i * 40 * MS, SIZE)
    before = by_detection(tracks, 2)
    for i in range(30, 33):
        tracker.step(Detections.empty(16 if with_looks else None), i * 40 * MS, SIZE)
    tracks = tracker.step(found([(299, 200), (301, 200)], looks=looks), 33 * 40 * MS, SIZE)
    after = by_detection(tracks, 2)
    assert sorted(after) == sorted(before)
    assert (after == before) == with_looks


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, -np.inf, 0.0, 3e38])
def test_an_unknown_look_neither_helps_nor_harms(spoiled: float) -> None:
    """Such a look neither moves an identity nor makes the track forget the look it had."""
    tracker = Tracker(replace(SURE, appearance_weight=0.9), embedding_dim=16)
    two = [(200, 200), (215, 200)]
    tracker.step(found(two, looks=LOOKS), 0, SIZE)
    bad = np.full((2, 16), spoiled)
    bad[0] = LOOKS[0]
    assert by_detection(tracker.step(found(two, looks=bad), 40 * MS, SIZE), 2) == [1, 2]
    swapped = found(two, looks=LOOKS[::-1].copy())
    assert by_detection(tracker.step(swapped, 80 * MS, SIZE), 2) == [2, 1]


def test_a_first_look_that_is_infinite_is_learnt_later() -> None:
    tracker = Tracker(replace(SURE, appearance_weight=0.9), embedding_dim=16)
    two = [(200, 200), (215, 200)]
    tracker.step(found(two, looks=np.full((2, 16), np.inf)), 0, SIZE)
    tracker.step(found(two, looks=LOOKS), 40 * MS, SIZE)
    swapped = found(two, looks=LOOKS[::-1].copy())
    assert by_detection(tracker.step(swapped, 80 * MS, SIZE), 2) == [2, 1]


def test_looks_of_another_width_are_refused_and_unasked_ones_ignored() -> None:
    with pytest.raises(ValueError, match="embeddings: expected width 8, got 16"):
        Tracker(embedding_dim=8).step(found([(1, 1), (9, 9)], looks=LOOKS), 0, SIZE)
    plain, given = Tracker(SURE), Tracker(SURE)
    a = plain.step(found([(50, 50), (90, 90)]), 0, SIZE)
    assert same(a, given.step(found([(50, 50), (90, 90)], looks=LOOKS), 0, SIZE))
    assert len(Tracker(SURE, embedding_dim=16).step(found([(50, 50)]), 0, SIZE)) == 1


def _meeting(tracker: Tracker, looks: np.ndarray | None) -> list[int]:
    """Two boxes alike meet and turn round; the identity of each at the end."""
    for i in range(61):
        way = 5 * (30 - abs(30 - i))
        places = found([(150 + way, 200), (450 - way, 200)], looks=looks)
        tracks = tracker.step(places, i * 40 * MS, SIZE)
    return by_detection(tracks, 2)


def test_looks_tell_those_who_turn_round_from_those_who_cross() -> None:
    """Motion alone takes it for granted that they went on."""
    config = replace(SURE, appearance_weight=0.5)
    assert _meeting(Tracker(config), None) == [2, 1]
    assert _meeting(Tracker(config, embedding_dim=16), LOOKS) == [1, 2]


def test_looks_that_all_have_say_nothing() -> None:
    """Two tracks alike to a detection leave its place to decide, to the last bit."""
    alike = np.repeat(LOOKS[:1], 2, 0)
    plain, looking = Tracker(SURE), Tracker(replace(SURE, appearance_weight=0.9), embedding_dim=16)
    for i in range(30):
        places = [(200 + i, 200), (220 - i, 210)]
        a = plain.step(found(places), i * 40 * MS, SIZE)
        b = looking.step(found(places, looks=alike), i * 40 * MS, SIZE)
        assert same(a, b)


@pytest.mark.parametrize(("degrees", "decides"), [(10, False), (60, True)])
def test_looks_decide_only_where_they_differ(degrees: float, decides: bool) -> None:
    """Two tracks, whose looks have an angle between them; then each stands at the other's place."""
    angle = np.deg2rad(degrees)
    two = np.array([[1, 0], [np.cos(angle), np.sin(angle)]])
    tracker = Tracker(replace(SURE, appearance_weight=0.9), embedding_dim=2)
    for i in range(3):
        tracker.step(found([(200, 200), (215, 200)], looks=two), i * 40 * MS, SIZE)
    swapped = found([(200, 200), (215, 200)], looks=two[::-1].copy())
    tracks = tracker.step(swapped, 120 * MS, SIZE)
    assert by_detection(tracks, 2) == ([2, 1] if decides else [1, 2])


def test_a_look_of_its_own_may_be_dearer_in_place() -> None:
    """Beyond what place alone allows, and refused if the look is another's."""
    for look, known in [(0, True), (1, False)]:
        config = replace(SURE, appearance_weight=0.5, max_distance=1.5, likelihood_weight=0.0)
        assert by_detection(_jump(Tracker(config, embedding_dim=16), look), 1) == [
            1 if known else 2
        ]
    assert by_detection(
        _jump(Tracker(replace(SURE, max_distance=1.5, likelihood_weight=0.0)), 0), 1
    ) == [2]


def _jump(tracker: Tracker, look: int) -> Tracks:
    for i in range(10):
        tracker.step(found([(200, 200)], looks=LOOKS[:1]), i * 40 * MS, SIZE)
    return tracker.step(found([(245, 200)], looks=LOOKS[[look]]), 400 * MS, SIZE)


@pytest.mark.parametrize(("weight", "ahead"), [(0.0, False), (0.1, True)])
def test_a_detection_behind_costs_more(weight: float, ahead: bool) -> None:
    """Behind a runner is something that is a little nearer to where the runner should be."""
    tracker = Tracker(replace(SURE, direction_weight=weight))
    for i in range(20):
        tracker.step(found([(100 + 8 * i, 200)]), i * 40 * MS, SIZE)
    seen = 100 + 8 * 19
    tracks = tracker.step(found([(seen - 6, 200), (seen + 8 + 15, 200)]), 800 * MS, SIZE)
    assert by_detection(tracks, 2).index(1) == int(ahead)


def test_one_that_stands_has_no_direction() -> None:
    for weight in (0.0, 5.0):
        tracker = Tracker(replace(SURE, direction_weight=weight))
        for i in range(10):
            tracker.step(found([(200 + 0.05 * i, 200)]), i * 40 * MS, SIZE)
        tracks = tracker.step(found([(190, 200)]), 400 * MS, SIZE)
        assert by_detection(tracks, 1) == [1]
