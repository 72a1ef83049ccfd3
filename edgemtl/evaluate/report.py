"""What an evaluation found, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgemtl.metrics import (
    ClassificationScores,
    DetectionScores,
    RetrievalScores,
    TrackingScores,
)


@dataclass(frozen=True, slots=True)
class SetScores:
    """The scores of one data set, or of all together. None: not labelled, or not in the model.

    ``box_class`` scores, on the same pictures as ``classification``, the class of the largest box;
    ``attributes`` by name, over the objects that were found (their ``images`` are objects).
    """

    name: str
    images: int
    detection: DetectionScores | None = None
    classification: ClassificationScores | None = None
    box_class: ClassificationScores | None = None
    tracking: TrackingScores | None = None
    retrieval: RetrievalScores | None = None
    attributes: Mapping[str, ClassificationScores] | None = None


_COLUMNS = (
    ("mAP", "detection", "map"),
    ("mAP50", "detection", "map50"),
    ("top-1", "classification", "top1"),
    ("macro-F1", "classification", "macro_f1"),
    ("by box", "box_class", "top1"),
    ("HOTA", "tracking", "hota"),
    ("IDF1", "tracking", "idf1"),
    ("MOTA", "tracking", "mota"),
    ("rank-1", "retrieval", "rank1"),
    ("re-id mAP", "retrieval", "map"),
)
"""Title, task and score of a table's columns; ``by box`` is the baseline of top-1."""


def _score(scores: SetScores, task: str, name: str) -> float | None:
    found = getattr(scores, task)
    return None if found is None else float(getattr(found, name))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``sets`` in the order of the data, and ``together``: of all their pictures.

    Together, detection pools the pictures of all sets (each judged on the classes that it labels)
    and takes the mean over classes; classification pools pictures, tracking pools sequences, and
    retrieval, which only searches within a set, is the mean over all queries.
    ``left_out``: classes of the data that the model does not have; they are not scored.
    """

    model: str
    precision: str
    backend: str
    classes: tuple[str, ...]
    image_classes: tuple[str, ...]
    sets: tuple[SetScores, ...]
    together: SetScores
    left_out: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types only; undefined scores are None, absent tasks are absent."""
        result: dict[str, Any] = {
            "model": self.model,
            "precision": self.precision,
            "backend": self.backend,
            "sets": {scores.name: self._set(scores) for scores in self.sets},
            "together": self._set(self.together),
            "left_out": list(self.left_out),
        }
        return result

    def rows(self) -> list[list[object]]:
        """A table: the header, one row per data set, and ``together`` if there are several."""
        lines = [*self.sets, self.together] if len(self.sets) > 1 else list(self.sets)
        shown = [c for c in _COLUMNS if any(getattr(s, c[1]) is not None for s in lines)]
        told = list(dict.fromkeys(name for s in lines for name in s.attributes or {}))
        titles = [*(title for title, _, _ in shown), *told]
        table: list[list[object]] = [["data set", "images", *titles]]
        for s in lines:
            scores = [_score(s, task, name) for _, task, name in shown]
            right = [s.attributes[n].top1 if s.attributes and n in s.attributes else None
                     for n in told]  # fmt: skip
            table.append([s.name, s.images, *scores, *right])
        return table

    def class_rows(self) -> list[list[object]]:
        """A table of average precision per class, over all sets; empty without detection."""
        found = self.together.detection
        if found is None:
            return []
        header: list[object] = ["class", "AP", "AP50"]
        return [header] + [[self.classes[c], *both] for c, both in found.per_class.items()]

    def image_class_rows(self) -> list[list[object]]:
        """A table of the image classes over all sets; empty where they are not scored."""
        found = self.together.classification
        if found is None:
            return []
        header: list[object] = ["image class", "precision", "recall", "F1"]
        scores = np.stack([found.precision, found.recall, found.f1], 1)
        met = found.confusion.sum(0) + found.confusion.sum(1) > 0
        return [header] + [
            [name, *(float(score) if met[c] else None for score in scores[c])]
            for c, name in enumerate(self.image_classes)
        ]

    def identity_rows(self) -> list[list[object]]:
        """A table of retrieval: all queries, and those of identities seen in training or not.

        ``asked`` is the share of the true boxes that an embedding was found for.
        """
        lines = [*self.sets, self.together] if len(self.sets) > 1 else list(self.sets)
        table: list[list[object]] = [
            ["re-identification", "identities", "asked", "queries", "rank-1", "mAP"]
        ]
        for line in (line for line in lines if line.retrieval is not None):
            whole = line.retrieval
            assert whole is not None
            asked = whole.answered / whole.boxes if whole.boxes else None
            parts = (("all", whole), ("seen", whole.seen), ("unseen", whole.unseen))
            for name, part in parts:
                if part is not None:
                    share = asked if part is whole else None
                    scores = [_defined(part.rank1), _defined(part.map)]
                    table.append([line.name, name, share, part.queries, *scores])
        return table if len(table) > 1 else []

    def _set(self, scores: SetScores) -> dict[str, Any]:
        result: dict[str, Any] = {"images": scores.images}
        if scores.detection is not None:
            result["detection"] = _detection(scores.detection, self.classes)
        for key, value in (
            ("classification", scores.classification),
            ("box_class", scores.box_class),
        ):
            if value is not None:
                result[key] = _classification(value, self.image_classes)
        if scores.tracking is not None:
            found = asdict(scores.tracking)
            result["tracking"] = {name: _defined(value) for name, value in found.items()}
        if scores.retrieval is not None:
            result["retrieval"] = _retrieval(scores.retrieval)
        if scores.attributes is not None:
            result["attributes"] = {
                name: _of_attribute(found, self.attributes[name])
                for name, found in scores.attributes.items()
            }
        return result


def _detection(scores: DetectionScores, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "map": _defined(scores.map),
        "map50": _defined(scores.map50),
        "map75": _defined(scores.map75),
        "truths": scores.truths,
        "detections": scores.detections,
        "per_class": {
            classes[label]: {"ap": _defined(ap), "ap50": _defined(ap50)}
            for label, (ap, ap50) in scores.per_class.items()
        },
    }


def _classification(scores: ClassificationScores, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "top1": _defined(scores.top1),
        "macro_f1": _defined(scores.macro_f1),
        "images": scores.images,
        "per_class": {
            name: {
                "precision": float(scores.precision[c]),
                "recall": float(scores.recall[c]),
                "f1": float(scores.f1[c]),
            }
            for c, name in enumerate(classes)
        },
        "confusion": scores.confusion.tolist(),
    }


def _retrieval(scores: RetrievalScores) -> dict[str, Any]:
    """One level: ``rank1``, and ``rank1_seen`` and ``rank1_unseen`` where they are known."""
    parts = (("", scores), ("_seen", scores.seen), ("_unseen", scores.unseen))
    found: dict[str, Any] = {
        f"{name}{suffix}": _defined(getattr(part, name))
        for suffix, part in parts
        if part is not None
        for name in ("rank1", "map", "queries")
    }
    return {**found, "boxes": scores.boxes, "answered": scores.answered}


def _of_attribute(scores: ClassificationScores, values: tuple[str, ...]) -> dict[str, Any]:
    found = _classification(scores, values)
    return {"accuracy": found.pop("top1"), "objects": found.pop("images"), **found}


def _defined(value: float) -> float | None:
    return None if isinstance(value, float) and math.isnan(value) else value
