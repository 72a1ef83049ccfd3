"""The command that makes INT8 models: calibrate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.options import AsJson, DataRoot, Model, Threads
from edgemtl.console import finish, listing, table
from edgemtl.errors import ConfigError

if TYPE_CHECKING:
    from edgemtl.quantize.budget_report import BudgetReport
    from edgemtl.quantize.report import CalibrationReport


class Observer(str, Enum):
    """How ranges are taken from what the calibration images show."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    ENTROPY = "entropy"


def calibrate(
    model: Model,
    out: Annotated[Path, typer.Option(metavar="m.int8.onnx", help="The INT8 model for this host.")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR|VIDEO|ZIP", help="Pictures as the device will see them."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="R.toml", help="A file that says all of this.")
    ] = None,
    ranges: Annotated[
        Path | None,
        typer.Option("--table", metavar="T.json", help="Rebuild from ranges, without pictures."),
    ] = None,
    observer: Annotated[
        Observer | None, typer.Option(help="How ranges are measured.  [default: percentile]")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many images, evenly spread.  [default: 200]"),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", metavar="DATA.toml", help="Measure the loss on its [[val]] sets."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TASK=POINTS,...", help="The most that det, cls, track, embed lose."),
    ] = None,
    data_root: DataRoot = None,
    allow_overlap: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="An evaluation set that may share pictures."),
    ] = None,
    allow_slower: Annotated[
        bool, typer.Option("--allow-slower", help="Write INT8 even if float32 is faster here.")
    ] = False,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure ranges on pictures, write INT8 models. One for this host and one for TensorRT.

    With --eval and --budget, layers that INT8 harms too much stay in float, and nothing is written
    if no set of them is enough.

    \b
    Example:
      edgemtl calibrate street --images frames/ --out street.int8.onnx
      edgemtl calibrate m.onnx --images frames/ --out m.int8.onnx --eval data.toml --budget det=1
      edgemtl calibrate street --table street.ranges.json --out street.int8.onnx
    """
    from edgemtl.models import resolve_model

    file = resolve_model(model)
    own = {
        "--observer": observer, "--limit": limit, "--eval": evaluation, "--budget": budget,
        "--allow-overlap": allow_overlap,
    }  # fmt: skip
    host = {"--allow-slower": allow_slower or None, "--data-root": data_root}
    _one_of(images=images, recipe=recipe, table=ranges)
    if ranges is not None:
        from edgemtl.quantize.calibrate import rebuild

        _nothing_else("beside --table", {**own, **host, "--threads": threads})
        files = rebuild(file, ranges, out)
        written = {"out": str(files.host), "trt": str(files.trt), "ranges": str(files.table)}
        rows = [[written["out"], "this host"], [written["trt"], "TensorRT"]]
        finish(written, listing(rows), as_json)
        return
    if recipe is not None:
        from edgemtl.quantize.recipe import calibrate_recipe

        _nothing_else("beside --recipe", own)
        made = calibrate_recipe(
            recipe, out, data_root, file, threads=threads or 0, allow_slower=allow_slower
        )
        _tell(made, as_json)
        return
    from edgemtl.data.images import open_images
    from edgemtl.quantize.calibrate import CalibrateOptions
    from edgemtl.quantize.calibrate import calibrate as measure

    assert images is not None
    options = CalibrateOptions(
        (observer or Observer.PERCENTILE).value, limit or 200, threads=threads or 0
    )
    if evaluation is None:
        if budget is not None:
            hint = "name an evaluation: --eval DATA.toml"
            raise ConfigError("budget: nothing to measure it on", hint)
        _nothing_else("without --eval", {"--allow-overlap": allow_overlap, **host})
        _tell(measure(file, open_images(images), out, options), as_json)
        return
    from edgemtl.data.config import load_data
    from edgemtl.quantize.budget import Budget
    from edgemtl.quantize.within import BudgetOptions, calibrate_within

    wanted = BudgetOptions(
        Budget({}) if budget is None else Budget.parse(budget),
        allow_slower=allow_slower, allow_overlap=tuple(allow_overlap or ()),
    )  # fmt: skip
    mix = load_data(evaluation, "val", data_root)
    _tell(calibrate_within(file, open_images(images), mix, out, options, wanted), as_json)


def _one_of(**given: Path | None) -> None:
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if len(named) != 1:
        every = ", ".join(f"--{name}" for name in given)
        raise ConfigError(
            f"calibrate: expected one of {every}, got {' and '.join(named) or 'none'}",
            "pictures to look at, a recipe that names them, or ranges that are known",
        )


def _nothing_else(where: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"{name}: has no meaning {where}", f"leave {name} out")


def _tell(report: CalibrationReport | BudgetReport, as_json: bool) -> None:
    tables = [table(rows[1:], rows[0]) for rows in report.tables()]
    text = "\n\n".join([*tables, *report.notes(), listing(report.files())])
    finish(report.to_dict(), text, as_json)


COMMANDS: dict[str, Callable[..., None]] = {"calibrate": calibrate}
