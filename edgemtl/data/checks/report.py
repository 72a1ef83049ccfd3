"""What the checks are told, and what they say: plain values, written, read again and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgemtl.errors import DataError
from edgemtl.files import write_text

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class CheckOptions:
    """``size_hw``: the network's input, ``sizes`` that of data sets by name; ``zoom``: the largest
    scale of augmentation; ``tasks`` that are trained, None: all that the data label;
    ``taught_sets`` and ``taught_classes``: what networks label beside people; ``min_boxes`` that a
    class should have; ``near_bits`` of 64 in which look-alikes may differ; ``seconds`` for
    pictures, and again for annotations; ``allow_overlap``: pictures in training and validation are
    no error."""

    size_hw: tuple[int, int]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    zoom: float = 1.0
    tasks: tuple[str, ...] | None = None
    taught_sets: tuple[str, ...] = ()
    taught_classes: tuple[str, ...] = ()
    min_boxes: int = 20
    near_bits: int = 8
    seconds: float = 60.0
    allow_overlap: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know. ``where``: a file or data set; ``hint``: what to do next, if anything;
    ``pairs``: the pictures (training, validation) that it is about, the first thousand."""

    level: Level
    where: str
    what: str
    hint: str = ""
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SetCensus:
    """The counts of one data set of one split.

    ``counted`` and ``looked_at``: pictures whose annotation, and whose pixels, went into this;
    fewer than ``pictures`` where time was up. ``without_boxes`` None: it has no boxes by its tasks.
    Sides are sqrt(w h) in network pixels of the letterboxed picture, ``sides_px`` their 5th, 25th,
    50th, 75th and 95th percentile; ``below_8px`` and ``beyond_input`` shares of the boxes, the
    latter of those that the largest augmentation makes larger than the input.
    """

    split: str
    name: str
    pictures: int
    weight: float
    tasks: tuple[str, ...]
    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    sequences: int
    counted: int = 0
    looked_at: int = 0
    boxes: Mapping[str, int] = field(default_factory=dict)
    ignored: int = 0
    without_boxes: int | None = None
    identities: int = 0
    repeated_identities: int = 0
    image_classes: Mapping[str, int] = field(default_factory=dict)
    image_class_unknown: int = 0
    sides_px: tuple[float, ...] = ()
    below_8px: float = 0.0
    beyond_input: float = 0.0


@dataclass(frozen=True)
class DataReport:
    """Counts per data set, boxes and pictures per class, and what was found. ``key`` is that of
    the data and options that were checked."""

    key: str
    size_hw: tuple[int, int]
    sets: tuple[SetCensus, ...]
    findings: tuple[Finding, ...]

    def of(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]

    def counts(self) -> str:
        """How many findings there are of each level, in words."""
        found = [(len(self.of(level)), level) for level in LEVELS]
        return ", ".join(f"{n} {level}{'' if n == 1 else 's'}" for n, level in found)

    def boxes(self, split: str) -> dict[str, int]:
        """Boxes by class over the sets of a split; classes that no set labels are not there."""
        return _sum([one.boxes for one in self.sets if one.split == split])

    def image_classes(self, split: str) -> dict[str, int]:
        """Pictures by image class over the sets of a split."""
        return _sum([one.image_classes for one in self.sets if one.split == split])

    def refuse_errors(self) -> None:
        """Raises DataError for the first error, if there is one."""
        errors = self.of("error")
        if errors:
            more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
            raise DataError(f"{errors[0].where}: {errors[0].what}{more}", errors[0].hint or None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")


def read_report(path: Path) -> DataReport | None:
    """What :meth:`DataReport.write` wrote; None if there is no such file, or it is another's."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        sets = tuple(SetCensus(**_tuples(one)) for one in raw["sets"])
        findings = tuple(
            Finding(**{**one, "pairs": tuple((a, b) for a, b in one["pairs"])})
            for one in raw["findings"]
        )
        return DataReport(str(raw["key"]), tuple(raw["size_hw"]), sets, findings)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _sum(parts: list[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total
