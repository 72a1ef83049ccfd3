"""What a calibration within a budget found: Markdown for people, JSON for programs, plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgemtl.files import write_text
from edgemtl.quantize.budget import Budget, Loss
from edgemtl.quantize.budget_plot import losses_svg
from edgemtl.quantize.judge import trial_dict
from edgemtl.quantize.overlap import Shared
from edgemtl.quantize.report import CalibrationReport
from edgemtl.quantize.scales import Oddity
from edgemtl.quantize.search import Trial, nearest
from edgemtl.quantize.sensitivity import Sensitivity
from edgemtl.quantize.speed import Speed

_SHOWN = 15


@dataclass
class BudgetReport:
    """Filled while the work goes on, so that a failure can be reported, too.

    ``chosen`` None: no answer, ``problem`` says why. ``speeds``: by precision, on this host;
    ``provenance``: pictures, options and versions.
    """

    model: str
    budget: Budget
    provenance: Mapping[str, Any]
    trials: Sequence[Trial] = ()
    chosen: Trial | None = None
    problem: str = ""
    calibration: CalibrationReport | None = None
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    recommended: str = ""
    shared: Sequence[Shared] = ()
    sensitivity: Sequence[Sensitivity] = ()
    oddities: Sequence[Oddity] = ()

    @property
    def shown(self) -> Trial | None:
        """The chosen trial, or the nearest one."""
        if self.chosen is not None or not self.trials:
            return self.chosen
        return nearest(self.trials)

    @property
    def written(self) -> bool:
        """Whether there are models: a budget that is kept is not enough where INT8 is slower."""
        return self.calibration is not None and not self.problem

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types; ``out``, ``trt`` and ``ranges`` are None where nothing was written."""
        calibration = {} if self.calibration is None else self.calibration.to_dict()
        return {
            **calibration,
            **({} if self.written else dict.fromkeys(("out", "trt", "ranges"))),
            "written": self.written,
            "model": self.model,
            "budget": str(self.budget),
            "kept": self.chosen is not None,
            "problem": self.problem,
            "chosen": None if self.shown is None else trial_dict(self.shown),
            "trials": [trial_dict(trial) for trial in self.trials],
            "speed": {name: speed.to_dict() for name, speed in self.speeds.items()},
            "recommended": self.recommended,
            "overlap": [one.to_dict() for one in self.shared],
            "layers": [
                {"name": s.layer.name, "macs": s.layer.macs, "errors": dict(s.errors)}
                for s in self.sensitivity
            ],
            "oddities": [{"where": o.where, "what": o.what} for o in self.oddities],
            "provenance": dict(self.provenance),
        }

    def loss_rows(self) -> list[list[str]]:
        """Heading and one row for each dialect and score."""
        rows = [["", "fp32", "int8", "loss (95 %), points", "allowed", ""]]
        trial = self.shown
        for dialect, losses in {} if trial is None else trial.losses.items():
            rows += [[f"{dialect}: {loss.score}", *_cells(loss)] for loss in losses]
        return rows

    def speed_rows(self) -> list[list[str]]:
        """Heading and one row for each precision."""
        rows = [["", "p50 ms", "p95 ms", "MB"]]
        for name, speed in self.speeds.items():
            numbers = [
                f"{speed.p50_ms:.2f}",
                f"{speed.p95_ms:.2f}",
                f"{speed.size_bytes / 1e6:.2f}",
            ]
            rows.append([name + (" (recommended)" if name == self.recommended else ""), *numbers])
        return rows

    def markdown(self, plot: str) -> str:
        """The whole report; ``plot``: file name of the picture beside it."""
        kept = "kept" if self.chosen is not None else "**not kept**"
        lines = [f"# INT8 of {self.model}", "", f"Budget `{self.budget}`: {kept}.", ""]
        if self.problem:
            lines += [self.problem, ""]
        lines += [*_markdown(self.loss_rows()), "", f"![losses]({plot})", ""]
        if self.speeds:
            lines += ["## Speed on this host", "", *_markdown(self.speed_rows()), ""]
        if self.calibration is not None:
            lines += ["## The same objects beside each other", ""]
            lines += [*_markdown(self.calibration.rows()), ""]
        trial = self.shown
        lines += ["## Layers in float", ""]
        if trial is not None and trial.candidate.floats:
            lines += ["The budget asks for them; see the errors below.", ""]
            lines += [f"- `{name}`" for name in trial.candidate.floats]
        else:
            lines += ["None."]
        lines += ["", "## Trials", "", *_markdown(self._trial_rows()), ""]
        if self.sensitivity:
            lines += ["## Layers by error", "", *_markdown(self._layer_rows()), ""]
        if self.oddities:
            lines += ["## Scales that look wrong", ""]
            lines += [f"- `{one.where}`: {one.what}" for one in self.oddities] + [""]
        lines += ["## Provenance", ""]
        lines += [f"- {key}: {value}" for key, value in self.provenance.items()]
        lines += [
            f"- overlap with `{one.name}`, allowed: {one.same} pictures the same, {one.alike} alike"
            for one in self.shared
        ]
        return "\n".join(lines) + "\n"

    def _trial_rows(self) -> list[list[str]]:
        rows = [["", "observer", "layers in float", "verdict", "worst"]]
        for number, trial in enumerate(self.trials, 1):
            floats = str(len(trial.candidate.floats))
            row = [trial.candidate.observer, floats, trial.verdict, trial.worst.words]
            rows.append([str(number), *row])
        return rows

    def _layer_rows(self) -> list[list[str]]:
        tasks = list(dict.fromkeys(task for s in self.sensitivity for task in s.errors))
        rows = [["", "MMAC", *(f"error, {task}" for task in tasks)]]
        worst = sorted(self.sensitivity, key=lambda s: -max(s.errors.values(), default=0.0))
        for one in worst[:_SHOWN]:
            errors = [f"{one.errors.get(task, 0.0):.2g}" for task in tasks]
            rows.append([f"`{one.layer.name}`", f"{one.layer.macs / 1e6:.1f}", *errors])
        return rows

    def tables(self) -> list[list[list[str]]]:
        """What a terminal shows: heading and rows of each table."""
        agreement = [] if self.calibration is None else [self.calibration.rows()]
        return [self.loss_rows(), *agreement, self.speed_rows()]

    def notes(self) -> list[str]:
        """Lines below the tables."""
        floats = () if self.shown is None else self.shown.candidate.floats
        return [f"layers in float: {', '.join(floats) or 'none'}"]

    def files(self) -> list[list[str]]:
        """What was written, and what it is for; nothing without models."""
        if self.calibration is None or not self.written:
            return []
        stem = self.calibration.out.with_suffix("")
        report = [f"{stem}.report.md", "layers, trials, plots (also .json, .svg)"]
        return [*self.calibration.files(), report]

    def save(self, out: Path) -> tuple[Path, Path, Path]:
        """Write OUT's ``.report.md``, ``.report.json`` and ``.report.svg``."""
        stem = out.with_suffix("")
        text, data, plot = (Path(f"{stem}.report.{end}") for end in ("md", "json", "svg"))
        trial = self.shown
        write_text(plot, losses_svg(self.model, {} if trial is None else trial.losses))
        write_text(text, self.markdown(plot.name))
        write_text(data, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        return text, data, plot


def _cells(loss: Loss) -> list[str]:
    interval = f"{loss.loss.value:+.2f} ({loss.loss.low:+.2f} to {loss.loss.high:+.2f})"
    asked = "-" if loss.budget is None else f"{loss.budget:g}"
    verdict = "" if loss.budget is None else loss.verdict
    return [f"{loss.exact:.4f}", f"{loss.quantised:.4f}", interval, asked, verdict]


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = rows
    marks = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, marks, *body)]
