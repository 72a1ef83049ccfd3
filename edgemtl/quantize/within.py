"""``edgemtl calibrate --eval --budget``: INT8 that loses no more of each task than was allowed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemtl.errors import CalibrationError
from edgemtl.graph.dialect import TRT, host_dialect
from edgemtl.graph.foreign import dims_of
from edgemtl.graph.ranges import RangeTable
from edgemtl.progress import track
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.budget_report import BudgetReport
from edgemtl.quantize.calibrate import (
    CalibrateOptions,
    OutputFiles,
    open_float,
    report_of,
    table_of,
    write_all,
)
from edgemtl.quantize.collect import collect
from edgemtl.quantize.histogram import HistogramObserver, make_rule
from edgemtl.quantize.images import ImageBatches, ImageSource, split_images
from edgemtl.quantize.judge import Journal, Judge
from edgemtl.quantize.losses import LossOptions
from edgemtl.quantize.order import check_order
from edgemtl.quantize.overlap import find_shared, require_apart, require_names
from edgemtl.quantize.report import TypedModel
from edgemtl.quantize.scales import Oddity, find_oddities
from edgemtl.quantize.search import Search, SearchOptions, Trial
from edgemtl.quantize.sensitivity import Sensitivity, measure_sensitivity
from edgemtl.quantize.speed import time_models

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix

_OTHERS = ("mse", "percentile", "minmax", "entropy")
_PICTURES_FOR_ORDER = 48
_PICTURES_EACH = 16
"""For the error of a layer; all of its activations at the exits are in memory at once."""


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """``allow_overlap``: evaluation sets that may share pictures with the calibration;
    ``allow_slower``: write INT8 even if float32 is faster on this host.
    """

    budget: Budget
    losses: LossOptions = field(default_factory=LossOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    allow_slower: bool = False
    allow_overlap: tuple[str, ...] = ()


def calibrate_within(
    model: Path,
    images: ImageSource,
    mix: DataMix,
    out: Path,
    options: CalibrateOptions,
    wanted: BudgetOptions,
) -> BudgetReport:
    """Calibrate on ``images`` so that every task of the budget keeps it on ``mix``.

    Writes what :func:`edgemtl.quantize.calibrate.calibrate` writes, and a report beside it; of a
    search that found nothing the report alone. A search that was stopped goes on where it was.
    Raises CalibrationError for a budget that cannot be kept or cannot be told, for an evaluation
    that shares pictures with the calibration, and where float32 is faster.
    """
    files = OutputFiles.beside(Path(out))
    source = open_float(Path(model), files)
    wanted.budget.require_made(source[1].tasks)
    options = replace(options, batch=dims_of(source[0].graph.input[0])[0] or options.batch)
    threads = options.threads or None
    require_names(wanted.allow_overlap, [data.name for data in mix.sets])
    with ExitStack() as stack:
        places = files.opened(stack)
        job = _Job(source, images, options, wanted)
        shared, evaluation = find_shared(images, job.split.calibrate, mix)
        require_apart(shared, wanted.allow_overlap, options.recipe)
        facts = job.observe() | {"evaluation_sha256": evaluation}
        report = BudgetReport(source[1].name, wanted.budget, facts, shared=shared)
        report.oddities = job.oddities()
        journal = Journal(Path(f"{files.host.with_suffix('')}.search.json"), facts)
        judge = Judge(source, job.table, mix, wanted.budget, wanted.losses, journal, threads)
        try:
            report.chosen = job.search(judge, report)
            table = judge.table(report.chosen.candidate)
            drops = write_all(source, table, places, job.judges, options.threads)
            report.calibration = report_of(
                Path(model), source[1], table, job.split, files, places, drops
            )
            _speed(report, Path(model), places, threads, wanted.allow_slower)
        except CalibrationError as error:
            report.problem = error.message
            text, _, _ = report.save(files.host)
            raise CalibrationError(error.message, f"{error.hint}; see {text}") from error
        report.save(files.host)
        journal.close()
    return report


class _Job:
    """One calibration: a float model, its pictures, and what was seen of them."""

    def __init__(
        self,
        source: TypedModel,
        images: ImageSource,
        options: CalibrateOptions,
        wanted: BudgetOptions,
    ) -> None:
        self._source, self._images, self._options = source, images, options
        self._wanted, self._threads = wanted, options.threads
        self.split = split_images(len(images), options.limit, options.held_out)
        self._batches = self._pictures(self.split.calibrate)
        self._tables: dict[str, RangeTable] = {}

    def observe(self) -> dict[str, Any]:
        """Count all activations, from which every observer's ranges follow.

        Returns what a loss depends on, and what a reader wants to know of it.
        """
        rule = make_rule(self._options.observer, self._options.percent)
        shown = track(self._batches, "calibrating", len(self._batches))
        self.seen = collect(self._source[0], shown, lambda: HistogramObserver(rule), self._threads)
        table, losses = self.table(self._options.observer), self._wanted.losses
        return {
            "model_sha256": table.model_sha256,
            "images": table.images,
            "content_sha256": table.content_sha256,
            "observer": self._options.observer,
            "percent": self._options.percent,
            "budget": str(self._wanted.budget),
            "bootstrap": losses.repeats,
            "jitters": losses.jitters,
            "seed": losses.seed,
            "letterbox": table.letterbox,
            "recipe": table.recipe,
            **table.versions,
            "machine": platform.machine(),
        }

    def table(self, kind: str) -> RangeTable:
        """The ranges that an observer would have chosen."""
        if kind not in self._tables:
            rule = make_rule(kind, self._options.percent)
            ranges = self.seen.ranges_by(rule)
            self._tables[kind] = table_of(
                self._source,
                self._batches,
                rule.name,
                ranges,
                self.seen.means,
                self._options.recipe,
            )
        return self._tables[kind]

    def oddities(self) -> tuple[Oddity, ...]:
        """What looks wrong about the pictures, the activations and the weights."""
        some = self._pictures(self._spread(_PICTURES_FOR_ORDER))
        alike = f"{self._batches.copies} are copies of others, which show nothing new"
        return (
            *([Oddity("pictures", alike)] if self._batches.copies else []),
            *check_order(*self._source, some, self._threads),
            *find_oddities(self._source[0], self.seen),
        )

    def search(self, judge: Judge, report: BudgetReport) -> Trial:
        """The trial to use; ``report`` gets all of them, however it ends."""
        observers = dict.fromkeys((self._options.observer, *_OTHERS))
        search = Search(judge, self._rank, tuple(observers), self._wanted.search)
        report.trials = search.trials
        try:
            return search.go()
        finally:
            report.sensitivity = search.sensitivity

    def _rank(self, observer: str) -> tuple[Sensitivity, ...]:
        few = self._pictures(self._spread(_PICTURES_EACH))
        return measure_sensitivity(
            self._source[0], self.table(observer), (host_dialect(), TRT), few, self._threads
        )

    def _spread(self, count: int) -> tuple[int, ...]:
        """At most so many of the pictures that calibrate, evenly spread."""
        every = self.split.calibrate
        places = np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)
        return tuple(every[place] for place in np.unique(places))

    @property
    def judges(self) -> ImageBatches:
        """Pictures that set no range, if there are enough."""
        return self._pictures(self.split.held_out or self.split.calibrate)

    def _pictures(self, indices: Sequence[int]) -> ImageBatches:
        return ImageBatches(self._images, indices, self._source[1].input, self._options.batch)


def _speed(
    report: BudgetReport,
    model: Path,
    places: OutputFiles,
    threads: int | None,
    allow_slower: bool,
) -> None:
    """Time both precisions. Raises CalibrationError if INT8 is not the faster one."""
    report.speeds = time_models({"fp32": model, "int8": places.host}, threads)
    exact, quantised = (report.speeds[name].p50_ms for name in ("fp32", "int8"))
    report.recommended = "int8" if quantised < exact else "fp32"
    if report.recommended == "fp32" and not allow_slower:
        raise CalibrationError(
            f"speed: INT8 keeps the budget but is slower on this host: {quantised:.2f} ms, "
            f"float32 {exact:.2f} ms",
            "run the float32 model here; for another device: --allow-slower",
        )
