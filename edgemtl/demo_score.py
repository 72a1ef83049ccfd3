"""Scores of a pipeline's results over a clip whose truth is known, all tasks at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgemtl.data.base import UNKNOWN, DataSet, Truth
from edgemtl.metrics.classification import classification_scores
from edgemtl.metrics.detection import DetectionMeter
from edgemtl.metrics.tracking import TrackingMeter, combine
from edgemtl.records import FrameResult


def score(data: DataSet, results: Sequence[FrameResult]) -> dict[str, float]:
    """``map50``, ``top1``, ``hota``, ``idf1`` of ``results``, the frames of ``data`` in order.

    Tracks count for their class only: one meter per class, their counts added up.
    """
    detection = DetectionMeter()
    tracking = [TrackingMeter() for _ in data.classes]
    scenes = []
    for result in results:
        truth = data.truth(result.index)
        found = result.detections
        detection.add(
            truth.boxes_src, truth.labels, truth.ignore, found.boxes_src, found.scores, found.labels
        )
        for label, meter in enumerate(tracking):
            _add_tracks(meter, truth, result, label)
        if truth.scene != UNKNOWN and result.scene is not None:
            scenes.append((truth.scene, result.scene.label))
    tracks = combine(tracking)
    seen = np.array(scenes, np.int32).reshape(-1, 2)
    classes = classification_scores(seen[:, 0], seen[:, 1], len(data.image_classes))
    return {
        "map50": float(detection.result().map50),
        "top1": float(classes.top1),
        "hota": float(tracks.hota),
        "idf1": float(tracks.idf1),
    }


def _add_tracks(meter: TrackingMeter, truth: Truth, result: FrameResult, label: int) -> None:
    own = (truth.labels == label) & (truth.identities != UNKNOWN) & ~truth.ignore
    mine = result.tracks.labels == label
    meter.add_frame(
        truth.identities[own],
        truth.boxes_src[own],
        result.tracks.track_ids[mine],
        result.tracks.boxes_src[mine],
    )
