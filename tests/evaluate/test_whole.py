"""The evaluation of a real (tiny) network file over a rendered world, beside a plain loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_model import write_tiny

from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import open_session
from edgemtl.engine.predict import Predictor
from edgemtl.evaluate import EvaluateOptions, evaluate_model
from edgemtl.metrics import DetectionMeter


@pytest.fixture
def world():
    return SyntheticWorld(3, 2, 6, size_hw=(90, 160), fps=25.0)


@pytest.mark.parametrize("batch", [1, 4])
def test_equals_a_plain_loop(tmp_path, fakes, world, batch):
    path = write_tiny(
        tmp_path / "tiny.onnx",
        size_hw=(96, 160),
        classes=world.classes,
        image_classes=world.image_classes,
    )
    mix = fakes.mix((world,), world.classes, world.image_classes)
    session = open_session(path, threads=1, batch=batch)
    try:
        result = evaluate_model(session, mix, EvaluateOptions(ap_min_score=0.01))
    finally:
        session.close()
    session = open_session(path, threads=1)
    predictor, meter, right = Predictor(session, min_score=0.01), DetectionMeter(), []
    for index in range(len(world)):
        scene, found = predictor.predict(world.image(index))
        truth = world.truth(index)
        meter.add(
            truth.boxes_src, truth.labels, truth.ignore, found.boxes_src, found.scores, found.labels
        )
        right.append(scene.label == truth.scene)
    session.close()
    scores, plain = result.sets[0], meter.result()
    assert scores.images == len(world) == 12
    assert (scores.detection.truths, scores.detection.detections) == (
        plain.truths,
        plain.detections,
    )
    assert scores.detection.map == pytest.approx(plain.map)
    assert scores.classification.top1 == pytest.approx(np.mean(right))
    assert scores.tracking.truths == plain.truths
    json.dumps(result.to_dict(), allow_nan=False)
