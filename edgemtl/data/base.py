"""What every data set looks like from outside, whatever its files look like.

A data set maps its own names to the class list of the mix, says which tasks **and which classes**
it labels, and hands out pictures and truth by index. What it does not label says nothing: no loss
in training, no error in evaluation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgemtl.records import F32, I32, I64, U8

Task = Literal["detect", "classify", "embed", "attributes"]
UNKNOWN = -1
"""A scene label, an identity or an attribute that nobody annotated."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The annotation of one picture.

    boxes_src f32 [N, 4] xyxy in source pixels, labels i32 [N] into the mix's classes,
    identities i64 [N], unique within the data set (UNKNOWN where not annotated),
    ignore bool [N]: regions (crowds, DontCare) that are neither right nor wrong,
    scene: label into the mix's image classes, or UNKNOWN.
    confidence f32 [N]: how sure the annotation is of a box, 1 for people's and less for a
    network's (None: 1 for all); appearance f32 [N, D]: what a re-identification network says of
    it, of unit length, NaN where it was not asked (None: nowhere); attributes i32 [N, M]: for each
    of the mix's M attributes the value's place in its list, or UNKNOWN (None: all unknown).
    """

    boxes_src: F32
    labels: I32
    identities: I64
    ignore: NDArray[np.bool_]
    scene: int = UNKNOWN
    confidence: F32 | None = None
    appearance: F32 | None = None
    attributes: I32 | None = None

    def __len__(self) -> int:
        return len(self.boxes_src)


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """Pictures ``start`` to ``stop`` (exclusive) of a data set are one video at ``fps``."""

    name: str
    start: int
    stop: int
    fps: float


class DataSet(ABC):
    """Pictures with (some) annotations. Reading is lazy; ``image(i)`` may be called by threads.

    Attributes: ``name``; ``classes``, ``image_classes`` and ``attributes`` (values by name) of the
    whole mix; ``labelled`` bool [C], the classes that are annotated exhaustively here; ``tasks``
    that have annotations; ``sequences``, empty for unordered pictures; ``identity_source``, what
    the identities are numbers of: equal in two sets if they share them; ``weight``, how often
    training draws from it; ``scene_of_class`` i32 [C]: where the largest box decides on the image
    class, that of each class (UNKNOWN: none), else None.
    """

    name: str
    classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    labelled: NDArray[np.bool_]
    tasks: frozenset[Task]
    identity_source: str | None = None
    sequences: tuple[SequenceInfo, ...] = ()
    weight: float = 1.0
    scene_of_class: I32 | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int) -> U8:
        """The picture, u8 [H, W, 3] BGR. Raises DataError, naming the file, if it is broken."""

    @abstractmethod
    def truth(self, index: int) -> Truth:
        """The annotation, without decoding the picture."""

    def identities(self) -> set[int]:
        """Every identity that is annotated here, other than by ignore regions alone."""
        found: set[int] = set()
        for index in range(len(self)):
            truth = self.truth(index)
            found.update(truth.identities[~truth.ignore].tolist())
        return found - {UNKNOWN}

    @abstractmethod
    def file(self, index: int) -> str:
        """What to call the picture in reports: a path, or ``video.avi#17``."""
