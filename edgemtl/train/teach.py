"""Distillation: networks given as ONNX files annotate what people did not.

A detector's detections become objects with its score as confidence, in classes that the data set
does not label; what it doubts becomes a region that says nothing. A re-identification network says
which of the objects look alike. Teachers see whole, undistorted pictures, once each; students then
see them under all augmentations (pseudo labels, arXiv 1312.6184 and 2005.04757 in spirit).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgemtl.data.base import UNKNOWN, DataSet, Task, Truth
from edgemtl.data.config import DataMix
from edgemtl.data.spec import SetSpec
from edgemtl.engine import open_session
from edgemtl.errors import ConfigError
from edgemtl.evaluate.classmap import ClassMap
from edgemtl.metrics.boxes import as_boxes, iou
from edgemtl.ops import decode, letterbox
from edgemtl.records import F32, I32, U8, Detections
from edgemtl.train.appearance import AppearanceTeacher
from edgemtl.train.data_config import TeacherConfig

_SAME_OBJECT_IOU = 0.7
"""A teacher's box that covers a labelled object so well is that object under another name."""


class DetectionTeacher:
    """A model file of edgemtl, adopted or trained, that gives boxes with the mix's labels."""

    def __init__(self, config: TeacherConfig, mix: DataMix) -> None:
        self.config = config
        self._session: Any = open_session(config.model, threads=1)
        manifest = self._session.manifest
        names = [config.rename.get(name, name) for name in manifest.classes]
        self._map = ClassMap(names, mix.classes)
        self.known = self._map.known
        if not self.known.any():
            raise ConfigError(
                f"teachers: '{config.model.name}' knows no class of the mix "
                f"({list(mix.classes)[:8]}); it has {list(manifest.classes)[:8]}",
                'map names with rename = { the_teachers_name = "the_mixs_name" }',
            )
        self._lock = threading.Lock()

    def look(self, image: U8) -> Detections:
        """Detections above the doubt, with the mix's labels, in source pixels."""
        with self._lock:
            slot = self._session.acquire()
            geometry = letterbox(image, self._session.input(slot)[0], self._session.manifest.input)
            outputs = self._session.collect(self._session.submit(slot, 1))
            found = decode(outputs, 0, geometry, self.config.doubt)
        return self._map.detections(found)


class TaughtSet(DataSet):
    """A data set with what teachers add to its annotations, asked for once per picture."""

    def __init__(
        self,
        data: DataSet,
        detector: DetectionTeacher | None,
        appearance: AppearanceTeacher | None,
    ) -> None:
        self._data, self._detector, self._appearance = data, detector, appearance
        self.name, self.weight, self.sequences = data.name, data.weight, data.sequences
        self.classes, self.image_classes = data.classes, data.image_classes
        self.labelled, self.tasks, self.attributes = data.labelled, data.tasks, data.attributes
        self.identity_source, self.scene_of_class = data.identity_source, data.scene_of_class
        self._kept: dict[int, Truth] = {}
        self._names_scenes = False
        if detector is not None:
            self.labelled = data.labelled | detector.known
            self._spec = SetSpec(
                data.name, data.classes, data.image_classes, scene=detector.config.scene
            )
            # a set with tasks has said what it is for
            names_scenes = detector.config.scene != "none" and not self.people.tasks
            nobody_does = bool(data.image_classes) and "classify" not in data.tasks
            self._names_scenes = names_scenes and nobody_does
            self.tasks |= frozenset[Task](("detect",))
            if self._names_scenes:
                self.scene_of_class = self._spec.scene_of_class()
                self.tasks |= frozenset[Task](("classify",))
        if appearance is not None:
            self.tasks |= frozenset[Task](("embed",))

    @property
    def people(self) -> DataSet:
        """The set as people annotated it."""
        return self._data.people if isinstance(self._data, TaughtSet) else self._data

    def __len__(self) -> int:
        return len(self._data)

    def image(self, index: int) -> U8:
        return self._data.image(index)

    def file(self, index: int) -> str:
        return self._data.file(index)

    def identities(self) -> set[int]:
        return self._data.identities()  # teachers name nobody

    def truth(self, index: int) -> Truth:
        found = self._kept.get(index)
        if found is None:
            found = self._data.truth(index)
            if self._detector is not None or self._appearance is not None:
                found = self._taught(found, self._data.image(index))
            self._kept[index] = found
        return found

    def _taught(self, truth: Truth, image: U8) -> Truth:
        if self._detector is not None:
            said = self._detector.look(image)
            truth = self._with_boxes(truth, said)
        if self._appearance is not None:
            looks = self._appearance.look(image, truth.boxes_src, self._alike(truth))
            truth = replace(truth, appearance=looks)
        return truth

    def _alike(self, truth: Truth) -> np.ndarray:
        """bool [N]: objects that the re-identification network can tell apart."""
        assert self._appearance is not None
        names = np.array([*self.classes, ""])
        chosen: np.ndarray = np.isin(names[truth.labels], self._appearance.config.classes)
        return chosen & ~truth.ignore

    def _with_boxes(self, truth: Truth, said: Detections) -> Truth:
        detector = self._detector
        assert detector is not None
        new = said.where(~self._data.labelled[said.labels])
        overlap = iou(as_boxes("boxes_src", truth.boxes_src), as_boxes("boxes_src", new.boxes_src))
        sure = new.scores >= detector.config.min_score
        sure &= overlap.max(0, initial=0.0) < _SAME_OBJECT_IOU
        count = len(new)
        own = np.ones(len(truth), np.float32) if truth.confidence is None else truth.confidence
        return Truth(
            np.concatenate([truth.boxes_src, new.boxes_src]),
            np.concatenate([truth.labels, new.labels]),
            np.concatenate([truth.identities, np.full(count, UNKNOWN, np.int64)]),
            np.concatenate([truth.ignore, ~sure]),
            self._scene(said) if self._names_scenes else truth.scene,
            np.concatenate([own, np.where(sure, new.scores, 1.0).astype(np.float32)]),
            attributes=_and_unknown(truth.attributes, count),
        )

    def _scene(self, said: Detections) -> int:
        """The image class by the rule of the set, where the boxes leave no doubt."""
        assert self._detector is not None
        if not len(said):
            return self._spec.scene_label(np.zeros(0, np.float32), said.labels)
        area: F32 = (said.boxes_src[:, 2:] - said.boxes_src[:, :2]).prod(1)
        if said.scores[int(area.argmax())] < self._detector.config.scene_score:
            return UNKNOWN
        return self._spec.scene_label(area, said.labels)


