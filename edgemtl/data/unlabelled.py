"""Pictures that nobody annotated: they say nothing themselves, but a teacher can look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgemtl.data.base import DataSet, Truth
from edgemtl.data.images import open_images
from edgemtl.data.imageset import empty_truth
from edgemtl.data.spec import SetSpec
from edgemtl.errors import ConfigError
from edgemtl.records import U8


class UnlabelledSet(DataSet):
    """The pictures of a folder or a zip, or every ``step``-th frame of a video (at most 512)."""

    def __init__(self, spec: SetSpec, path: Path, step: int = 1) -> None:
        if spec.tasks:
            raise ConfigError(
                f"data set '{spec.name}': tasks asks for '{spec.tasks[0]}', the set is unlabelled",
                "take tasks out; a [[teachers]] section of the training file gives it labels",
            )
        self.name, self.weight = spec.name, spec.weight
        self.classes, self.image_classes = spec.classes, spec.image_classes
        self.labelled = np.zeros(len(spec.classes), np.bool_)
        self.tasks = frozenset()
        self._images, self._step = open_images(path), step

    def __len__(self) -> int:
        return len(range(0, len(self._images), self._step))

    def image(self, index: int) -> U8:
        return self._images.image(index * self._step)

    def truth(self, index: int) -> Truth:
        return empty_truth()

    def file(self, index: int) -> str:
        return self._images.file(index * self._step)
