"""One collector per task for one data set. Detections come with the data's labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import UNKNOWN, Truth
from edgemtl.data.spec import NONE_CLASS
from edgemtl.metrics import (
    ClassificationScores,
    DetectionMeter,
    TrackingMeter,
    classification_scores,
)
from edgemtl.metrics.classification import NO_ANSWER
from edgemtl.records import Detections, Tracks


class DetectionTask:
    """Average precision over the classes that are ``labelled`` bool [C] and known."""

    def __init__(self, labelled: NDArray[np.bool_]) -> None:
        self.meter = DetectionMeter()
        self._labelled = labelled

    def add(self, truth: Truth, found: Detections) -> None:
        self.meter.add(
            truth.boxes_src,
            truth.labels,
            truth.ignore,
            found.boxes_src,
            found.scores,
            found.labels,
            self._labelled,
        )


class TrackingTask:
    """One meter per class and sequence; true boxes without identity count as ignored."""

    def __init__(self, labelled: NDArray[np.bool_]) -> None:
        self.meters: list[TrackingMeter] = []
        self.starts: list[int] = []
        """The first frame of each meter's sequence."""
        self._labels = np.flatnonzero(labelled).tolist()
        self._current: list[TrackingMeter] = []

    def start_sequence(self, start: int) -> None:
        self._current = [TrackingMeter() for _ in self._labels]
        self.meters += self._current
        self.starts += [start] * len(self._current)

    def add(self, truth: Truth, tracks: Tracks, labels: NDArray[np.int32]) -> None:
        """A frame of the current sequence; ``labels`` i32 [T]: those of the data."""
        vague = truth.ignore | (truth.identities == UNKNOWN)
        for label, meter in zip(self._labels, self._current, strict=True):
            here, mine = truth.labels == label, labels == label
            meter.add_frame(
                truth.identities[here & ~vague],
                truth.boxes_src[here & ~vague],
                tracks.track_ids[mine],
                tracks.boxes_src[mine],
                truth.boxes_src[here & vague],
            )


class SceneTask:
    """The image class, and beside it what the boxes alone would say.

    The baseline is the class of the largest box among those above the threshold; a picture without
    such a box is ``none`` where the data have this class, and unanswered otherwise.
    """

    def __init__(self, classes: Sequence[str], image_classes: Sequence[str]) -> None:
        self._n = len(image_classes)
        position = {name: i for i, name in enumerate(image_classes)}
        self._of_box = np.array([position.get(name, NO_ANSWER) for name in classes], np.int32)
        self._of_nothing = position.get(NONE_CLASS, NO_ANSWER)
        self.has_baseline = bool((self._of_box != NO_ANSWER).any())
        self.pictures: list[int] = []
        self.truth: list[int] = []
        self.said: list[int] = []
        self.boxes_said: list[int] = []

    def add(self, index: int, truth: int, said: int, found: Detections | None) -> None:
        """Picture ``index``; ``found`` None where the model does not detect."""
        self.pictures.append(index)
        self.truth.append(truth)
        self.said.append(said)
        if found is None:
            self.has_baseline = False
            return
        label = self._of_nothing
        if len(found):
            sides = found.boxes_src[:, 2:] - found.boxes_src[:, :2]
            label = int(self._of_box[found.labels[int(sides.prod(1).argmax())]])
        self.boxes_said.append(label)

    def extend(self, other: SceneTask) -> None:
        """Take over the pictures of another data set of the same mix."""
        self.truth += other.truth
        self.said += other.said
        self.boxes_said += other.boxes_said
        self.has_baseline = self.has_baseline and other.has_baseline

    def scores(self) -> ClassificationScores | None:
        """What the model's image class is worth; None without annotated pictures."""
        return self._scores(self.said)

    def box_class_scores(self) -> ClassificationScores | None:
        """What the baseline is worth; None where there are no boxes to ask."""
        return self._scores(self.boxes_said) if self.has_baseline else None

    def _scores(self, said: Sequence[int]) -> ClassificationScores | None:
        if not self.truth:
            return None
        truth = np.array(self.truth, np.int32)
        return classification_scores(truth, np.array(said, np.int32), self._n)
