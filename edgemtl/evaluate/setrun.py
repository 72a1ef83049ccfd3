"""One data set through the network: which tasks are scored, and what was collected for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgemtl.data.base import UNKNOWN, DataSet
from edgemtl.data.identities import Acquaintances
from edgemtl.engine.session import Session
from edgemtl.evaluate.attributes import AttributeTask
from edgemtl.evaluate.classmap import ClassMap
from edgemtl.evaluate.options import TASKS, EvaluateOptions
from edgemtl.evaluate.predictions import Prediction, predict
from edgemtl.evaluate.report import SetScores
from edgemtl.evaluate.retrieval import RetrievalTask
from edgemtl.evaluate.tasks import DetectionTask, SceneTask, TrackingTask
from edgemtl.evaluate.trackrun import TrackRun
from edgemtl.metrics import combine
from edgemtl.progress import track as progress

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix

_MARGIN = 0.05
"""Jitter must not lift a detection over the tracker's threshold that was not kept."""


class SetRun:
    """One data set: which tasks are scored, and what was collected for each."""

    def __init__(
        self, session: Session, mix: DataMix, data: DataSet, options: EvaluateOptions
    ) -> None:
        self.data, self._session, self._options = data, session, options
        manifest = session.manifest
        self._map = ClassMap(manifest.classes, mix.classes)
        self._scene_map = ClassMap(manifest.image_classes, mix.image_classes)
        self._min_score = manifest.min_score if options.min_score is None else options.min_score
        self.indices = _indices(data, options.limit)
        self._detects = "detect" in manifest.tasks
        labelled = np.asarray(data.labelled, np.bool_) & self._map.known
        boxes = self._detects and bool(labelled.any())
        wanted = options.tasks or TASKS
        detects = boxes and "detect" in data.tasks and "detect" in wanted
        self.detection = DetectionTask(labelled) if detects else None
        identified = boxes and bool({"track", "embed"} & set(wanted)) and self._identified()
        tracks = identified and bool(data.sequences) and "track" in wanted
        tracker = TrackRun(data, self._map, labelled, options.tracker, manifest.embedding_dim)
        self.tracker = tracker if tracks else None
        self.kept: list[Prediction] = []
        embeds = identified and "embed" in manifest.tasks and "embed" in wanted
        self.retrieval = self._retrieval() if embeds else None
        classifies = "classify" in manifest.tasks and "classify" in data.tasks
        classifies = classifies and "classify" in wanted
        self.scene = SceneTask(mix.classes, mix.image_classes) if classifies else None
        told = self._detects and "attributes" in manifest.tasks and "attributes" in data.tasks
        told = told and "attributes" in wanted
        values = {a.name: a.values for a in manifest.attributes}
        self.attributes = AttributeTask(values, mix.attributes) if told else None

    def _retrieval(self) -> RetrievalTask:
        trained, source = self._session.manifest.identities, self.data.identity_source
        known = Acquaintances(trained, source) if trained and source is not None else None
        options = self._options
        return RetrievalTask(options.frame_gap, true_boxes=options.true_boxes, acquaintances=known)

    def _identified(self) -> bool:
        return any((self.data.truth(i).identities != UNKNOWN).any() for i in self.indices)

    @property
    def tasks(self) -> bool:
        """Whether there is anything to score here."""
        every = (self.detection, self.tracking, self.retrieval, self.scene, self.attributes)
        return any(task is not None for task in every)

    def go(self) -> None:
        """Run the network over the set, once, if there is anything to score."""
        if not self.tasks:
            return
        options = self._options
        lowest = min(options.ap_min_score, options.tracker.min_score, self._min_score)
        if self.retrieval is not None and options.true_boxes:
            lowest = 0.0
        predictions = predict(self._session, self.data, self.indices, lowest)
        for prediction in progress(predictions, self.data.name, len(self.indices)):
            self._add(prediction)

    def _add(self, said: Prediction) -> None:
        truth = self.data.truth(said.index)
        sure = None
        if said.detections is not None:
            found = self._map.detections(said.detections)
            sure = found.where(found.scores >= self._min_score)
            if self.detection is not None:
                enough = found.scores >= self._options.ap_min_score
                self.detection.add(truth, found.where(enough))
            if self.retrieval is not None:
                candidates = said.detections if self._options.true_boxes else sure
                self.retrieval.add(said.index, truth, candidates)
            if self.attributes is not None:
                self.attributes.add(truth, sure)
            self._track(said)
        known = truth.scene != UNKNOWN and bool(self._scene_map.known[truth.scene])
        if self.scene is not None and said.image_probs is not None and known:
            label = self._scene_map.labels(np.array([said.image_probs.argmax()], np.int32))
            self.scene.add(said.index, truth.scene, int(label[0]), sure)

    def _track(self, said: Prediction) -> None:
        """A tracker step where the picture belongs to a sequence."""
        if self.tracker is None or said.detections is None or not self.tracker.step(said):
            return
        if self._options.keep:
            seen = said.detections.scores >= self._options.tracker.min_score - _MARGIN
            self.kept.append(replace(said, detections=said.detections.where(seen)))

    @property
    def tracking(self) -> TrackingTask | None:
        """What the tracker did; None where it is not scored."""
        return None if self.tracker is None else self.tracker.task

    def scores(self) -> SetScores:
        """The scores of this set."""
        return SetScores(
            name=self.data.name,
            images=len(self.indices) if self.tasks else 0,
            detection=self.detection.meter.result() if self.detection else None,
            classification=self.scene.scores() if self.scene else None,
            box_class=self.scene.box_class_scores() if self.scene else None,
            tracking=combine(self.tracking.meters) if self.tracking else None,
            retrieval=self.retrieval.scores() if self.retrieval else None,
            attributes=self.attributes.scores() if self.attributes else None,
        )


def _indices(data: DataSet, limit: int | None) -> Sequence[int]:
    """Pictures to look at, ascending: all, or with a limit the first or evenly spread ones."""
    if limit is None or limit >= len(data):
        return range(len(data))
    if data.sequences:
        return range(limit)
    spread = np.linspace(0, len(data) - 1, limit).round().astype(int)
    return [int(index) for index in np.unique(spread)]
