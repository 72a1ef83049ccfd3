"""The parity ladder: do all forms of one network say the same of the same pictures?

Judged after decoding by the runtime's own C code, by matching; identities by the runtime's own
tracker. Every rung is compared with the first one, within the tolerances of its precision, so the
first that differs is the step at which a network was hurt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgemtl.engine.session import Session
from edgemtl.errors import ConfigError, EngineError, MissingExtraError, NoDeviceError
from edgemtl.evaluate.look import Seen, Shown, look
from edgemtl.evaluate.rungs import Rung
from edgemtl.manifest import Manifest
from edgemtl.metrics.agreement import Agreement, compare_outputs
from edgemtl.metrics.tolerance import Kind, Tolerance, between
from edgemtl.metrics.tracking import TrackingMeter, combine
from edgemtl.track.presets import AnyTrackerConfig


@dataclass(frozen=True, slots=True)
class Row:
    """One rung. ``differs`` says what is out of bounds; ``absent`` why it was not run.

    ``ids``: IDF1 of its tracks against the first rung's, NaN without video or detection.
    ``further``: largest difference of other tasks' outputs for a whole picture, as a part of the
    largest value.
    """

    name: str
    kind: Kind | None
    backend: str
    agreement: Agreement | None = None
    ids: float = math.nan
    further: float = math.nan
    differs: tuple[str, ...] = ()
    absent: str = ""

    def to_dict(self) -> dict[str, Any]:
        told = None if self.agreement is None else self.agreement.to_dict()
        return {
            "name": self.name, "kind": self.kind, "backend": self.backend, "agreement": told,
            "ids": _known(self.ids), "further": _known(self.further), "differs": list(self.differs),
            "absent": self.absent,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs in their order; the first one is what the others are compared with."""

    pictures: int
    rows: tuple[Row, ...]
    detects: bool

    @property
    def first_different(self) -> Row | None:
        return next((row for row in self.rows if row.differs), None)

    @property
    def compared(self) -> bool:
        """Whether there was anything to compare the first rung with."""
        return any(row.agreement is not None or row.differs for row in self.rows)

    def verdict(self) -> str:
        """One line for people."""
        row = self.first_different
        if row is not None:
            return f"the first rung that differs is {row.name}: {'; '.join(row.differs)}"
        run = sum(not row.absent for row in self.rows)
        if not self.compared:
            return "only one rung could be run, so nothing was compared: give other forms, too"
        found = [row.agreement for row in self.rows if row.agreement is not None]
        empty = bool(found) and not any(one.detections for one in found)
        note = "; nothing was detected in them, which proves little: name others"
        words = f"{run} rungs agree over {self.pictures} pictures"
        return words + note if empty and self.detects else words

    def to_dict(self) -> dict[str, Any]:
        return {
            "pictures": self.pictures,
            "first_different": self.first_different.name if self.first_different else None,
            "rungs": [row.to_dict() for row in self.rows],
        }

    def table(self) -> list[list[object]]:
        """A header, and a row for each rung."""
        lines: list[list[object]] = [
            ["rung", "kind", "partner", "box px", "score", "cosine", "class", "IDF1", "verdict"]
        ]
        for row in self.rows:
            found = row.agreement
            if found is None:
                words = {bool(row.absent): "not run", bool(row.differs): "differs"}
                lines.append([row.name, row.kind, *([None] * 6), words.get(True, "reference")])
                continue
            classes = found.same_image_class / found.images
            lines.append([
                row.name, row.kind, found.match_rate if found.detections else None,
                found.mean_box_px, _short(found.mean_score, 4), _short(found.mean_cosine, 5),
                None if math.isnan(found.max_image_prob) else classes, row.ids,
                "differs" if row.differs else "agrees",
            ])  # fmt: skip
        return lines


