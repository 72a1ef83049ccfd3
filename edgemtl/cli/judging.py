"""The command that judges models: eval, against the truth or against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.options import (
    AsJson,
    Backend,
    DataRoot,
    Threads,
    TrackerName,
    TrackerOption,
)
from edgemtl.cli.sessions import open_model
from edgemtl.console import finish, table
from edgemtl.errors import ConfigError

if TYPE_CHECKING:
    from edgemtl.data.problems import Problem


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="A shipped name, .onnx, .engine; or a checkpoint."),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="DATA.toml", help="Data sets; [[val]] is scored.")
    ] = None,
    parity: Annotated[
        bool,
        typer.Option("--parity", help="Compare all forms of one network, on every backend."),
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR|VIDEO|ZIP", help="Pictures for --parity, instead of data."),
    ] = None,
    data_root: DataRoot = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Pictures of each set at most.")] = None,
    tasks: Annotated[
        str, typer.Option(metavar="TASK,...", help="Of detect, classify, track, embed, attributes.")
    ] = "",
    true_boxes: Annotated[
        bool, typer.Option("--true-boxes", help="Search identities at every true box.")
    ] = False,
    tracker: TrackerOption = TrackerName.EDGEMTL,
    backend: Backend = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled data, or compare its forms. mAP, top-1, HOTA, IDF1, retrieval.

    \b
    Example:
      edgemtl eval toy --data toy.toml --json
      edgemtl eval --parity best.safetensors m.onnx m.int8.onnx m.engine --images clip.mp4
    """
    if parity:
        if tasks or true_boxes or backend != "auto":
            raise ConfigError(
                "--tasks, --true-boxes, --backend: not with --parity, which looks at all of them",
                "leave them out",
            )
        _climb(models, data, images, data_root, limit, tracker, threads, as_json)
        return
    if len(models) > 1 or images is not None:
        what = "MODEL: expected one" if len(models) > 1 else "--images: needs --parity"
        raise ConfigError(f"{what}, without --parity", "add --parity to compare forms of a network")
    if data is None:
        raise ConfigError("--data: expected a file of data sets", "or --parity and --images")
    from edgemtl.data.config import load_data
    from edgemtl.evaluate import EvaluateOptions, evaluate_model
    from edgemtl.track.presets import preset

    mix = load_data(data, "val", data_root)
    options = EvaluateOptions(
        limit=limit,
        tasks=tuple(task.strip() for task in tasks.split(",") if task.strip()),
        true_boxes=true_boxes,
        tracker=preset(tracker.value),
    )
    with closing(open_model(models[0], backend, threads)) as session:
        result = evaluate_model(session, mix, options)
    text = "\n\n".join(
        table(rows[1:], rows[0])
        for rows in (
            result.rows(),
            result.class_rows(),
            result.image_class_rows(),
            result.identity_rows(),
        )
        if rows
    )
    text += "".join(f"\n\n{note}" for note in _not_scored(result.left_out, mix.problems))
    finish({**result.to_dict(), "problems": len(mix.problems)}, text, as_json)


def _not_scored(left_out: Sequence[str], problems: Sequence[Problem]) -> Iterator[str]:
    """What people should know of scores that look complete."""
    if left_out:
        yield f"not scored, the model has no such class: {', '.join(left_out)}"
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems, the first"
        yield f"the data have {count}: {problems[0]}"


def _climb(
    models: list[str],
    data: Path | None,
    images: Path | None,
    data_root: Path | None,
    limit: int | None,
    tracker: TrackerName,
    threads: int | None,
    as_json: bool,
) -> None:
    """The parity ladder. Exits with 1 if a rung differs, or nothing could be compared."""
    from edgemtl.data.config import load_data
    from edgemtl.evaluate.look import shown_of_data, shown_of_path
    from edgemtl.evaluate.parity import climb
    from edgemtl.evaluate.rungs import rungs_of
    from edgemtl.track.presets import preset

    if data is not None and images is None:
        shown = shown_of_data(load_data(data, "val", data_root), limit)
    elif images is not None and data is None:
        shown = shown_of_path(images, limit)
    else:
        raise ConfigError(
            "--parity: expected --data or --images, one of them", "for example --images clip.mp4"
        )
    rungs = [rung for model in models for rung in rungs_of(model, threads)]
    ladder = climb(rungs, shown, preset(tracker.value))
    header, *rows = ladder.table()
    absent = [f"{row.name}: {row.absent}" for row in ladder.rows if row.absent]
    text = "\n\n".join([table(rows, header), *absent, ladder.verdict()])
    finish(ladder.to_dict(), text, as_json)
    if ladder.first_different is not None or not ladder.compared:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {"eval": evaluate}
