"""Frames that nobody should send: a tracker goes on as if the frame had been empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgemtl.records import Detections, Tracks
from edgemtl.track.presets import AnyTracker, make_tracker, preset

SIZE = (480, 640)
MS = 1_000_000
DIM = 4
NAN, INF = np.nan, np.inf
both = pytest.mark.parametrize("name", ["edgemtl", "bytetrack"])

IGNORED: dict[str, tuple[list[float], float]] = {
    "NaN everywhere": ([NAN] * 4, 0.9),
    "NaN left": ([NAN, 50, 90, 90], 0.9),
    "NaN right": ([50, 50, NAN, 90], 0.9),
    "infinite right": ([50, 50, INF, 90], 0.9),
    "infinite left": ([-INF, 50, 90, 90], 0.9),
    "the whole plane": ([-INF, -INF, INF, INF], 0.9),
    "no width": ([90, 50, 90, 90], 0.9),
    "no height": ([50, 90, 90, 90], 0.9),
    "a point": ([0, 0, 0, 0], 0.9),
    "negative width": ([90, 50, 50, 90], 0.9),
    "negative height": ([50, 90, 90, 50], 0.9),
    "negative both": ([90, 90, 50, 50], 0.9),
    "1e9 pixels wide": ([0, 0, 1e9, 90], 0.9),
    "1e9 pixels away": ([1e9, 1e9, 1e9 + 128, 1e9 + 128], 0.9),
    "just beyond 1e6 pixels": ([0, 0, 90, 1_000_001], 0.9),
    "as far as float32 goes": ([-3.4e38, -3.4e38, 3.4e38, 3.4e38], 0.9),
    "thinner than float32 holds": ([1e-45, 1e-45, 1e-45, 90], 0.9),
    "NaN score": ([50, 50, 90, 90], NAN),
    "infinite score": ([50, 50, 90, 90], INF),
    "score of minus infinity": ([50, 50, 90, 90], -INF),
    "negative score": ([50, 50, 90, 90], -1.0),
    "no score": ([50, 50, 90, 90], 0.0),
}


def _rows(boxes: Any, scores: Any) -> Detections:
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    looks = np.eye(DIM, dtype=np.float32)[np.arange(n) % DIM]
    return Detections(boxes, np.asarray(scores, np.float32), np.zeros(n, np.int32), looks)


def _walkers(i: int) -> Detections:
    """Three objects, and none where the garbage lies: [50, 90] in both directions."""
    x = np.array([200 + 4.0 * i, 500 - 3.0 * i, 300])
    y = np.array([200, 350, 100 + 3.0 * i])
    return _rows(np.stack([x, y, x + 40, y + 60], 1), np.full(3, 0.9))


def _tracker(name: str) -> AnyTracker:
    return make_tracker(preset(name), capacity=64, embedding_dim=DIM)


def _bytes(tracks: Tracks) -> list[bytes]:
    arrays: list[NDArray[Any]] = [tracks.track_ids, tracks.boxes_src, tracks.scores]
    return [a.tobytes() for a in (*arrays, tracks.labels, tracks.det_index)]


def _follow(name: str, garbage: Detections, every: int) -> list[list[bytes]]:
    """What is said of clean frames, each ``every``-th followed by this one."""
    tracker, said = _tracker(name), []
    for i in range(30):
        said.append(_bytes(tracker.step(_walkers(i), i * 40 * MS, SIZE)))
        if i % every == every - 1:
            tracker.step(garbage, (i * 40 + 20) * MS, SIZE)
    assert tracker.refused == 0
    return said


@both
@pytest.mark.parametrize("rows", [1, 7, 10_000])
@pytest.mark.parametrize("kind", IGNORED)
def test_garbage_is_an_empty_frame(name: str, kind: str, rows: int) -> None:
    box, score = IGNORED[kind]
    garbage = _rows([box] * rows, [score] * rows)
    for every in (1, 5):
        empty = _follow(name, Detections.empty(DIM), every)
        assert _follow(name, garbage, every) == empty


@both
def test_all_kinds_at_once_and_between_good_rows(name: str) -> None:
    bad = _rows([b for b, _ in IGNORED.values()], [s for _, s in IGNORED.values()])
    assert _follow(name, bad, 2) == _follow(name, Detections.empty(DIM), 2)
    clean, mixed = _tracker(name), _tracker(name)
    for i in range(30):
        good, n = _walkers(i), len(bad)
        joined = _rows(
            np.concatenate([bad.boxes_src, good.boxes_src]),
            np.concatenate([bad.scores, good.scores]),
        )
        looks = np.concatenate([joined.embeddings[:n], good.embeddings])
        joined = Detections(joined.boxes_src, joined.scores, joined.labels, looks)
        a = clean.step(good, i * 40 * MS, SIZE)
        b = mixed.step(joined, i * 40 * MS, SIZE)
        assert _bytes(a)[:4] == _bytes(b)[:4]
        seen = a.det_index >= 0
        assert np.array_equal(b.det_index[seen], a.det_index[seen] + n)


@both
@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0, 3e38])
def test_odd_looks_lose_no_identity(name: str, value: float) -> None:
    tracker = _tracker(name)
    for i in range(30):
        found = _walkers(i)
        if i % 3 == 2:
            odd = np.full((3, DIM), value, np.float32)
            found = Detections(found.boxes_src, found.scores, found.labels, odd)
        tracks = tracker.step(found, i * 40 * MS, SIZE)
        if i >= 5:
            assert tracks.det_index.tolist() == [0, 1, 2]
            assert tracks.track_ids.tolist() == [1, 2, 3]
            assert np.isfinite(tracks.boxes_src).all()


@both
def test_ten_thousand_good_detections_and_back(name: str) -> None:
    """The objects that were followed keep their identities; there is no room for the others."""
    tracker, random = _tracker(name), np.random.default_rng(1)
    for i in range(10):
        before = tracker.step(_walkers(i), i * 40 * MS, SIZE)
    corner = random.uniform(0, 400, (10_000, 2))
    others = np.concatenate([corner, corner + random.uniform(1, 30, (10_000, 2))], 1)
    crowd = _rows(np.concatenate([_walkers(10).boxes_src, others]), np.full(10_003, 0.8))
    for i in range(10, 13):
        tracks = tracker.step(crowd, i * 40 * MS, SIZE)
        assert len(tracks) <= 64
        assert len(set(tracks.track_ids.tolist())) == len(tracks)
        assert set(before.track_ids.tolist()) <= set(tracks.track_ids.tolist())
    assert tracker.refused >= 10_003 - 64
    for i in range(13, 16):
        after = tracker.step(_walkers(i), i * 40 * MS, SIZE)
    assert set(after.track_ids.tolist()) >= set(before.track_ids.tolist())


@both
def test_a_clock_that_stands_still(name: str) -> None:
    tracker = _tracker(name)
    for i in range(40):
        tracks = tracker.step(_walkers(min(i, 9)), min(i, 9) * 40 * MS, SIZE)
        assert np.isfinite(tracks.boxes_src).all()
    assert tracks.track_ids.tolist() == [1, 2, 3]
    assert tracks.boxes_src == pytest.approx(_walkers(9).boxes_src, abs=3)


@both
@pytest.mark.parametrize("back_ns", [1, 40 * MS, 2**62])
def test_a_clock_that_goes_back(name: str, back_ns: int) -> None:
    """The frame is refused, and it is as if it had never been sent."""
    clean, tracker = _tracker(name), _tracker(name)
    for i in range(20):
        want = _bytes(clean.step(_walkers(i), i * 40 * MS, SIZE))
        assert _bytes(tracker.step(_walkers(i), i * 40 * MS, SIZE)) == want
        with pytest.raises(ValueError, match="went backwards"):
            tracker.step(_walkers(i + 9), i * 40 * MS - back_ns, SIZE)


@both
def test_no_detections_for_a_long_time(name: str) -> None:
    tracker = _tracker(name)
    for i in range(2000):
        assert len(tracker.step(Detections.empty(DIM), i * 40 * MS, SIZE)) == 0
    for i in range(2000, 2010):
        tracks = tracker.step(_walkers(i - 2000), i * 40 * MS, SIZE)
    assert tracks.track_ids.tolist() == [1, 2, 3]