def _and_unknown(attributes: I32 | None, count: int) -> I32 | None:
    """The attributes i32 [N, M], and rows of ``count`` objects more, of which none is known."""
    if attributes is None:
        return None
    unknown = np.full((count, attributes.shape[1]), UNKNOWN, np.int32)
    return np.concatenate([attributes, unknown])


def teach(mix: DataMix, teachers: Sequence[TeacherConfig]) -> DataMix:
    """The mix with its teachers. Of several detectors each adds the classes that nobody before it
    has labelled. Raises ConfigError for a teacher, or a set, that does not fit."""
    detectors = [DetectionTeacher(t, mix) for t in teachers if t.task == "detect"]
    looks = [AppearanceTeacher(t) for t in teachers if t.task == "embed"]
    _check(teachers, mix)
    sets = []
    for data in mix.sets:
        taught = data
        for detector in detectors:
            news = bool((detector.known & ~taught.labelled).any())
            if _looks_at(detector.config, data) and news:
                taught = TaughtSet(taught, detector, None)
        asked = [look for look in looks if _may_tell_apart(look.config, taught)]
        if len(asked) > 1:
            both = " and ".join(f"'{look.config.model.name}'" for look in asked[:2])
            raise ConfigError(
                f"teachers: {both} both say how the objects of '{data.name}' look",
                "give each its own sets = [...]",
            )
        sets.append(TaughtSet(taught, None, asked[0]) if asked else taught)
    idle = [data.name for data in sets if not data.tasks]
    if idle:
        raise ConfigError(
            f"data set '{idle[0]}' is unlabelled, and no teacher looks at it",
            "add a [[teachers]] section to the training file, or take the set out",
        )
    return replace(mix, sets=tuple(sets))


def _check(teachers: Sequence[TeacherConfig], mix: DataMix) -> None:
    """Raise ConfigError for a teacher of a set or of classes that are not there."""
    names = {data.name for data in mix.sets}
    for teacher in teachers:
        for name in teacher.sets:
            if name not in names:
                raise ConfigError(
                    f"teachers: '{teacher.model.name}' is to look at '{name}', "
                    f"the training sets are {sorted(names)}"
                )
        if teacher.task == "embed" and not set(teacher.classes) & set(mix.classes):
            raise ConfigError(
                f"teachers: '{teacher.model.name}' tells {list(teacher.classes)} apart, the "
                f"classes of the mix are {list(mix.classes)[:8]}",
                "name those that it knows with classes = [...]",
            )


def _looks_at(config: TeacherConfig, data: DataSet) -> bool:
    return not config.sets or data.name in config.sets


def _may_tell_apart(config: TeacherConfig, data: DataSet) -> bool:
    """Whether a re-identification network looks at ``data``, whose boxes may be of its classes."""
    pairs = zip(data.classes, data.labelled, strict=True)
    return _looks_at(config, data) and any(name in config.classes for name, there in pairs if there)
