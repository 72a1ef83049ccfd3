"""The tracker over the sequences of a data set, also with its detections shaken a little.

Whether an identity survives can hang on a hundredth of a score: on PETS, noise that nobody would
see moves IDF1 by one to three points. Means over several seeded noises can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import DataSet, SequenceInfo
from edgemtl.evaluate.classmap import ClassMap
from edgemtl.evaluate.predictions import Prediction
from edgemtl.evaluate.tasks import TrackingTask
from edgemtl.records import Detections
from edgemtl.track.presets import AnyTracker, AnyTrackerConfig, make_tracker


@dataclass(frozen=True, slots=True)
class Jitter:
    """Gaussian noise on boxes, in pixels of the picture, and on scores (its deviations)."""

    box_px: float = 0.5
    score: float = 0.01

    def shake(self, found: Detections, rng: np.random.Generator) -> Detections:
        """``found`` with noise; scores stay in [0, 1], boxes keep at least a pixel."""
        boxes = found.boxes_src + rng.normal(0, self.box_px, (len(found), 4))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = np.clip(found.scores + rng.normal(0, self.score, len(found)), 0, 1)
        order = np.argsort(-scores, kind="stable")
        shaken = replace(
            found, boxes_src=boxes.astype(np.float32), scores=scores.astype(np.float32)
        )
        return shaken.where(order)


class TrackRun:
    """A tracker through the sequences of one data set; each sequence has its own.

    ``labelled`` bool [C]: classes of the data that are scored.
    """

    def __init__(
        self,
        data: DataSet,
        classes: ClassMap,
        labelled: NDArray[np.bool_],
        tracker: AnyTrackerConfig,
        embedding_dim: int | None,
    ) -> None:
        self.task = TrackingTask(labelled)
        self._data, self._classes, self._labelled = data, classes, labelled
        self._config, self._dim = tracker, embedding_dim
        self._starts = {sequence.start: sequence for sequence in data.sequences}
        self._tracker: AnyTracker | None = None
        self._sequence: SequenceInfo | None = None

    def step(self, said: Prediction) -> bool:
        """One picture, in their order; whether it belongs to a sequence."""
        if said.index in self._starts:
            self._sequence = self._starts[said.index]
            self._tracker = make_tracker(self._config, embedding_dim=self._dim)
            self.task.start_sequence(said.index)
        sequence, tracker = self._sequence, self._tracker
        if said.detections is None or sequence is None or tracker is None:
            return False
        if said.index >= sequence.stop:
            return False
        pts_ns = round((said.index - sequence.start) * 1e9 / sequence.fps)
        tracks = tracker.step(said.detections, pts_ns, said.size_hw)
        labels = self._classes.labels(tracks.labels)
        self.task.add(self._data.truth(said.index), tracks, labels)
        return True

    def again(self, said: Sequence[Prediction], jitter: Jitter, seed: int) -> TrackingTask:
        """The same over pictures that were kept, with the noise of one seed."""
        run = TrackRun(self._data, self._classes, self._labelled, self._config, self._dim)
        rng = np.random.default_rng(seed)
        for prediction in said:
            assert prediction.detections is not None
            shaken = jitter.shake(prediction.detections, rng)
            run.step(replace(prediction, detections=shaken))
        return run.task
