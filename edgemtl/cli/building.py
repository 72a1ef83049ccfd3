"""The command that makes engines: build."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.options import AsJson, DataRoot, Model
from edgemtl.console import finish, table
from edgemtl.errors import ConfigError

if TYPE_CHECKING:
    from edgemtl.best import BestReport
    from edgemtl.engine.bindings import Flavour as Library
    from edgemtl.engine.build import BuildOptions, BuildReport
    from edgemtl.engine.build_check import CheckReport
    from edgemtl.engine.manifest import Precision as Named


class Precision(str, Enum):
    """Precisions of an engine; ``best`` is decided by measuring on the device."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    BEST = "best"


class Flavour(str, Enum):
    """Which TensorRT; ``auto`` takes the one that this machine can use."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    RTX = "rtx"


_FLAVOURS: dict[Flavour, Library | None] = {
    Flavour.AUTO: None, Flavour.TENSORRT: "tensorrt", Flavour.RTX: "tensorrt_rtx",
}  # fmt: skip


def build(
    model: Model,
    precision: Annotated[
        Precision,
        typer.Option(help="Must be in the graph; best: the fastest that keeps the budget."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="m.engine", help="The engine to write.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing: would it build? Needs no GPU (extra 'rtx')."),
    ] = False,
    batch: Annotated[
        str | None,
        typer.Option(metavar="MIN:OPT:MAX", help="Pictures in one run, or N.  [default: 1:1:4]"),
    ] = None,
    workspace_mb: Annotated[int, typer.Option(min=16, help="Cap of TensorRT's workspace.")] = 1024,
    timing_cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Kernel timings.  [default: in the user's cache]"),
    ] = None,
    flavour: Annotated[Flavour, typer.Option(help="Which TensorRT builds.")] = Flavour.AUTO,
    profile: Annotated[
        bool, typer.Option("--profile", help="Report all layers: a table and m.engine.layers.json.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR|VIDEO|ZIP", help="fp16: prove that nothing overflows on these."),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option("--eval", metavar="DATA.toml", help="best: judge on [[val]].")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TASK=POINTS,...", help="best: the most each task may lose."),
    ] = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Build a TensorRT engine with its manifest. Needs the extra 'tensorrt' or 'rtx'.

    \b
    Example:
      edgemtl build street --precision fp16 --images frames/ --out street.engine
      edgemtl build street --precision int8 --check
      edgemtl build street --precision best --eval data.toml --budget det=1,track=1 --out s.engine
    """
    from edgemtl.engine.build_options import BuildOptions
    from edgemtl.models import resolve_model

    file, best = resolve_model(model), precision is Precision.BEST
    _only_with("best", best, eval=evaluation, budget=budget)
    _only_with("fp16", precision is Precision.FP16, images=images)
    if images is not None:
        _require_no_overflow(file, images)
    if check:
        if precision is Precision.BEST:
            raise ConfigError("check: 'best' is measured on the device", "--precision int8 --check")
        _check(file, precision.value, as_json)
        return
    if out is None:
        raise ConfigError("out: expected the engine to write", "--out m.engine, or --check")
    options = BuildOptions(
        precision="fp32" if precision is Precision.BEST else precision.value,
        workspace_mb=workspace_mb,
        batch=parse_batch(batch),
        flavour=_FLAVOURS[flavour],
        timing_cache=timing_cache,
        profile=profile,
    )
    if not best:
        _build(file, out, options, as_json)
        return
    if evaluation is None or budget is None:
        raise ConfigError(
            "precision: best is the fastest that keeps a budget, and needs one",
            "--eval DATA.toml --budget det=1.0,track=0.5, or name a precision",
        )
    _best(file, out, options, evaluation, budget, data_root, as_json)


def _only_with(what: str, given: bool, **options: object) -> None:
    for name, value in options.items():
        if value is not None and not given:
            raise ConfigError(f"--{name}: belongs to --precision {what}", f"leave --{name} out")


def _require_no_overflow(model: Path, images: Path) -> None:
    from edgemtl.console import say
    from edgemtl.data.images import open_images
    from edgemtl.quantize.overflow import require_fits

    say(require_fits(model, open_images(images)).text())


def _check(model: Path, precision: Named, as_json: bool) -> None:
    from edgemtl.engine.build_check import check_build

    report = check_build(model, precision)
    _tell(report, as_json)
    if report.errors:
        raise typer.Exit(1)


def _build(model: Path, out: Path, options: BuildOptions, as_json: bool) -> None:
    from edgemtl.engine.build import build_engine

    _tell(build_engine(model, out, options), as_json)


def _best(
    model: Path,
    out: Path,
    options: BuildOptions,
    evaluation: Path,
    budget: str,
    data_root: Path | None,
    as_json: bool,
) -> None:
    from edgemtl.best import build_best
    from edgemtl.data.config import load_data
    from edgemtl.quantize.budget import Budget

    mix = load_data(evaluation, "val", data_root)
    _tell(build_best(model, out, options, mix, Budget.parse(budget)), as_json)


def _tell(report: BuildReport | CheckReport | BestReport, as_json: bool) -> None:
    """Its table, if there is more than the heading, and its words."""
    heading, *rows = report.rows()
    shown = [table(rows, heading), ""] if rows else []
    finish(report.to_dict(), "\n".join([*shown, report.text()]), as_json)


def parse_batch(text: str | None) -> tuple[int, int, int] | None:
    """``MIN:OPT:MAX`` or one number. Raises ConfigError, naming the option."""
    if text is None:
        return None
    parts = text.split(":")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
    if len(numbers) != len(parts) or len(parts) not in (1, 3):
        raise ConfigError(f"--batch: expected MIN:OPT:MAX or N, got '{text}'", "--batch 1:1:4")
    low, best, high = numbers if len(numbers) == 3 else numbers * 3
    if not 1 <= low <= best <= high:
        raise ConfigError(
            f"--batch: expected 1 <= MIN <= OPT <= MAX, got '{text}'", "for example --batch 1:1:4"
        )
    return low, best, high


COMMANDS: dict[str, Callable[..., None]] = {"build": build}
