"""``edgemtl build --precision best``: the fastest engine that keeps a budget, measured here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from edgemtl.engine.build import BuildOptions, BuildReport, build_engine, log_path, seen_from
from edgemtl.engine.build_layers import layers_path
from edgemtl.engine.gpu import require_gpu
from edgemtl.engine.manifest import Precision, manifest_path
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.session import Session
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.engine.timing import time_sessions
from edgemtl.errors import ConfigError, EngineError, MissingExtraError, ModelError, OutputError
from edgemtl.files import atomic_path
from edgemtl.graph.file import load_model
from edgemtl.quantize.budget import Budget, Loss, Verdict, verdict_of
from edgemtl.quantize.losses import LossOptions, Measured

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix

_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Tried:
    """One precision: its latency for one picture, and what it costs each score. ``why`` it could
    not be built, if so; the rest is empty then."""

    precision: Precision
    p50_ms: float = float("nan")
    size_bytes: int = 0
    losses: tuple[Loss, ...] = ()
    why: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """None for what was not built."""
        return None if self.why else verdict_of(self.losses)

    def to_dict(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "p50_ms": None if self.why else self.p50_ms,
            "size_bytes": self.size_bytes,
            "losses": [loss.to_dict() for loss in self.losses],
            "verdict": self.verdict,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class BestReport:
    """All that was tried, and what was built of it."""

    tried: tuple[Tried, ...]
    built: BuildReport

    def to_dict(self) -> dict[str, Any]:
        return {**self.built.to_dict(), "tried": [one.to_dict() for one in self.tried]}

    def rows(self) -> list[list[object]]:
        """A table: a heading, then a row for each precision."""
        return table_of(self.tried)

    def text(self) -> str:
        """What was built, for people."""
        return f"fastest that keeps the budget: {self.built.engine.precision}\n{self.built.text()}"


def table_of(tried: Sequence[Tried]) -> list[list[object]]:
    """Precision, latency, size, the loss of each score in points, and the verdict."""
    scores = [loss.score for loss in max((one.losses for one in tried), key=len)]
    rows: list[list[object]] = [
        ["precision", "p50 ms", "MB", *(f"{score} loss" for score in scores), "verdict"]
    ]
    for one in tried:
        if one.why:
            rows.append([one.precision, *["-"] * (len(scores) + 2), f"not built: {one.why}"])
            continue
        losses = [f"{loss.loss.value:.2f}" for loss in one.losses]
        size = f"{one.size_bytes / 1e6:.2f}"
        rows.append([one.precision, f"{one.p50_ms:.3f}", size, *losses, one.verdict])
    return rows


def build_best(
    model: Path,
    out: Path,
    options: BuildOptions,
    mix: DataMix,
    budget: Budget,
    losses: LossOptions | None = None,
) -> BestReport:
    """Build every precision that ``model`` (float32) allows, measure all of them on this machine's
    GPU, and keep the fastest of those that keep the budget on ``mix``.

    ``options.precision`` is not looked at. Losses are against ONNX Runtime of the float32 model.
    Raises EngineError without a GPU, and where no precision keeps the budget: then nothing is
    written.
    """
    model, out = Path(model), Path(out)
    if out.suffix != ".engine":
        raise OutputError(f"out: expected a name ending in .engine, got '{out.name}'")
    require_gpu("measuring the best precision", "name one: --precision fp16")
    manifest = load_model(model)[1]
    if manifest.precision != "fp32":
        raise ConfigError(
            f"model: expected the float32 one, which all precisions follow from, got '{model}'",
            "INT8 is found beside it, as 'edgemtl calibrate' leaves it",
        )
    budget.require_made(manifest.tasks)
    wanted = losses or LossOptions()
    with closing(OrtSession(model)) as session:
        exact = Measured(session, mix, wanted, "float32")
    budget.require(exact.known, exact.frame_gap)
    with tempfile.TemporaryDirectory() as folder:
        built, refused = _build_all(model, Path(folder), options)
        if not built:
            raise EngineError("best: no precision could be built", "; ".join(refused.values()))
        tried = _measure(built, exact, mix, budget, wanted)
        tried += [Tried(precision, why=why) for precision, why in refused.items()]
        kept = [one for one in tried if one.verdict == "keeps"]
        if not kept:
            raise EngineError(f"best: no precision keeps the budget: {_reasons(tried)}", _ADVICE)
        best = min(kept, key=lambda one: one.p50_ms)
        return BestReport(tuple(tried), _deliver(built[best.precision], out))


_ADVICE = (
    "calibrate again with --eval and --budget, which leaves layers in float; allow more; or "
    "evaluate on more pictures"
)


def _build_all(
    model: Path, folder: Path, options: BuildOptions
) -> tuple[dict[Precision, BuildReport], dict[Precision, str]]:
    """Precision -> its engine in ``folder``; precision -> why it cannot be built."""
    built: dict[Precision, BuildReport] = {}
    refused: dict[Precision, str] = {}
    for precision in get_args(Precision):
        try:
            engine = folder / f"{precision}.engine"
            built[precision] = build_engine(model, engine, replace(options, precision=precision))
        except MissingExtraError:
            raise  # no builder: no precision has one
        except (EngineError, ModelError) as error:
            refused[precision] = error.message
    return built, refused


def _measure(
    built: Mapping[Precision, BuildReport],
    exact: Measured,
    mix: DataMix,
    budget: Budget,
    wanted: LossOptions,
) -> list[Tried]:
    with ExitStack() as stack:
        sessions: dict[Precision, Session] = {
            precision: stack.enter_context(closing(TensorRTSession(report.out)))
            for precision, report in built.items()
        }
        taken = time_sessions(sessions, _ROUNDS)
        return [
            Tried(
                precision,
                float(np.median(taken[precision])),
                built[precision].size_bytes,
                tuple(Measured(session, mix, wanted, precision).losses(exact, budget)),
            )
            for precision, session in sessions.items()
        ]


def _reasons(tried: Sequence[Tried]) -> str:
    return "; ".join(
        f"{one.precision}: {one.why or max(one.losses, key=lambda loss: loss.share).words}"
        for one in tried
    )


def _deliver(report: BuildReport, out: Path) -> BuildReport:
    """Move an engine and what lies beside it to ``out``; the manifest says where it came from."""
    engine = report.engine.model_copy(update={"built_from": seen_from(out, report.built_from)})
    with ExitStack() as stack:
        plan, manifest = (
            stack.enter_context(atomic_path(path)) for path in (out, manifest_path(out))
        )
        shutil.copyfile(report.out, plan)
        manifest.write_text(engine.to_json(), encoding="utf-8")
        for name in (log_path, layers_path):
            if name(report.out).is_file():
                with atomic_path(name(out)) as copy:
                    shutil.copyfile(name(report.out), copy)
    return replace(report, out=out, engine=engine)
