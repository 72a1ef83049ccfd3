"""Scores of a pipeline's results over a clip whose truth is known, all tasks at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgemtl.data.base import UNKNOWN, DataSet
from edgemtl.evaluate.tasks import DetectionTask, SceneTask, TrackingTask
from edgemtl.metrics import combine
from edgemtl.records import FrameResult


def score(data: DataSet, results: Sequence[FrameResult]) -> dict[str, float]:
    """``map50``, ``top1``, ``hota``, ``idf1`` of ``results``, frames of one sequence of ``data``.

    The model has the classes of ``data`` in their order; tracks count for their class only.
    """
    detection, tracking = DetectionTask(data.labelled), TrackingTask(data.labelled)
    scene = SceneTask(data.classes, data.image_classes)
    tracking.start_sequence(data.sequences[0].start)
    for result in results:
        truth = data.truth(result.index)
        detection.add(truth, result.detections)
        tracking.add(truth, result.tracks, result.tracks.labels)
        if result.scene is not None and truth.scene != UNKNOWN:
            scene.add(result.index, truth.scene, result.scene.label, None)
    tracks, classes = combine(tracking.meters), scene.scores()
    return {
        "map50": detection.meter.result().map50,
        "top1": classes.top1 if classes is not None else math.nan,
        "hota": tracks.hota,
        "idf1": tracks.idf1,
    }
