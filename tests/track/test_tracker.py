"""What a user of the tracker relies on: identities through gaps, crossings, noise and bad input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgemtl.records import Detections, Tracks
from edgemtl.track import Tracker, TrackerConfig

SIZE = (480, 640)
MS = 1_000_000
SURE = replace(TrackerConfig(), confirm_score=0.0)
"""Every track is known from its first detection."""


def _found(
    centres: Sequence[Sequence[float]],
    scores: Sequence[float] | None = None,
    labels: Sequence[int] | None = None,
    looks: np.ndarray | None = None,
    side: float = 40,
) -> Detections:
    """Square objects at these centres, in this order."""
    at = np.asarray(centres, np.float32).reshape(-1, 2)
    n = len(at)
    return Detections(
        np.concatenate([at - side / 2, at + side / 2], 1),
        np.full(n, 0.9, np.float32) if scores is None else np.asarray(scores, np.float32),
        np.zeros(n, np.int32) if labels is None else np.asarray(labels, np.int32),
        None if looks is None else np.asarray(looks, np.float32),
    )


def _by_detection(tracks: Tracks, n: int) -> list[int]:
    """The identity behind each detection, 0 where there is none."""
    ids = dict(zip(tracks.det_index.tolist(), tracks.track_ids.tolist(), strict=True))
    return [ids.get(i, 0) for i in range(n)]


def _same(a: Tracks, b: Tracks) -> bool:
    names = ("track_ids", "boxes_src", "scores", "labels", "det_index")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def test_no_detections_at_all() -> None:
    tracker = Tracker()
    for i in range(5):
        tracks = tracker.step(Detections.empty(), i * 40 * MS, SIZE)
        assert len(tracks) == 0
        assert tracks.boxes_src.shape == (0, 4)
        assert tracks.track_ids.dtype == np.int64


def test_one_object_is_known_after_three_good_detections() -> None:
    tracker = Tracker()
    for i in range(60):
        tracks = tracker.step(_found([(100 + 3 * i, 200 + i)]), i * 40 * MS, SIZE)
        if i < 2:
            assert len(tracks) == 0
            continue
        assert tracks.track_ids.tolist() == [1]
        assert tracks.det_index.tolist() == [0]
        want = [80 + 3 * i, 180 + i, 120 + 3 * i, 220 + i]
        assert tracks.boxes_src[0] == pytest.approx(want, abs=4)


def test_each_instance_counts_from_one_and_a_reset_starts_again() -> None:
    a, b = Tracker(SURE), Tracker(SURE)
    three, one = _found([(50, 50), (200, 50), (400, 50)]), _found([(300, 300)])
    assert a.step(three, 0, SIZE).track_ids.tolist() == [1, 2, 3]
    assert b.step(one, 0, SIZE).track_ids.tolist() == [1]
    far = _found([(50, 50), (200, 50), (400, 50), (600, 400)])
    assert a.step(far, 40 * MS, SIZE).track_ids.tolist() == [1, 2, 3, 4]
    a.reset()
    assert _same(a.step(one, 0, SIZE), Tracker(SURE).step(one, 0, SIZE))


def test_ids_are_never_used_twice() -> None:
    """Objects appear and vanish all over the picture; within a frame and over time ids differ."""
    tracker, random, last = Tracker(SURE), np.random.default_rng(1), 0
    for i in range(200):
        n = int(random.integers(0, 6))
        tracks = tracker.step(_found(random.uniform(50, 400, (n, 2))), i * 500 * MS, SIZE)
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
        tracks = tracker.step(_found([centres[k] for k in order]), i * 40 * MS, SIZE)
        ids = _by_detection(tracks, 2)
        met = met or abs(centres[0][0] - centres[1][0]) < 10
        if i == 3:
            first = [ids[k] for k in order]
        if i > 3:
            assert [ids[k] for k in order] == first == [2, 1]
    assert met


LOOKS = np.eye(2, 16)


@pytest.mark.parametrize("with_looks", [False, True])
def test_looks_tell_apart_what_positions_cannot(with_looks: bool) -> None:
    """Two meet and are hidden for a moment; then both stand where either may have come to."""
    tracker = Tracker(embedding_dim=16 if with_looks else None)
    looks = LOOKS if with_looks else None
    for i in range(30):
        meeting = [(150 + 5 * i, 200), (450 - 5 * i, 200)]
        tracks = tracker.step(_found(meeting, looks=looks), i * 40 * MS, SIZE)
    before = _by_detection(tracks, 2)
    for i in range(30, 36):
        tracker.step(Detections.empty(16 if with_looks else None), i * 40 * MS, SIZE)
    tracks = tracker.step(_found([(294, 200), (306, 200)], looks=looks), 36 * 40 * MS, SIZE)
    after = _by_detection(tracks, 2)
    assert sorted(after) == sorted(before)
    assert (after == before) == with_looks


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, -np.inf, 0.0, 3e38])
def test_an_unknown_look_neither_helps_nor_harms(spoiled: float) -> None:
    """Such a look neither moves an identity nor makes the track forget the look it had."""
    tracker = Tracker(replace(SURE, appearance_weight=0.9), embedding_dim=16)
    two = [(200, 200), (215, 200)]
    tracker.step(_found(two, looks=LOOKS), 0, SIZE)
    bad = np.full((2, 16), spoiled)
    bad[0] = LOOKS[0]
    assert _by_detection(tracker.step(_found(two, looks=bad), 40 * MS, SIZE), 2) == [1, 2]
    swapped = _found(two, looks=LOOKS[::-1].copy())
    assert _by_detection(tracker.step(swapped, 80 * MS, SIZE), 2) == [2, 1]


def test_a_first_look_that_is_infinite_is_learnt_later() -> None:
    tracker = Tracker(replace(SURE, appearance_weight=0.9), embedding_dim=16)
    two = [(200, 200), (215, 200)]
    tracker.step(_found(two, looks=np.full((2, 16), np.inf)), 0, SIZE)
    tracker.step(_found(two, looks=LOOKS), 40 * MS, SIZE)
    swapped = _found(two, looks=LOOKS[::-1].copy())
    assert _by_detection(tracker.step(swapped, 80 * MS, SIZE), 2) == [2, 1]


def test_looks_of_another_width_are_refused_and_unasked_ones_ignored() -> None:
    with pytest.raises(ValueError, match="embeddings: expected width 8, got 16"):
        Tracker(embedding_dim=8).step(_found([(1, 1), (9, 9)], looks=LOOKS), 0, SIZE)
    plain, given = Tracker(SURE), Tracker(SURE)
    a = plain.step(_found([(50, 50), (90, 90)]), 0, SIZE)
    assert _same(a, given.step(_found([(50, 50), (90, 90)], looks=LOOKS), 0, SIZE))
    assert len(Tracker(SURE, embedding_dim=16).step(_found([(50, 50)]), 0, SIZE)) == 1


def _walkers(seconds: float) -> list[tuple[float, float]]:
    return [(60 + 60 * seconds, 100), (560 - 60 * seconds, 220), (300, 300 + 20 * seconds)]


@pytest.mark.parametrize("seed", range(3))
def test_dropped_frames_and_uneven_rates_keep_identities(seed: int) -> None:
    random, tracker, now, ids = np.random.default_rng(seed), Tracker(), 0, None
    for i in range(120):
        now += int(random.choice([10, 33, 40, 100, 400])) * MS if i > 8 else 33 * MS
        if now > 8_000 * MS:
            break
        noise = random.normal(0, 1.0, (3, 2))
        tracks = tracker.step(_found(np.array(_walkers(now * 1e-9)) + noise), now, SIZE)
        if i >= 3:
            ids = ids or _by_detection(tracks, 3)
            assert _by_detection(tracks, 3) == ids == [1, 2, 3]


@pytest.mark.parametrize("rate", [4, 10, 25, 60, 240])
def test_any_frame_rate_gives_the_same_identities_and_places(rate: int) -> None:
    tracker = Tracker()
    for i in range(6 * rate + 1):
        tracks = tracker.step(_found(_walkers(i / rate)), round(i / rate * 1e9), SIZE)
    assert _by_detection(tracks, 3) == [1, 2, 3]
    assert tracks.boxes_src == pytest.approx(_found(_walkers(6.0)).boxes_src, abs=1.5)


def test_a_gap_in_the_stream_is_bridged_or_ends_the_tracks() -> None:
    tracker = Tracker()
    for i in range(10):
        tracks = tracker.step(_found(_walkers(i * 0.04)), i * 40 * MS, SIZE)
    assert _by_detection(tracks, 3) == [1, 2, 3]
    short = tracker.step(_found(_walkers(1.4)), 1_400 * MS, SIZE)
    assert _by_detection(short, 3) == [1, 2, 3]
    outage_ms = 1_400 + 5_000
    for i in range(4):
        later = tracker.step(
            _found(_walkers((outage_ms + i * 40) / 1000)), (outage_ms + i * 40) * MS, SIZE
        )
        assert tracker.refused == 0
    assert later.track_ids.tolist() == [4, 5, 6]
    assert np.isfinite(later.boxes_src).all()


@pytest.mark.parametrize("empty_frames", [0, 1, 5])
def test_nobody_continues_an_identity_whose_time_is_over(empty_frames: int) -> None:
    """With or without frames in between, as long as the objects were not seen."""
    for away_ms, known in [(2_900, True), (3_100, False), (3_600_000, False)]:
        tracker = Tracker(SURE)
        for i in range(5):
            tracker.step(_found([(300, 200), (60, 60)]), i * 40 * MS, SIZE)
        for i in range(empty_frames):
            tracker.step(Detections.empty(), (160 + away_ms * i // 6) * MS, SIZE)
        back = tracker.step(_found([(300, 200), (60, 60)]), (160 + away_ms) * MS, SIZE)
        assert back.track_ids.tolist() == ([1, 2] if known else [3, 4])


def test_an_unseen_object_is_forgotten_after_its_time() -> None:
    for unseen_ms, known in [(2_900, True), (3_100, False)]:
        tracker = Tracker()
        for i in range(5):
            tracker.step(_found([(300, 200)]), i * 40 * MS, SIZE)
        last = 4 * 40
        tracker.step(Detections.empty(), (last + unseen_ms) * MS, SIZE)
        ids = [
            tracker.step(_found([(300, 200)]), (last + unseen_ms + i) * MS, SIZE).track_ids.tolist()
            for i in range(4)
        ]
        assert ids[-1] == ([1] if known else [2])


def test_coasting_tracks_are_shown_for_their_time_only() -> None:
    tracker = Tracker(replace(TrackerConfig(), coast_s=0.2))
    for i in range(12):
        tracker.step(_found([(100 + 4 * i, 200)]), i * 40 * MS, SIZE)
    for i in range(12, 20):
        tracks = tracker.step(Detections.empty(), i * 40 * MS, SIZE)
        assert len(tracks) == (1 if i <= 16 else 0)
        if len(tracks):
            assert tracks.det_index.tolist() == [-1]
            assert tracks.boxes_src[0, 0] > 80 + 4 * 11


def test_time_that_goes_backwards_is_refused_and_changes_nothing() -> None:
    a, b = Tracker(SURE), Tracker(SURE)
    frames = [_found(_walkers(i * 0.04)) for i in range(10)]
    for i, found in enumerate(frames):
        assert _same(a.step(found, i * 40 * MS, SIZE), b.step(found, i * 40 * MS, SIZE))
        if i:
            with pytest.raises(ValueError, match="went backwards"):
                a.step(_found([(5, 5), (300, 300)]), i * 40 * MS - 1, SIZE)
    a.reset()
    assert a.step(frames[0], 0, SIZE).track_ids.tolist() == [1, 2, 3]


def test_equal_and_extreme_times() -> None:
    tracker = Tracker(replace(SURE, position_noise=0.0))
    for _ in range(3):
        tracks = tracker.step(_found([(300, 200)]), -(2**63), SIZE)
        assert tracks.track_ids.tolist() == [1]
        assert np.isfinite(tracks.boxes_src).all()
    tracks = tracker.step(_found([(300, 200)]), 2**63 - 1, SIZE)
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
        found = _found(np.array(_walkers(i * 0.04)) + random.normal(0, 1, (3, 2)))
        boxes = np.array([*(row for row, _ in bad[:4]), *found.boxes_src, *(r for r, _ in bad[4:])])
        scores = np.array([*(s for _, s in bad[:4]), *found.scores, *(s for _, s in bad[4:])])
        with_bad = Detections(
            boxes.astype(np.float32), scores.astype(np.float32), np.zeros(11, np.int32)
        )
        a, b = plain.step(found, i * 40 * MS, SIZE), dirty.step(with_bad, i * 40 * MS, SIZE)
        assert np.array_equal(a.track_ids, b.track_ids)
        assert np.array_equal(a.boxes_src, b.boxes_src)
        assert (b.det_index - 4).tolist() == a.det_index.tolist()


def test_a_full_tracker_refuses_the_weakest_births() -> None:
    tracker = Tracker(SURE, capacity=3)
    places = [(60, 60), (160, 60), (260, 60), (360, 60), (460, 60)]
    tracks = tracker.step(_found(places, [0.7, 0.9, 0.6, 0.9, 0.8]), 0, SIZE)
    assert _by_detection(tracks, 5) == [0, 1, 0, 2, 3]
    assert tracker.refused == 2
    tracks = tracker.step(_found(places, [0.9] * 5), 40 * MS, SIZE)
    assert _by_detection(tracks, 5) == [0, 1, 0, 2, 3]
    assert tracker.refused == 4
    tied = Tracker(SURE, capacity=2)
    assert _by_detection(tied.step(_found(places, [0.8] * 5), 0, SIZE), 5) == [1, 2, 0, 0, 0]
    tied.reset()
    assert tied.refused == 0


def test_a_crowd_is_followed_and_ends() -> None:
    tracker, random = Tracker(SURE, capacity=500), np.random.default_rng(2)
    grid = np.stack(np.meshgrid(np.arange(25) * 24 + 20, np.arange(16) * 28 + 20), -1).reshape(
        -1, 2
    )
    for i in range(4):
        moved = grid + random.normal(0, 0.5, grid.shape)
        tracks = tracker.step(_found(moved, side=16), i * 40 * MS, SIZE)
        assert _by_detection(tracks, 400) == list(range(1, 401))
    assert len(tracker.step(Detections.empty(), 10_000 * MS, SIZE)) == 0
    assert tracker.step(_found([(9, 9)]), 10_040 * MS, SIZE).track_ids.tolist() == [401]


def test_the_order_of_detections_does_not_matter() -> None:
    tracker, random = Tracker(SURE), np.random.default_rng(3)
    tracker.step(_found(_walkers(0)), 0, SIZE)
    for i in range(1, 40):
        order = random.permutation(3)
        places = np.array(_walkers(i * 0.04))[order]
        tracks = tracker.step(_found(places), i * 40 * MS, SIZE)
        assert _by_detection(tracks, 3) == (order + 1).tolist()


def test_the_class_is_the_one_with_most_score_behind_it() -> None:
    tracker = Tracker(SURE)
    labels = [4, 4, 7, 4, 7, 4, 7, 7, 7, 7, 7, 7]
    got = [
        tracker.step(_found([(300, 200)], labels=[k]), i * 40 * MS, SIZE).labels.tolist()
        for i, k in enumerate(labels)
    ]
    assert got[:8] == [[4]] * 8
    assert got[-1] == [7]


def test_boxes_are_clipped_to_the_picture_and_results_are_copies() -> None:
    tracker = Tracker(SURE)
    first = tracker.step(_found([(5, 478), (638, 3)]), 0, SIZE)
    assert first.boxes_src.tolist() == [[0, 458, 25, 480], [618, 0, 640, 23]]
    kept = first.boxes_src.copy()
    tracker.step(_found([(300, 300)]), 40 * MS, SIZE)
    assert np.array_equal(first.boxes_src, kept)


def test_arrays_may_be_views() -> None:
    found = _found(_walkers(0), looks=np.eye(3, 16))
    boxes = np.asfortranarray(found.boxes_src)
    wide = np.repeat(found.scores, 2)[::2], np.repeat(found.labels, 2)[::2]
    view = Detections(boxes, *wide, np.asfortranarray(found.embeddings))
    a, b = Tracker(SURE, embedding_dim=16), Tracker(SURE, embedding_dim=16)
    assert _same(a.step(found, 0, SIZE), b.step(view, 0, SIZE))


def test_equal_input_gives_equal_output() -> None:
    runs = []
    for _ in range(2):
        random, tracker, rows = np.random.default_rng(9), Tracker(embedding_dim=4), []
        for i in range(60):
            n = int(random.integers(0, 12))
            places, looks = random.uniform(0, 480, (n, 2)), random.standard_normal((n, 4))
            found = _found(places, random.random(n), random.integers(0, 3, n).tolist(), looks)
            tracks = tracker.step(found, i * 40 * MS, SIZE)
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
