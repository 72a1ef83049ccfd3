"""The ByteTrack preset: the recorded tracks of the reference, and what its users rely on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from track_scenes import MS, SIZE
from track_scenes import found as _found

from edgemtl.errors import ConfigError
from edgemtl.records import Detections, Tracks
from edgemtl.track import ByteTrackConfig, ByteTracker, Tracker, TrackerConfig
from edgemtl.track.presets import PRESETS, make_tracker, preset


def _step(tracker: ByteTracker, found: Detections, frame: int = 99) -> Tracks:
    return tracker.step(found, frame * 40 * MS, SIZE)


def _recorded(path: Path) -> list[list[dict[str, float]]]:
    """Rows by frame."""
    content = json.loads(path.read_text(encoding="utf-8"))
    frames: list[list[dict[str, float]]] = [[] for _ in range(314)]
    for row in content["results"]:
        frames[int(row["frame_id"])].append({key: float(value) for key, value in row.items()})
    return frames


def _box(row: dict[str, float]) -> list[float]:
    return [row["x"], row["y"], row["x"] + row["width"], row["y"] + row["height"]]


def test_the_reference_run_is_met_exactly(data_root: Path) -> None:
    """6,008 boxes of 42 identities in 314 frames: the same numbers, places within 0.01 px."""
    folder = data_root / "bytetrack_reference"
    truth = _recorded(folder / "tracking_results.json")
    tracker, boxes, worst = ByteTracker(), 0, 0.0
    for frame, rows in enumerate(_recorded(folder / "detection_results.json")):
        found = Detections(
            np.array([_box(row) for row in rows], np.float32).reshape(-1, 4),
            np.array([row["prob"] for row in rows], np.float32),
            np.zeros(len(rows), np.int32),
        )
        tracks = tracker.step(found, round(frame / 30 * 1e9), (720, 1280))
        want = {int(row["track_id"]): _box(row) for row in truth[frame]}
        assert sorted(tracks.track_ids.tolist()) == sorted(want), frame
        got = tracks.boxes_src.astype(float)
        boxes += len(got)
        for identity, (x1, y1, x2, y2) in zip(tracks.track_ids.tolist(), got, strict=True):
            a1, b1, a2, b2 = want[identity]
            off = np.abs([x1 - a1, y1 - b1, (x2 - x1) - (a2 - a1), (y2 - y1) - (b2 - b1)])
            worst = max(worst, float(off.max()))
        assert np.array_equal(tracks.scores, found.scores[tracks.det_index])
    assert boxes == 6008
    assert worst < 0.01


def test_no_detections_at_all() -> None:
    tracker = ByteTracker()
    for i in range(5):
        tracks = _step(tracker, Detections.empty(), i)
        assert len(tracks) == 0
        assert tracks.boxes_src.shape == (0, 4)


def test_the_first_frame_is_believed_and_later_births_wait_for_a_second_detection() -> None:
    tracker = ByteTracker()
    assert _step(tracker, _found([(100, 100)])).track_ids.tolist() == [1]
    two = _found([(100, 100), (300, 300)])
    assert _step(tracker, two).det_index.tolist() == [0]
    tracks = _step(tracker, two)
    assert tracks.track_ids.tolist() == [1, 2]
    assert tracks.det_index.tolist() == [0, 1]
    assert _step(tracker, _found([(500, 100)])).track_ids.tolist() == []
    assert _step(tracker, Detections.empty()).track_ids.tolist() == []  # 3 was seen but once
    assert _step(tracker, _found([(500, 100)])).track_ids.tolist() == []
    assert _step(tracker, _found([(500, 100)])).track_ids.tolist() == [4]


def test_scores_decide_who_is_born_and_who_is_continued() -> None:
    born = [len(_step(ByteTracker(), _found([(9, 9)], [s]))) for s in (0.59, 0.6, 0.61)]
    assert born == [0, 1, 1]
    for score, seen in [(0.09, 0), (0.1, 1), (0.49, 1), (0.5, 1)]:
        tracker = ByteTracker()
        _step(tracker, _found([(100, 100)]))
        tracks = _step(tracker, _found([(100, 100)], [score]))
        assert len(tracks) == seen
        assert tracks.scores.tolist() == [np.float32(score)] * seen
    tracker = ByteTracker()
    _step(tracker, _found([(100, 100)]))
    _step(tracker, Detections.empty())
    assert len(_step(tracker, _found([(100, 100)], [0.4]))) == 0  # lost ones want a good detection
    assert _step(tracker, _found([(100, 100)], [0.5])).track_ids.tolist() == [1]


@pytest.mark.parametrize("buffer", [0, 1, 7])
def test_life_times_count_frames_whatever_their_time(buffer: int) -> None:
    for unseen in (buffer, buffer + 1):
        tracker = ByteTracker(ByteTrackConfig(track_buffer=buffer))
        _step(tracker, _found([(100, 100)]), 0)
        for _ in range(unseen):
            tracker.step(Detections.empty(), 0, SIZE)
        ids = [tracker.step(_found([(100, 100)]), 10**15, SIZE).track_ids.tolist() for _ in "ab"]
        assert ids == ([[1], [1]] if unseen <= buffer else [[], [2]])


def test_overlaps_decide_in_each_association() -> None:
    """Squares of 41 pixels, shifted by s: IoU is (41 - s) / (41 + s)."""
    for shift, score, cost_limit in [(27, 0.9, 0.8), (13, 0.3, 0.5)]:
        for moved in (shift, shift + 1):
            tracker = ByteTracker()
            _step(tracker, _found([(100, 100)]))
            seen = len(_step(tracker, _found([(100 + moved, 100)], [score])))
            assert seen == (1 - (41 - moved) / (41 + moved) <= cost_limit)
    for moved, ids in [(22, [1]), (23, [])]:  # one that is not confirmed: 0.7
        tracker = ByteTracker()
        _step(tracker, Detections.empty())
        _step(tracker, _found([(100, 100)]))
        assert _step(tracker, _found([(100 + moved, 100)])).track_ids.tolist() == ids
    strict = ByteTracker(ByteTrackConfig(fuse_score=True))
    _step(strict, _found([(100, 100)]))
    assert len(_step(strict, _found([(127, 100)]))) == 0


@pytest.mark.parametrize("older_is_lost", [False, True])
def test_of_a_tracked_and_a_lost_object_at_one_place_the_older_stays(older_is_lost: bool) -> None:
    """One walks, by weak detections that lost tracks do not take, to where the other was lost."""
    tracker, walker, lost = ByteTracker(), (100, 100), (208, 100)
    older, younger = (lost, walker) if older_is_lost else (walker, lost)
    for i in range(40):
        _step(tracker, _found([older, younger] if i > 36 else [older]), i)
    for i in range(40, 58):
        tracks = _step(tracker, _found([(100 + 6 * (i - 39), 100)], [0.4]), i)
        assert i > 50 or len(tracks) == 1
    assert tracks.track_ids.tolist() == ([] if older_is_lost else [1])
    tracks = _step(tracker, _found([(208, 96), (208, 104)]), 58)
    assert tracks.track_ids.tolist() == [1]


def test_of_a_tracked_and_a_lost_object_of_equal_age_the_lost_one_stays() -> None:
    for late in (0, 1):
        tracker = ByteTracker()
        for i in range(6):
            _step(tracker, _found([(100, 100), (106, 100)] if i > 2 + late else [(100, 100)]), i)
        for at, seen in [(106, [2]), (106, [2]), (100, []), (100, [])]:
            ids = _step(tracker, _found([(at, 100)], [0.4])).track_ids.tolist()
            assert ids == seen
        assert _step(tracker, _found([(100, 100)])).track_ids.tolist() == [1]


def test_a_birth_beside_a_lost_object_is_a_double_too() -> None:
    tracker = ByteTracker(ByteTrackConfig(match_thresh=0.1))
    for i in range(5):
        _step(tracker, _found([(100, 100)] if i < 4 else []), i)
    for _ in range(3):
        assert len(_step(tracker, _found([(103, 100)]))) == 0
    both = _found([(101, 100), (300, 100)])
    assert _step(tracker, both).track_ids.tolist() == [1]
    assert _step(tracker, both).track_ids.tolist() == [1, 5]  # each double had a number


def test_time_that_goes_backwards_is_refused_and_changes_nothing() -> None:
    a, b = ByteTracker(), ByteTracker()
    for i in range(8):
        found = _found([(100 + 3 * i, 100), (300, 200)])
        one, other = _step(a, found, i), _step(b, found, i)
        assert np.array_equal(one.boxes_src, other.boxes_src)
        with pytest.raises(ValueError, match="went backwards"):
            a.step(_found([(9, 9)]), i * 40 * MS - 1, SIZE)
    a.reset()
    assert a.step(_found([(9, 9)]), -(2**63), SIZE).track_ids.tolist() == [1]


def test_rows_that_are_not_finite_are_as_if_absent() -> None:
    plain, dirty = ByteTracker(), ByteTracker()
    bad = [
        ([np.nan, 0, 9, 9], 0.9), ([0, 0, np.inf, 9], 0.9), ([9, 9, 9, 20], 0.9),
        ([20, 9, 9, 20], 0.9), ([0, 0, 2e6, 9], 0.9), ([0, 0, 9, 9], np.nan),
        ([0, 0, 9, 9], np.inf), ([0, 0, 9, 9], 0.05),
    ]  # fmt: skip
    for i in range(20):
        found = _found([(100 + 3 * i, 100), (300, 200)])
        boxes = np.array([*(row for row, _ in bad), *found.boxes_src], np.float32)
        scores = np.array([*(s for _, s in bad), *found.scores], np.float32)
        with_bad = Detections(boxes, scores, np.zeros(len(boxes), np.int32))
        a, b = _step(plain, found, i), _step(dirty, with_bad, i)
        assert np.array_equal(a.track_ids, b.track_ids)
        assert np.array_equal(a.boxes_src, b.boxes_src)
        assert (b.det_index - len(bad)).tolist() == a.det_index.tolist()


def test_boxes_of_any_size_leave_finite_tracks() -> None:
    random, tracker = np.random.default_rng(5), ByteTracker()
    for i in range(300):
        corner = random.choice([-1e6, -3.0, 0.0, 1e-30, 5.0, 1e6], (30, 2))
        side = random.choice([1e-38, 1e-3, 1.0, 40.0, 1e6], (30, 2))
        boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
        found = Detections(boxes, np.full(30, 0.9, np.float32), np.zeros(30, np.int32))
        tracks = _step(tracker, found, i)
        assert np.isfinite(tracks.boxes_src).all()
        assert (tracks.boxes_src[:, 2:] > tracks.boxes_src[:, :2]).all() or len(tracks) == 0
    assert len(_step(tracker, _found([(300, 300)]), 300)) <= 1


def test_a_full_tracker_refuses_the_weakest_births() -> None:
    tracker = ByteTracker(capacity=3)
    places = [(60, 60), (160, 60), (260, 60), (360, 60), (460, 60)]
    tracks = _step(tracker, _found(places, [0.7, 0.9, 0.6, 0.9, 0.8]))
    assert tracks.det_index.tolist() == [1, 3, 4]
    assert tracker.refused == 2
    assert _step(tracker, _found(places)).det_index.tolist() == [1, 3, 4]
    assert tracker.refused == 4
    tied = ByteTracker(capacity=2)
    assert _step(tied, _found(places, [0.8] * 5)).det_index.tolist() == [0, 1]
    tied.reset()
    assert tied.refused == 0


def test_a_crowd_is_followed_and_ends() -> None:
    tracker, random = ByteTracker(), np.random.default_rng(2)
    grid = np.stack(np.meshgrid(np.arange(40) * 24, np.arange(25) * 28), -1).reshape(-1, 2)
    for i in range(4):
        moved = grid + random.normal(0, 0.5, grid.shape)
        tracks = _step(tracker, _found(moved, side=16), i)
        order = np.argsort(tracks.det_index)
        assert tracks.track_ids[order].tolist() == list(range(1, 1001))
    for i in range(31):
        assert len(_step(tracker, Detections.empty(), 4 + i)) == 0
    assert len(_step(tracker, _found(grid, side=16), 40)) == 0
    assert tracker.refused == 0


def test_the_class_is_that_of_the_detection_and_decides_nothing() -> None:
    tracker = ByteTracker()
    for label in (4, 7, 7, 2):
        tracks = _step(tracker, _found([(300, 200)], labels=[label]))
        assert tracks.track_ids.tolist() == [1]
        assert tracks.labels.tolist() == [label]


def test_arrays_may_be_views_and_results_are_copies() -> None:
    found = _found([(100, 100), (300, 200), (500, 300)])
    wide = np.repeat(found.scores, 2)[::2], np.repeat(found.labels, 2)[::2]
    tracker = ByteTracker()
    first = _step(tracker, Detections(np.asfortranarray(found.boxes_src), *wide))
    assert np.array_equal(first.boxes_src, found.boxes_src)
    _step(tracker, _found([(101, 100)]))
    assert np.array_equal(first.boxes_src, found.boxes_src)


@pytest.mark.parametrize(
    "changes",
    [
        {"min_score": -0.1}, {"track_thresh": np.nan}, {"high_thresh": 1.5},
        {"match_thresh": np.inf}, {"track_buffer": -1}, {"track_buffer": 2**31},
    ],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(ByteTrackConfig(), **changes)


@pytest.mark.parametrize("capacity", [0, -1, 65537])
def test_capacities_outside_their_range_are_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="capacity: expected 1 to 65536"):
        ByteTracker(capacity=capacity)


def test_presets_make_their_tracker() -> None:
    kinds = [type(make_tracker(preset(name), capacity=5, embedding_dim=3)) for name in PRESETS]
    assert kinds == [Tracker, ByteTracker]
    assert preset("edgemtl") == TrackerConfig()
    with pytest.raises(ConfigError, match=r"edgemtl, bytetrack.*'sort'"):
        preset("sort")
