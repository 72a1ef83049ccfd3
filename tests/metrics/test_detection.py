"""Average precision against pycocotools on random pictures, and at the edges."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from edgemtl.metrics import DetectionMeter

CLASSES = 4


def _picture(rng, truths, detections, crowds):
    """Boxes on a quarter-pixel grid, so that xywh and xyxy give the same floats."""

    def boxes(n):
        corner = rng.integers(0, 400, (n, 2)) / 4
        return np.concatenate([corner, corner + rng.integers(20, 200, (n, 2)) / 4], 1)

    truth = boxes(truths + crowds)
    ignore = np.arange(truths + crowds) >= truths
    labels = rng.integers(0, CLASSES, truths + crowds)
    near = truth[rng.integers(0, len(truth), detections)] if len(truth) else boxes(detections)
    found = near + rng.integers(-20, 20, near.shape) / 4
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    scores = rng.integers(1, 60, detections) / 64  # ties on purpose
    return truth, labels, ignore, found, scores, rng.integers(0, CLASSES, detections)


def _pycocotools(pictures):
    coco_module = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations, results = [], []
    for image, (truth, labels, ignore, found, scores, said) in enumerate(pictures, 1):
        for box, label, crowd in zip(truth, labels, ignore, strict=True):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": int(label) + 1,
                 "bbox": [x, y, w, h], "area": w * h, "iscrowd": int(crowd)}
            )  # fmt: skip
        for box, score, label in zip(found, scores, said, strict=True):
            results.append(
                {"image_id": image, "category_id": int(label) + 1, "score": float(score),
                 "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
            )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_module.COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(1, len(pictures) + 1)],
            "categories": [{"id": c + 1} for c in range(CLASSES)],
            "annotations": annotations,
        }
        coco.createIndex()
        judge = cocoeval.COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes
    per_class = {
        c: (float(precision[:, :, c].mean()), float(precision[0, :, c].mean()))
        for c in range(CLASSES)
        if (precision[:, :, c] > -1).all()
    }
    return judge.stats[:3], per_class


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(seed):
    rng = np.random.default_rng(seed)
    pictures = [
        _picture(rng, rng.integers(0, 12), rng.integers(0, 60), rng.integers(0, 3))
        for _ in range(25)
    ]
    pictures.append(_picture(rng, 5, 700, 1))  # more than COCO's limit per class
    meter = DetectionMeter()
    for picture in pictures:
        meter.add(*picture)
    ours = meter.result()
    stats, per_class = _pycocotools(pictures)
    assert [ours.map, ours.map50, ours.map75] == pytest.approx(stats, abs=1e-12)
    assert set(ours.per_class) == set(per_class)
    for label, both in per_class.items():
        assert ours.per_class[label] == pytest.approx(both, abs=1e-12)


ONE = np.array([[0.0, 0, 10, 10]])
NONE = np.zeros((0, 4))


def _score(truth, found, scores, **more):
    meter = DetectionMeter()
    zeros = np.zeros(len(truth), int)
    meter.add(truth, zeros, more.get("ignore", zeros > 0), found, scores, np.zeros(len(found), int))
    return meter.result()


def test_one_right_detection_is_perfect():
    result = _score(ONE, ONE, np.array([0.5]))
    assert (result.map, result.map50) == pytest.approx((1, 1))
    assert result.per_class[0] == pytest.approx((1, 1))


def test_no_truth_is_undefined_and_no_detection_is_zero():
    assert np.isnan(_score(NONE, ONE, np.array([0.9])).map)
    assert np.isnan(DetectionMeter().result().map50)
    assert _score(ONE, NONE, np.zeros(0)).map == 0


def test_detections_in_an_ignore_region_do_not_count():
    truth = np.array([[0.0, 0, 10, 10], [100, 100, 200, 200]])
    found = np.array([[110.0, 110, 120, 120], [130, 130, 140, 140], [0, 0, 10, 10]])
    ignore = np.array([False, True])
    assert _score(truth, found, np.array([0.9, 0.8, 0.1]), ignore=ignore).map == pytest.approx(1)


def test_unlabelled_classes_neither_help_nor_hurt():
    meter = DetectionMeter()
    boxes = np.concatenate([ONE, ONE + 50])
    labels, scores = np.array([0, 1]), np.array([0.5, 0.9])
    meter.add(ONE, np.array([0]), np.array([False]), boxes, scores, labels, np.array([True, False]))
    result = meter.result()
    assert result.map == pytest.approx(1)
    assert result.detections == 1
    assert list(result.per_class) == [0]


def test_a_picture_with_everything_labelled_adds_false_positives():
    meter = DetectionMeter()
    none = np.zeros(0, int)
    meter.add(ONE, np.array([0]), np.array([False]), ONE, np.array([0.5]), np.array([0]))
    meter.add(NONE, none, none > 0, ONE, np.array([0.9]), np.array([0]), np.array([True]))
    assert meter.result().map50 == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_scores_and_boxes_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="scores"):
        _score(ONE, ONE, np.array([bad]))
    with pytest.raises(ValueError, match="detections_boxes: row 0"):
        _score(ONE, np.array([[0, 0, bad, 1]]), np.array([0.5]))


def test_refuses_lengths_that_differ():
    with pytest.raises(ValueError, match=r"scores: expected \[1\], got \[2\]"):
        _score(ONE, ONE, np.array([0.5, 0.6]))


def test_takes_float32_and_views_with_strides():
    wide = np.zeros((1, 8), np.float32)
    wide[0, ::2] = ONE[0]
    assert _score(wide[:, ::2], wide[:, ::2], np.array([0.5], np.float32)).map == pytest.approx(1)


def test_boxes_without_area_match_nothing():
    flat = np.array([[5.0, 5, 5, 5]])
    assert _score(ONE, flat, np.array([0.5])).map == 0
    assert _score(flat, flat, np.array([0.5])).map == 0
