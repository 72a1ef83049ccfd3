"""Tracking scores against TrackEval itself on random scenes, and at the edges."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from edgemtl.metrics import TrackingMeter, combine

NAMES = {
    "hota": "HOTA", "deta": "DetA", "assa": "AssA", "loca": "LocA", "mota": "MOTA",
    "motp": "MOTP", "idf1": "IDF1", "idsw": "IDSW", "frag": "Frag", "tp": "CLR_TP",
    "fp": "CLR_FP", "fn": "CLR_FN", "mt": "MT", "pt": "PT", "ml": "ML",
}  # fmt: skip


def _scene(seed, frames=60, objects=12, size=120, noise=3.0, swap=0.05, miss=0.2):
    """Crowded random walks and a tracker that misses, invents and swaps."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(0, size, (objects, 2))
    sides = rng.uniform(15, 40, (objects, 2))
    names = np.arange(objects) * 3 + 5
    scene = []
    for _ in range(frames):
        at = at + rng.normal(0, 2, at.shape)
        boxes = np.concatenate([at, at + sides], 1)
        shown = rng.random(objects) < 0.9
        if rng.random() < swap * objects:
            a, b = rng.integers(0, objects, 2)
            names[a], names[b] = names[b], names[a]
        seen = shown & (rng.random(objects) > miss)
        found = boxes[seen] + rng.normal(0, noise, (int(seen.sum()), 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        extra = rng.integers(0, 3)
        corner = rng.uniform(0, size, (extra, 2))
        found = np.concatenate([found, np.concatenate([corner, corner + 25], 1)])
        ids = np.concatenate([names[seen], 10_000 + rng.permutation(50)[:extra]])
        truth = np.flatnonzero(shown)
        if rng.random() < 0.1:
            truth = truth[:0]
        if rng.random() < 0.1:
            ids, found = ids[:0], found[:0]
        scene.append((truth + 1, boxes[truth], ids, found))
    return scene


def _meter(scene):
    meter = TrackingMeter()
    for frame in scene:
        meter.add_frame(*frame)
    return meter


def _oracle_input(scene):
    trackeval = pytest.importorskip("trackeval")
    box_ious = trackeval.datasets._base_dataset._BaseDataset._calculate_box_ious
    truth_names = np.unique(np.concatenate([f[0] for f in scene]))
    track_names = np.unique(np.concatenate([f[2] for f in scene]))
    return {
        "num_timesteps": len(scene),
        "num_gt_ids": len(truth_names),
        "num_tracker_ids": len(track_names),
        "num_gt_dets": sum(len(f[0]) for f in scene),
        "num_tracker_dets": sum(len(f[2]) for f in scene),
        "gt_ids": [np.searchsorted(truth_names, f[0]) for f in scene],
        "tracker_ids": [np.searchsorted(track_names, f[2]) for f in scene],
        "similarity_scores": [box_ious(f[1], f[3], box_format="x0y0x1y1") for f in scene],
    }


def _trackeval(scenes):
    """TrackEval's own numbers, per scene and together, by our names."""
    trackeval = pytest.importorskip("trackeval")
    inputs = {f"s{i}": _oracle_input(scene) for i, scene in enumerate(scenes)}
    merged = {name: {} for name in [*inputs, "together"]}
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = [
            trackeval.metrics.HOTA(),
            trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
            trackeval.metrics.Identity({"PRINT_CONFIG": False}),
        ]
        for metric in metrics:
            each = {name: metric.eval_sequence(data) for name, data in inputs.items()}
            for name, result in each.items():
                merged[name].update(result)
            merged["together"].update(metric.combine_sequences(each))
    return {
        name: {ours: float(np.mean(result[theirs])) for ours, theirs in NAMES.items()}
        for name, result in merged.items()
    }


def _as_dict(scores):
    return {name: getattr(scores, name) for name in NAMES}


@pytest.mark.parametrize("seed", range(5))
def test_equals_trackeval(seed):
    scenes = [
        _scene(seed),
        _scene(seed + 100, noise=0.5, miss=0.02, swap=0),
        _scene(seed + 200, frames=20, objects=40, size=60),
    ]
    oracle = _trackeval(scenes)
    meters = [_meter(scene) for scene in scenes]
    for i, meter in enumerate(meters):
        assert _as_dict(meter.result()) == pytest.approx(oracle[f"s{i}"], abs=1e-12)
    assert _as_dict(combine(meters)) == pytest.approx(oracle["together"], abs=1e-12)


NO_IDS, NO_BOXES = np.zeros(0, np.int64), np.zeros((0, 4))
ID, BOX = np.array([3]), np.array([[0.0, 0, 10, 10]])


@pytest.mark.parametrize(
    "scene",
    [
        [(NO_IDS, NO_BOXES, NO_IDS, NO_BOXES)] * 3,
        [(ID, BOX, NO_IDS, NO_BOXES)] * 3,
        [(NO_IDS, NO_BOXES, ID, BOX)] * 3,
        [(ID, BOX, ID, BOX)],
        [(ID, BOX, ID, BOX + 100)],
        [(ID, BOX, ID, BOX), (ID, BOX, NO_IDS, NO_BOXES), (ID, BOX, ID, BOX)],
        [(ID, BOX, ID, BOX), (NO_IDS, NO_BOXES, ID, BOX), (ID, BOX, ID + 1, BOX)],
    ],
    ids=["empty", "no-tracks", "no-truth", "perfect", "apart", "gap", "switch"],
)
def test_edges_equal_trackeval(scene):
    oracle = _trackeval([scene])["s0"]
    assert _as_dict(_meter(scene).result()) == pytest.approx(oracle, abs=1e-12)


def test_nothing_added():
    scores = TrackingMeter().result()
    assert (scores.hota, scores.mota, scores.idf1, scores.truths) == (0, 0, 0, 0)
    assert combine([]).hota == 0


def test_huge_ids():
    big = np.array([2**62])
    scores = _meter([(big, BOX, big + 1, BOX)] * 2).result()
    assert (scores.hota, scores.mota, scores.idf1) == (1, 1, 1)


def test_tracks_inside_an_ignore_region_do_not_count_unless_they_match():
    region = np.array([[0.0, 0, 100, 100]])
    meter = TrackingMeter()
    boxes = np.concatenate([BOX, BOX + 40, BOX + 300])
    meter.add_frame(ID, BOX, np.array([1, 2, 3]), boxes, region)
    scores = meter.result()
    assert (scores.tp, scores.fp, scores.fn) == (1, 1, 0)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ((ID, BOX, np.array([1, 1]), np.repeat(BOX, 2, 0)), "track_ids: an id occurs twice"),
        ((ID, BOX, ID, BOX * np.nan), "track_boxes: row 0 is not finite"),
        ((np.array([1, 2]), BOX, ID, BOX), r"truth_ids: expected \[1\]"),
        ((np.array([0.5]), BOX, ID, BOX), "truth_ids: expected whole numbers"),
        ((ID, np.zeros((1, 5)), ID, BOX), r"truth_boxes: expected boxes \[N, 4\]"),
    ],
)
def test_refuses(frame, message):
    with pytest.raises(ValueError, match=message):
        TrackingMeter().add_frame(*frame)
