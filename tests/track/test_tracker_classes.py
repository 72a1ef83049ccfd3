"""A score scale for each class: classes of unlike confidence leave one another alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from track_scenes import MS, SIZE, by_detection, found, same
from tracker_reference import ReferenceTracker

from edgemtl.records import Detections, Tracks
from edgemtl.track import Tracker, TrackerConfig

OWN = 512
"""Labels from 0 with a scale of their own (EM_TRACKER_CLASSES of edgemtl.h)."""
LEAST, MOST = -(2**31), 2**31 - 1
APART = replace(TrackerConfig(), camera_motion=False)
"""Without what all tracks of a picture have in common."""


def _stream(seed: int, left: float, label: int, confidence: float) -> list[Detections]:
    """Objects in one part of the picture, from it on for 200 pixels: many doubtful, some missed."""
    random = np.random.default_rng(seed)
    place = random.uniform([left, 40], [left + 200, 440], (4, 2))
    speed = random.uniform(-30, 30, (4, 2))
    frames = []
    for _ in range(250):
        place += speed * 0.04
        speed[(place < [left, 40]) | (place > [left + 200, 440])] *= -1
        at = place + random.normal(0, 1.5, place.shape)
        at = np.append(at, random.uniform([left, 40], [left + 200, 440], (1, 2)), 0)
        scores = confidence * random.choice([1.0, 0.95, 0.9, 0.4], 5)
        scores[4] = confidence * random.uniform(0.2, 0.95)
        kept = np.flatnonzero(random.random(5) < 0.85)
        frames.append(found(at[kept], scores[kept].tolist(), [label] * len(kept)))
    return frames


def _joined(a: Detections, b: Detections) -> Detections:
    names = ("boxes_src", "scores", "labels")
    return Detections(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in names))


def _only(tracks: Tracks, label: int, offset: int, names: dict[int, int]) -> Tracks:
    """Those of a class, with the indices and the identities that they would have alone."""
    of = tracks.labels == label
    index = tracks.det_index[of]
    ids = [names.setdefault(i, len(names) + 1) for i in tracks.track_ids[of].tolist()]
    return replace(
        tracks,
        track_ids=np.array(ids, np.int64),
        boxes_src=tracks.boxes_src[of],
        scores=tracks.scores[of],
        labels=tracks.labels[of],
        det_index=np.where(index >= 0, index - offset, -1),
    )


def _run(frames: list[Detections], config: TrackerConfig = APART) -> list[Tracks]:
    tracker = Tracker(config)
    return [tracker.step(d, i * 40 * MS, SIZE) for i, d in enumerate(frames)]


def _renamed(frames: list[Tracks]) -> list[Tracks]:
    names: dict[int, int] = {}
    return [_only(t, int(t.labels[0]), 0, names) if len(t) else t for t in frames]


@pytest.mark.parametrize(
    ("sure", "timid"),
    [(0, 1), (0, OWN - 1), (OWN - 1, OWN), (3, -1), (MOST, 0), (LEAST, 7), (2, 1000)],
)
def test_each_class_is_followed_as_if_alone(sure: int, timid: int) -> None:
    """To the last bit, whatever the other one's confidence."""
    one, two = _stream(1, 30, sure, 0.95), _stream(2, 410, timid, 0.5)
    both = _run([_joined(a, b) for a, b in zip(one, two, strict=True)])
    for label, alone in ((sure, one), (timid, two)):
        names: dict[int, int] = {}
        for i, (together, want) in enumerate(zip(both, _renamed(_run(alone)), strict=True)):
            offset = 0 if label == sure else len(one[i])
            assert same(_only(together, label, offset, names), want)
        assert len(names) >= 4


@pytest.mark.parametrize("other", [-1, LEAST, MOST, 100_000])
def test_labels_without_a_scale_of_their_own_share_one(other: int) -> None:
    """They give the tracks of one label, and not those of two classes."""
    one, two = _stream(1, 30, OWN, 0.95), _stream(2, 410, other, 0.5)
    alike = [replace(d, labels=np.full(len(d), OWN, np.int32)) for d in two]
    got = _run([_joined(a, b) for a, b in zip(one, two, strict=True)])
    want = _run([_joined(a, b) for a, b in zip(one, alike, strict=True)])
    apart = _run([_joined(a, b) for a, b in zip(_stream(1, 30, 5, 0.95), two, strict=True)])
    for a, b in zip(got, want, strict=True):
        assert same(replace(a, labels=b.labels), b)
    assert any(len(a) != len(b) for a, b in zip(got, apart, strict=True))


@pytest.mark.parametrize("label", [1, OWN - 1, OWN, -1, LEAST, MOST])
def test_a_stream_of_one_class_is_the_same_whatever_its_label(label: int) -> None:
    want = _run(_stream(3, 200, 0, 0.7))
    for a, b in zip(_run(_stream(3, 200, label, 0.7)), want, strict=True):
        assert same(replace(a, labels=b.labels), b)


def test_doubtful_cars_do_not_make_doubtful_people_count() -> None:
    """A false alarm of 0.6 beside people of 0.9 starts nothing, however many cars of 0.4 stand."""
    tracker = Tracker()
    places = [(60, 60), (160, 60), (260, 60), (500, 400)]
    people, cars = [0.9, 0.6], [0.4, 0.4]
    for i in range(500):
        d = found([places[0], places[3], *places[1:3]], people + cars, [0, 0, 2, 2])
        tracks = tracker.step(d, i * 40 * MS, SIZE)
    assert by_detection(tracks, 4)[:2] == [1, 0]


def test_more_classes_than_there_are_scales() -> None:
    """Each object its own class, from both ends of int32 and around the last own scale."""
    labels = [*range(-3, 60), *range(OWN - 20, OWN + 20), LEAST, LEAST + 1, MOST - 1, MOST]
    grid = [(20 + 50 * (k % 12), 20 + 48 * (k // 12)) for k in range(len(labels))]
    tracker, twin = Tracker(), ReferenceTracker(TrackerConfig())
    for i in range(60):
        scores = [0.95 if label % 2 else 0.5 for label in labels]
        d = found(grid, scores, labels, side=30)
        tracks, want = (t.step(d, i * 200 * MS, SIZE) for t in (tracker, twin))
        assert tracks.track_ids.tolist() == [row[0] for row in want]
        assert tracks.labels.tolist() == [row[3] for row in want]
    own = [label for label, k in zip(labels, by_detection(tracks, len(labels)), strict=True) if k]
    assert set(own) >= {label for label in labels if 0 <= label < OWN}


def test_a_track_between_two_classes_counts_by_the_label_it_has() -> None:
    """Clear for either: as a car of 0.5 now, as a person of 0.9 then, it stays shown."""
    tracker = Tracker()
    for i in range(200):
        of = 2 if i % 3 else 0
        d = found([(100, 100), (300, 100), (500, 100)], [0.9, 0.5, 0.5 if of else 0.9], [0, 2, of])
        tracks = tracker.step(d, i * 40 * MS, SIZE)
        assert i < 100 or len(tracks) == 3
    tracker.reset()
    for i in range(3):
        tracks = tracker.step(found([(300, 100)], [0.5], [2]), i * 40 * MS, SIZE)
    assert len(tracks) == 0, "a reset forgets the scale of every class"
