"""Tracking scores on real sequences against recorded TrackEval results."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from edgemtl.metrics import TrackingMeter, combine

SEQUENCES = ("TUD-Campus", "TUD-Stadtmitte")
NAMES = {
    "hota": "HOTA", "deta": "DetA", "assa": "AssA", "mota": "MOTA",
    "motp": "MOTP", "idf1": "IDF1", "idsw": "IDSW", "fp": "FP", "fn": "FN", "frag": "Frag",
    "mt": "MT", "ml": "ML",
}  # fmt: skip
KITTI = {
    "hota": "HOTA___AUC", "deta": "DetA___AUC", "assa": "AssA___AUC", "loca": "LocA___AUC",
    "mota": "MOTA", "motp": "MOTP", "idf1": "IDF1", "idsw": "IDSW", "frag": "Frag",
    "tp": "CLR_TP", "fp": "CLR_FP", "fn": "CLR_FN", "mt": "MT", "pt": "PT", "ml": "ML",
}  # fmt: skip


def test_tud_tracker_output(data_root, mot_text):
    recorded = json.loads((data_root / "expected_trackeval.json").read_text())["tud_tracker_output"]
    meters = []
    for sequence in SEQUENCES:
        folder = data_root / "mot" / sequence
        truth = mot_text(folder / "gt" / "gt.txt")
        tracks = mot_text(folder / "tracker_output" / "test.txt", truth.last)
        meter = TrackingMeter()
        for a, b in zip(truth.frames, tracks.frames, strict=True):
            meter.add_frame(*a, *b)
        meters.append(meter)
        _all_of(recorded[sequence], meter.result())
    _all_of(recorded["COMBINED"], combine(meters))


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["CIWT", "YOLOX-SORT", "YOLOX-OC-SORT"])
def test_kitti_cars(data_root, tracker, tmp_path):
    """TrackEval reads and filters the files as KITTI does; the scores of what remains are ours."""
    trackeval = pytest.importorskip("trackeval")
    root = data_root / "kitti_tracking"
    sequences = sorted(p.stem for p in (root / "label_02").glob("*.txt"))
    dataset = trackeval.datasets.Kitti2DBox(_kitti_config(root, tmp_path, tracker, sequences))
    with (root / "trackers" / tracker / "car_detailed.csv").open() as file:
        recorded = {row["seq"]: row for row in csv.DictReader(file)}
    whole = json.loads((data_root / "expected_trackeval.json").read_text())["kitti_car"][tracker]
    meters = []
    for sequence in sequences:
        data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data(tracker, sequence), "car")
        meter = TrackingMeter()
        for truth_ids, truth, track_ids, tracks in zip(
            data["gt_ids"], data["gt_dets"], data["tracker_ids"], data["tracker_dets"], strict=True
        ):
            meter.add_frame(truth_ids.astype(np.int64), truth, track_ids.astype(np.int64), tracks)
        meters.append(meter)
        _same(meter.result(), recorded[sequence])
        _all_of(whole[sequence], meter.result())
    _all_of(whole["COMBINED"], combine(meters))
    assert len(meters) == len(recorded) == 13


def _all_of(row, scores):
    """Every figure that was recorded, to its last digit."""
    ours = {v: getattr(scores, k) for k, v in NAMES.items() if v in row}
    assert ours == pytest.approx(row, abs=1e-6)


def _same(scores, row):
    ours = {name: getattr(scores, name) for name in KITTI}
    assert ours == pytest.approx({k: float(row[v]) for k, v in KITTI.items()}, abs=1e-12)


def _kitti_config(root, tmp_path, tracker, sequences):
    """TrackEval's folder layout, made of links."""
    truth = tmp_path / "gt"
    truth.mkdir()
    (truth / "label_02").symlink_to(root / "label_02")
    (truth / "evaluate_tracking.seqmap.training").symlink_to(
        root / "evaluate_tracking.seqmap.training"
    )
    return {
        "GT_FOLDER": str(truth),
        "TRACKERS_FOLDER": str(root / "trackers"),
        "TRACKERS_TO_EVAL": [tracker],
        "CLASSES_TO_EVAL": ["car"],
        "SPLIT_TO_EVAL": "training",
        "TRACKER_SUB_FOLDER": "data",
        "PRINT_CONFIG": False,
    }
