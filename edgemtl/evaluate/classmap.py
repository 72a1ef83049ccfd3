"""Labels of the model as labels of the data, by name: the two lists need not be in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgemtl.records import I32, Detections

ABSENT = -1


class ClassMap:
    """``known`` bool [classes of the data]: those that the model has, too."""

    def __init__(self, model: Sequence[str], data: Sequence[str]) -> None:
        position = {name: i for i, name in enumerate(data)}
        self._labels = np.array([position.get(name, ABSENT) for name in model], np.int32)
        self.known: NDArray[np.bool_] = np.isin(np.arange(len(data)), self._labels)
        self.left_out = tuple(name for name in data if name not in set(model))

    def labels(self, labels: I32) -> I32:
        """Labels of the data; ABSENT for a class that only the model has."""
        mapped: I32 = self._labels[labels]
        return mapped

    def detections(self, found: Detections) -> Detections:
        """``found`` with the data's labels, without the classes that only the model has."""
        labels = self.labels(found.labels)
        mapped = replace(found, labels=labels)
        return mapped.where(labels != ABSENT)
