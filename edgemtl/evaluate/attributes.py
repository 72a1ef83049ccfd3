"""The objects' attributes: is what the model says of a detection true of the object behind it?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from edgemtl.data.base import UNKNOWN, Truth
from edgemtl.evaluate.classmap import ClassMap
from edgemtl.evaluate.retrieval import SAME_OBJECT_IOU
from edgemtl.metrics import ClassificationScores, classification_scores
from edgemtl.metrics.boxes import as_boxes, iou
from edgemtl.metrics.matching import match
from edgemtl.records import Detections

Values = Mapping[str, tuple[str, ...]]


class AttributeTask:
    """Each true box takes the overlapping detection of its class, as in retrieval; a box without
    one is not counted, detection has its own score. Attributes and values are matched by name.
    """

    def __init__(self, model: Values, data: Values) -> None:
        self._values = dict(data)
        self._maps = {n: ClassMap(model[n], values) for n, values in data.items() if n in model}
        self.truth: dict[str, list[int]] = defaultdict(list)
        self.said: dict[str, list[int]] = defaultdict(list)

    def add(self, truth: Truth, found: Detections) -> None:
        """One picture."""
        if truth.attributes is None:
            return
        own = np.flatnonzero((truth.attributes != UNKNOWN).any(1) & ~truth.ignore)
        overlap = iou(
            as_boxes("boxes_src", truth.boxes_src[own]), as_boxes("boxes_src", found.boxes_src)
        )
        same = truth.labels[own][:, None] == found.labels[None]
        rows, columns = match(np.where(same & (overlap >= SAME_OBJECT_IOU), overlap, 0.0))
        for place, name in enumerate(self._values):
            if name not in self._maps:
                continue
            values = truth.attributes[own[rows], place]
            known = (values != UNKNOWN) & self._maps[name].known[values]
            said = found.attributes[name][columns[known]].argmax(1).astype(np.int32)
            self.truth[name] += values[known].tolist()
            self.said[name] += self._maps[name].labels(said).tolist()

    def extend(self, other: AttributeTask) -> None:
        """Take over the objects of another data set of the same mix."""
        for name in other.truth:
            self.truth[name] += other.truth[name]
            self.said[name] += other.said[name]

    def scores(self) -> dict[str, ClassificationScores] | None:
        """By attribute; ``images`` counts objects. None without any."""
        found = {
            name: classification_scores(
                np.array(truth, np.int32),
                np.array(self.said[name], np.int32),
                len(self._values[name]),
            )
            for name, truth in self.truth.items()
            if truth
        }
        return found or None