def climb(rungs: Iterable[Rung], shown: Sequence[Shown], tracker: AnyTrackerConfig) -> Ladder:
    """Run all rungs over the same pictures and compare each with the first.

    A rung whose package or device is absent is left out, and says so; one that cannot be run
    though they are there, such as a stale engine, differs. Raises ConfigError if a rung is another
    network, if there are no pictures, and if the first rung's outputs are not finite;
    MissingExtraError or EngineError if the first one cannot be run.
    """
    pictures = sum(one.count for one in shown)
    if not pictures:
        raise ConfigError("parity: there is no picture to look at", "name others")
    first: Seen | None = None
    rows: list[Row] = []
    contract: tuple[object, ...] = ()
    detects = False
    for rung in rungs:
        try:
            session = rung.open()
        except (MissingExtraError, EngineError) as error:
            if first is None:
                raise
            told = error.message if error.hint is None else f"{error.message} ({error.hint})"
            if isinstance(error, MissingExtraError | NoDeviceError):
                rows.append(Row(rung.name, rung.kind, "", absent=told))
            else:
                rows.append(Row(rung.name, rung.kind, "", differs=(f"it cannot be run: {told}",)))
            continue
        with closing(session):
            manifest, kind = session.manifest, rung.kind_of(session.manifest)
            asked = (
                manifest.tasks, manifest.classes, manifest.image_classes, manifest.attributes,
                manifest.further, manifest.input.size_hw, manifest.embedding_dim,
            )  # fmt: skip
            contract = contract or asked
            if asked != contract:
                raise ConfigError(
                    f"parity: {rung.name} is another network than {rows[0].name}: tasks, classes, "
                    "attributes or input size differ",
                    "give the files of one network, at one input size",
                )
            detects = "detect" in manifest.tasks
            seen = look(session, shown, tracker, rung.name)
            if first is None and not seen.finite:
                raise ConfigError(
                    f"parity: the outputs of {rung.name} are not finite",
                    "begin with a form of the network that works",
                )
            if first is None:
                first = seen
                rows.append(Row(rung.name, kind, session.backend))
                continue
            assert rows[0].kind is not None
            bounds = between(rows[0].kind, kind)
            rows.append(_compared(rung.name, kind, bounds, session, first, seen))
    return Ladder(pictures, tuple(rows), detects)


def _compared(
    name: str, kind: Kind, bounds: Tolerance, session: Session, first: Seen, seen: Seen
) -> Row:
    manifest = session.manifest
    if not seen.finite:
        return Row(name, kind, session.backend, differs=("its outputs are not finite",))
    agreement = Agreement.combine([
        compare_outputs(a, b, min_score=manifest.min_score, min_iou=bounds.min_iou)
        for a, b in zip(first.outputs, seen.outputs, strict=True)
    ])  # fmt: skip
    ids, further = _ids(first, seen), further_apart(first, seen, manifest)
    differs = bounds.exceeded(agreement, ids)
    if further > bounds.score:
        differs.append(f"other tasks differ by {further:.4g}, expected at most {bounds.score:.4g}")
    return Row(name, kind, session.backend, agreement, ids, further, tuple(differs))


def _ids(first: Seen, seen: Seen) -> float:
    """IDF1 of the tracks with the first rung's as the truth; NaN where nothing was tracked."""
    meters = []
    for truth, said in zip(first.videos, seen.videos, strict=True):
        meter = TrackingMeter()
        for a, b in zip(truth, said, strict=True):
            meter.add_frame(a.track_ids, a.boxes_src, b.track_ids, b.boxes_src)
        meters.append(meter)
    scores = combine(meters)
    return scores.idf1 if scores.truths or scores.boxes else math.nan


def further_apart(first: Seen, seen: Seen, manifest: Manifest) -> float:
    """The largest difference in other tasks' outputs for a whole picture, as a part of the largest
    value there; NaN where there are none."""
    shares = []
    for name in (o.name for t in manifest.further for o in t.outputs if o.shape[:1] != ("K",)):
        a, b = (np.stack([o.further[name] for o in s.outputs]).astype(float) for s in (first, seen))
        largest = max(float(np.abs(a).max(initial=0.0)), 1e-6)
        shares.append(float(np.abs(a - b).max(initial=0.0)) / largest)
    return max(shares, default=math.nan)


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _short(value: float, digits: int) -> str | None:
    return None if math.isnan(value) else f"{value:.{digits}f}"
