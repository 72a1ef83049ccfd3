"""A candidate of the search as it would be deployed, measured on the evaluation data."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemtl.engine.ort import OrtSession
from edgemtl.files import write_text
from edgemtl.graph.dialect import TRT, Dialect, host_dialect
from edgemtl.graph.file import save_model
from edgemtl.graph.layers import with_sums
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import RangeTable
from edgemtl.quantize.budget import Budget, Loss
from edgemtl.quantize.losses import LossOptions, Measured
from edgemtl.quantize.report import TypedModel
from edgemtl.quantize.search import Candidate, Trial

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix

HOST, FOR_TRT = "int8", "int8 trt"


def dialects() -> dict[str, Dialect]:
    """Those that are judged, by name; this host emulates TensorRT's."""
    return {HOST: host_dialect(), FOR_TRT: TRT}


class Judge:
    """Losses of candidates against the float model; see :class:`edgemtl.quantize.search.Search`.

    ``tables``: observer -> its range table. ``journal``: every trial is kept there and not measured
    again, as long as it is of the same model, pictures and options.
    """

    def __init__(
        self,
        model: TypedModel,
        tables: Callable[[str], RangeTable],
        mix: DataMix,
        budget: Budget,
        options: LossOptions,
        journal: Journal,
        threads: int | None = None,
    ) -> None:
        self._graph, self._manifest = model
        self._tables, self._mix, self._budget = tables, mix, budget
        self._options, self._journal, self._threads = options, journal, threads
        self._exact: Measured | None = None

    def table(self, candidate: Candidate) -> RangeTable:
        """The ranges of a candidate, with what it leaves in float."""
        floats = with_sums(self._graph, candidate.floats)
        return self._tables(candidate.observer).model_copy(update={"float_layers": floats})

    def __call__(self, candidate: Candidate) -> Trial:
        """Both dialects, or the first one alone if it breaks the budget already."""
        known = self._journal.get(candidate)
        if known is not None:
            return known
        exact = self._reference()
        table, losses = self.table(candidate), dict[str, tuple[Loss, ...]]()
        for name, dialect in dialects().items():
            quantised = quantise_model(self._graph, self._manifest, table, dialect)
            what = f"{name}, {candidate.observer}, {len(candidate.floats)} layers in float"
            measured = self._measure(quantised, what)
            losses[name] = tuple(measured.losses(exact, self._budget))
            if any(loss.verdict == "breaks" for loss in losses[name]):
                break
        trial = Trial(candidate, losses)
        self._journal.add(trial)
        return trial

    def _reference(self) -> Measured:
        if self._exact is None:
            self._exact = self._measure((self._graph, self._manifest), "float32")
            self._budget.require(self._exact.known, self._exact.frame_gap)
        return self._exact

    def _measure(self, model: TypedModel, what: str) -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "candidate.onnx"
            save_model(*model, path)
            with closing(OrtSession(path, threads=self._threads)) as session:
                return Measured(session, self._mix, self._options, what)


class Journal:
    """Trials on disk, so that a search goes on where it stopped.

    ``about`` names everything that a trial depends on; a file about something else is begun anew.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        text = json.dumps(dict(about), sort_keys=True, default=str)
        self._path, self._about = path, hashlib.sha256(text.encode()).hexdigest()
        self._trials: dict[Candidate, Trial] = {}
        for trial in _read(path, self._about):
            self._trials[trial.candidate] = trial

    def __len__(self) -> int:
        return len(self._trials)

    def get(self, candidate: Candidate) -> Trial | None:
        return self._trials.get(candidate)

    def add(self, trial: Trial) -> None:
        self._trials[trial.candidate] = trial
        rows = [trial_dict(known) for known in self._trials.values()]
        write_text(self._path, json.dumps({"about": self._about, "trials": rows}, indent=1) + "\n")

    def close(self) -> None:
        """Take the file away: the search is over."""
        self._path.unlink(missing_ok=True)


def trial_dict(trial: Trial) -> dict[str, Any]:
    """A trial in JSON's own types."""
    return {
        "observer": trial.candidate.observer,
        "float_layers": list(trial.candidate.floats),
        "verdict": trial.verdict,
        "losses": {name: [one.to_dict() for one in each] for name, each in trial.losses.items()},
    }


def _read(path: Path, about: str) -> list[Trial]:
    """The trials of a journal; none of one that is broken or about something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["about"] != about:
            return []
        return [
            Trial(
                Candidate(row["observer"], tuple(row["float_layers"])),
                {k: tuple(map(Loss.from_dict, each)) for k, each in row["losses"].items()},
            )
            for row in found["trials"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
