"""What a configuration says about one data set, and how its names become labels of the mix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.base import UNKNOWN, Task
from edgemtl.errors import ConfigError
from edgemtl.records import I32

SceneRule = Literal["none", "largest_box"]
NONE_CLASS = "none"
"""The image class of a picture without any box, under the rule ``largest_box``."""


def _position(name: str, names: tuple[str, ...]) -> int | None:
    """Index of ``name``, exact spelling first, then without regard to case."""
    if name in names:
        return names.index(name)
    folded = [n.casefold() for n in names]
    return folded.index(name.casefold()) if name.casefold() in folded else None


@dataclass(frozen=True)
class SetSpec:
    """One data set inside a mix.

    ``labels`` are the mix's classes that this set annotates exhaustively (None: every class of
    the mix that its annotation file knows). ``rename`` maps the set's own names to the mix's.
    ``tasks`` None means every task that the format annotates.
    """

    name: str
    classes: tuple[str, ...]
    image_classes: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    scene: SceneRule = "none"
    tasks: tuple[Task, ...] | None = None
    weight: float = 1.0
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigError if ``rename`` leads to a name that the mix does not have."""
        for old, new in self.rename.items():
            if _position(new, self.classes) is None and _position(new, self.image_classes) is None:
                raise ConfigError(
                    f"data set '{self.name}': rename maps '{old}' to '{new}', which is no class "
                    f"of the mix ({[*self.classes, *self.image_classes]})",
                    'rename = { the_files_name = "the_mixs_name" }; a class that the mix does '
                    "not have needs no entry",
                )

    def _renamed(self, name: str) -> str:
        folded = {old.casefold(): new for old, new in self.rename.items()}
        return folded.get(name.casefold(), name)

    def label(self, name: str) -> int | None:
        """Label of the set's class ``name`` in the mix, or None if the mix lacks it."""
        return _position(self._renamed(name), self.classes)

    def image_label(self, name: str) -> int | None:
        """Label of the set's image class ``name`` in the mix, or None if the mix lacks it."""
        return _position(self._renamed(name), self.image_classes)

    def value(self, attribute: str, value: str) -> int | None:
        """Place of ``value`` among those of the mix's ``attribute``, or None if it is not there."""
        return _position(value, self.attributes[attribute])

    def labelled(self, known: Iterable[str] | None) -> NDArray[np.bool_]:
        """Which classes of the mix are annotated exhaustively, bool [C].

        ``known`` are the names that the annotation file declares, None where it declares none.
        Raises ConfigError if ``labels`` names a class that the mix or the file does not have.
        """
        own = None if known is None else {self.label(name) for name in known}
        mask = np.zeros(len(self.classes), np.bool_)
        if self.labels is None:
            wanted = range(len(self.classes)) if own is None else [i for i in own if i is not None]
            mask[list(wanted)] = True
            return mask
        for name in self.labels:
            index = _position(name, self.classes)
            if index is None:
                raise ConfigError(
                    f"data set '{self.name}': labels names '{name}', the mix has "
                    f"{list(self.classes)}",
                    "labels are names of the mix's classes; 'rename' maps the file's own names",
                )
            if own is not None and index not in own:
                raise ConfigError(
                    f"data set '{self.name}': labels names '{name}', which its annotation file "
                    f"does not know (it has {sorted(known or ())[:12]})",
                    f'map the file\'s name with rename = {{ other_name = "{name}" }}, '
                    "or take the class out of labels",
                )
            mask[index] = True
        return mask

    def tasks_of(self, available: Iterable[Task]) -> frozenset[Task]:
        """The tasks to use. Raises ConfigError if one is asked for that the set does not label."""
        have = frozenset(available)
        if self.tasks is None:
            return have
        missing = sorted(set(self.tasks) - have)
        if missing:
            raise ConfigError(
                f"data set '{self.name}': tasks asks for '{missing[0]}', its annotations give "
                f"{sorted(have)}",
                'classification of detection data needs scene = "largest_box"'
                if missing[0] == "classify"
                else "take the task out of tasks",
            )
        return frozenset(self.tasks)

    def scene_of_class(self) -> I32 | None:
        """The image class i32 [C] that the largest box's class names; None under another rule."""
        if self.scene == "none":
            return None
        return np.array([self._image_class(name) for name in self.classes], np.int32)

    def scene_label(self, areas: NDArray[np.float32], labels: I32) -> int:
        """Image class by the rule ``scene``: areas f32 [N] and labels i32 [N] of the real boxes."""
        if self.scene == "none":
            return UNKNOWN
        name = NONE_CLASS if len(labels) == 0 else self.classes[int(labels[int(areas.argmax())])]
        return self._image_class(name)

    def _image_class(self, name: str) -> int:
        index = _position(name, self.image_classes)
        return UNKNOWN if index is None else index
