"""What a user of the tracker relies on: identities through gaps, crossings, noise and bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from track_scenes import MS, SIZE, SURE, by_detection, found, same, walkers

from edgemtl.records import Detections
from edgemtl.track import Tracker, TrackerConfig


def test_no_detections_at_all() -> None:
    tracker = Tracker()
    for i in range(5):
        tracks = tracker.step(Detections.empty(), i * 40 * MS, SIZE)
        assert len(tracks) == 0
        assert tracks.boxes_src.shape == (0, 4)
        assert tracks.track_ids.dtype == np.int64


def test_one_object_is_known_after_two_good_detections() -> None:
    tracker = Tracker(TrackerConfig(confirm_score=1.6))
    for i in range(60):
        tracks = tracker.step(found([(100 + 3 * i, 200 + i)]), i * 40 * MS, SIZE)
        if i < 1:
            assert len(tracks) == 0
            continue
        assert tracks.track_ids.tolist() == [1]
        assert tracks.det_index.tolist() == [0]
        want = [80 + 3 * i, 180 + i, 120 + 3 * i, 220 + i]
        assert tracks.boxes_src[0] == pytest.approx(want, abs=4)


def test_by_default_only_the_clearest_are_known_at_once() -> None:
    tracker = Tracker()
    old = [(100, 100), (300, 100)]
    for i in range(50):
        tracker.step(found(old), i * 40 * MS, SIZE)
    assert len(tracker.step(found([*old, (200, 300)]), 2_000 * MS, SIZE)) == 2
    assert len(tracker.step(found([*old, (200, 300)]), 2_040 * MS, SIZE)) == 3
    clear = found([*old, (200, 300), (450, 300)], scores=[0.9, 0.9, 0.9, 0.99])
    assert len(tracker.step(clear, 2_080 * MS, SIZE)) == 4


def test_each_instance_counts_from_one_and_a_reset_starts_again() -> None:
    a, b = Tracker(SURE), Tracker(SURE)
    three, one = found([(50, 50), (200, 50), (400, 50)]), found([(300, 300)])
    assert a.step(three, 0, SIZE).track_ids.tolist() == [1, 2, 3]
    assert b.step(one, 0, SIZE).track_ids.tolist() == [1]
    far = found([(50, 50), (200, 50), (400, 50), (600, 400)])
    assert a.step(far, 40 * MS, SIZE).track_ids.tolist() == [1, 2, 3, 4]
    a.reset()
    assert same(a.step(one, 0, SIZE), Tracker(SURE).step(one, 0, SIZE))


def test_ids_are_never_used_twice() -> None:
    """Objects appear and vanish all over the picture; within a frame and over time ids differ."""
    tracker, random, last = Tracker(SURE), np.random.default_rng(1), 0
    for i in range(200):
        n = int(random.integers(0, 6))
        tracks = tracker.step(found(random.uniform(50, 400, (n, 2))), i * 500 * MS, SIZE)
        ids = tracks.track_ids.tolist()
        assert len(set(ids)) == len(ids)
        new = [t for t in ids if t > last]
        assert new == list(range(last + 1, last + 1 + len(new)))
        last += len(new)
    assert last > 100


def test_crossing_objects_keep_their_identities() -> None:
    tracker, met = Tracker(), False
    for i in range(81):
        centres = [(120 + 5 * i, 200), (520 - 5 * i, 215)]
        order = [1, 0] if i % 3 == 0 else [0, 1]
        tracks = tracker.step(found([centres[k] for k in order]), i * 40 * MS, SIZE)
        ids = by_detection(tracks, 2)
        met = met or abs(centres[0][0] - centres[1][0]) < 10
        if i == 3:
            first = [ids[k] for k in order]
        if i > 3:
            assert [ids[k] for k in order] == first == [2, 1]
    assert met


@pytest.mark.parametrize("seed", range(3))
def test_dropped_frames_and_uneven_rates_keep_identities(seed: int) -> None:
    random, tracker, now, ids = np.random.default_rng(seed), Tracker(), 0, None
    for i in range(120):
        now += int(random.choice([10, 33, 40, 100, 400])) * MS if i > 8 else 33 * MS
        if now > 8_000 * MS:
            break
        noise = random.normal(0, 1.0, (3, 2))
        tracks = tracker.step(found(np.array(walkers(now * 1e-9)) + noise), now, SIZE)
        if i >= 3:
            ids = ids or by_detection(tracks, 3)
            assert by_detection(tracks, 3) == ids == [1, 2, 3]


@pytest.mark.parametrize("rate", [4, 10, 25, 60, 240])
def test_any_frame_rate_gives_the_same_identities_and_places(rate: int) -> None:
    tracker = Tracker()
    for i in range(6 * rate + 1):
        tracks = tracker.step(found(walkers(i / rate)), round(i / rate * 1e9), SIZE)
    assert by_detection(tracks, 3) == [1, 2, 3]
    assert tracks.boxes_src == pytest.approx(found(walkers(6.0)).boxes_src, abs=1.5)


def test_a_gap_in_the_stream_is_bridged_or_ends_the_tracks() -> None:
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.step(found(walkers(i * 0.04)), i * 40 * MS, SIZE)
    assert by_detection(tracks, 3) == [1, 2, 3]
    short = tracker.step(found(walkers(1.4)), 1_400 * MS, SIZE)
    assert by_detection(short, 3) == [1, 2, 3]
    outage_ms = 1_400 + 5_000
    for i in range(4):
        later = tracker.step(
            found(walkers((outage_ms + i * 40) / 1000)), (outage_ms + i * 40) * MS, SIZE
        )
        assert tracker.refused == 0
    assert later.track_ids.tolist() == [4, 5, 6]
    assert np.isfinite(later.boxes_src).all()


@pytest.mark.parametrize("empty_frames", [0, 1, 5])
def test_nobody_continues_an_identity_whose_time_is_over(empty_frames: int) -> None:
    """With or without frames in between, as long as the objects were not seen."""
    for away_ms, known in [(2_900, True), (3_100, False), (3_600_000, False)]:
        tracker = Tracker(replace(SURE, lost_s=3.0, tentative_s=0.3))
        for i in range(5):
            tracker.step(found([(300, 200), (60, 60)]), i * 40 * MS, SIZE)
        for i in range(empty_frames):
            tracker.step(Detections.empty(), (160 + away_ms * i // 6) * MS, SIZE)
        back = tracker.step(found([(300, 200), (60, 60)]), (160 + away_ms) * MS, SIZE)
        assert back.track_ids.tolist() == ([1, 2] if known else [3, 4])


def test_an_unseen_object_is_forgotten_after_its_time() -> None:
    for unseen_ms, known in [(2_900, True), (3_100, False)]:
        tracker = Tracker(replace(TrackerConfig(), lost_s=3.0))
        for i in range(5):
            tracker.step(found([(300, 200)]), i * 40 * MS, SIZE)
        last = 4 * 40
        tracker.step(Detections.empty(), (last + unseen_ms) * MS, SIZE)
        ids = [
            tracker.step(found([(300, 200)]), (last + unseen_ms + i) * MS, SIZE).track_ids.tolist()
            for i in range(4)
        ]
        assert ids[-1] == ([1] if known else [2])


def test_time_that_goes_backwards_is_refused_and_changes_nothing() -> None:
    a, b = Tracker(SURE), Tracker(SURE)
    frames = [found(walkers(i * 0.04)) for i in range(10)]
    for i, seen in enumerate(frames):
        assert same(a.step(seen, i * 40 * MS, SIZE), b.step(seen, i * 40 * MS, SIZE))
        if i:
            with pytest.raises(ValueError, match="went backwards"):
                a.step(found([(5, 5), (300, 300)]), i * 40 * MS - 1, SIZE)
    a.reset()
    assert a.step(frames[0], 0, SIZE).track_ids.tolist() == [1, 2, 3]


def test_equal_and_extreme_times() -> None:
    tracker = Tracker(replace(SURE, position_noise=0.0))
    for _ in range(3):
        tracks = tracker.step(found([(300, 200)]), -(2**63), SIZE)
        assert tracks.track_ids.tolist() == [1]
        assert np.isfinite(tracks.boxes_src).all()
    tracks = tracker.step(found([(300, 200)]), 2**63 - 1, SIZE)
    assert len(tracks) == 1
    assert np.isfinite(tracks.boxes_src).all()


def test_rows_that_are_not_finite_are_as_if_absent() -> None:
    plain, dirty, random = Tracker(), Tracker(), np.random.default_rng(4)
    bad = [
        ([np.nan, 0, 9, 9], 0.9), ([0, 0, np.inf, 9], 0.9), ([9, 9, 9, 20], 0.9),
        ([20, 9, 9, 20], 0.9), ([0, 0, 2e6, 9], 0.9), ([0, 0, 9, 9], np.nan),
        ([0, 0, 9, 9], np.inf), ([0, 0, 9, 9], 0.05),
    ]  # fmt: skip
    for i in range(30):
        seen = found(np.array(walkers(i * 0.04)) + random.normal(0, 1, (3, 2)))
        boxes = np.array([*(row for row, _ in bad[:4]), *seen.boxes_src, *(r for r, _ in bad[4:])])
        scores = np.array([*(s for _, s in bad[:4]), *seen.scores, *(s for _, s in bad[4:])])
        with_bad = Detections(
            boxes.astype(np.float32), scores.astype(np.float32), np.zeros(11, np.int32)
        )
        a, b = plain.step(seen, i * 40 * MS, SIZE), dirty.step(with_bad, i * 40 * MS, SIZE)
        assert np.array_equal(a.track_ids, b.track_ids)
        assert np.array_equal(a.boxes_src, b.boxes_src)
        assert (b.det_index - 4).tolist() == a.det_index.tolist()


def test_the_order_of_detections_does_not_matter() -> None:
    tracker, random = Tracker(SURE), np.random.default_rng(3)
    tracker.step(found(walkers(0)), 0, SIZE)
    for i in range(1, 40):
        order = random.permutation(3)
        places = np.array(walkers(i * 0.04))[order]
        tracks = tracker.step(found(places), i * 40 * MS, SIZE)
        assert by_detection(tracks, 3) == (order + 1).tolist()


def test_boxes_are_clipped_to_the_picture_and_results_are_copies() -> None:
    tracker = Tracker(SURE)
    first = tracker.step(found([(5, 478), (638, 3)]), 0, SIZE)
    assert first.boxes_src.tolist() == [[0, 458, 25, 480], [618, 0, 640, 23]]
    kept = first.boxes_src.copy()
    tracker.step(found([(300, 300)]), 40 * MS, SIZE)
    assert np.array_equal(first.boxes_src, kept)


def test_arrays_may_be_views() -> None:
    seen = found(walkers(0), looks=np.eye(3, 16))
    boxes = np.asfortranarray(seen.boxes_src)
    wide = np.repeat(seen.scores, 2)[::2], np.repeat(seen.labels, 2)[::2]
    view = Detections(boxes, *wide, np.asfortranarray(seen.embeddings))
    a, b = Tracker(SURE, embedding_dim=16), Tracker(SURE, embedding_dim=16)
    assert same(a.step(seen, 0, SIZE), b.step(view, 0, SIZE))


def test_equal_input_gives_equal_output() -> None:
    runs = []
    for _ in range(2):
        random, tracker, rows = np.random.default_rng(9), Tracker(embedding_dim=4), []
        for i in range(60):
            n = int(random.integers(0, 12))
            places, looks = random.uniform(0, 480, (n, 2)), random.standard_normal((n, 4))
            seen = found(places, random.random(n), random.integers(0, 3, n).tolist(), looks)
            tracks = tracker.step(seen, i * 40 * MS, SIZE)
            rows.append([a.tobytes() for a in (tracks.track_ids, tracks.boxes_src, tracks.scores)])
        runs.append(rows)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 1e300])
def test_settings_outside_their_range_are_refused(value: float) -> None:
    for name in ("lost_s", "position_noise", "max_cost"):
        with pytest.raises(ValueError, match="finite"):
            Tracker(replace(TrackerConfig(), **{name: value}))


@pytest.mark.parametrize(("capacity", "dim"), [(0, None), (-1, None), (65537, None), (1, 65537)])
def test_sizes_outside_their_range_are_refused(capacity: int, dim: int | None) -> None:
    with pytest.raises(ValueError, match="capacity: expected 1 to 65536"):
        Tracker(capacity=capacity, embedding_dim=dim)


def test_a_picture_has_a_size() -> None:
    with pytest.raises(ValueError, match="size_hw"):
        Tracker().step(Detections.empty(), 0, (0, 640))


def test_an_object_behind_something_comes_back() -> None:
    """Hidden for a second on its way, while another stands there."""
    tracker = Tracker()
    for i in range(75):
        at = [(320, 300), (120 + 4 * i, 200)]
        tracks = tracker.step(found(at[: 1 if 25 <= i < 50 else 2]), i * 40 * MS, SIZE)
        assert i < 1 or by_detection(tracks, 2)[0] == 1
    assert by_detection(tracks, 2) == [1, 2]


def test_more_detections_than_any_tracker_has_room_for() -> None:
    random, tracker = np.random.default_rng(6), Tracker(SURE, capacity=1024)
    many = found(random.uniform(0, 4000, (10_000, 2)), random.uniform(0.7, 1, 10_000).tolist())
    for i in range(3):
        tracks = tracker.step(many, i * 40 * MS, (4000, 4000))
        assert tracks.track_ids.tolist() == list(range(1, 1025))
        assert len(set(tracks.det_index.tolist())) == 1024
    assert tracker.refused >= 3 * (10_000 * 0.2 - 1024)
    assert len(tracker.step(Detections.empty(), 120 * MS, SIZE)) <= 1024


def test_forty_on_one_spot_are_forty() -> None:
    """More candidates for each than it keeps: who is matched is matched once."""
    tracker = Tracker(SURE)
    for i in range(6):
        tracks = tracker.step(found([(300, 200)] * 40), i * 40 * MS, SIZE)
        assert len(set(tracks.track_ids.tolist())) == len(tracks) >= 40
        seen = tracks.det_index[tracks.det_index >= 0].tolist()
        assert sorted(seen) == list(range(40))
    assert len(tracks) <= 80
