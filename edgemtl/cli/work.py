"""Commands about the project and the machine: demo, doctor, train."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgemtl.cli.options import (
    AsJson,
    DataRoot,
)
from edgemtl.console import finish, say, table


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the results, made if absent.")] = Path(
        "edgemtl-demo"
    ),
    as_json: AsJson = False,
) -> None:
    """Show the whole chain on a rendered clip. FP32 beside INT8, in under two minutes.

    \b
    Example:
      edgemtl demo
    """
    from edgemtl.demo import run_demo

    report = run_demo(out, say)
    finish(report.to_dict(), report.text(), as_json)


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do. Names what is missing and the line that installs it.

    \b
    Example:
      edgemtl doctor
    """
    from edgemtl.doctor import examine

    checks = examine()
    lines = [f"{'yes' if c.ok else 'no':<3}  {c.what}: {c.found}" for c in checks]
    missing = [f"     {c.what}: {c.install}" for c in checks if not c.ok and c.install]
    text = "\n".join(lines + (["", "To add what is missing:", *missing] if missing else []))
    finish({"checks": [c.to_dict() for c in checks]}, text, as_json)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The training run.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.  [default: runs/<name of the file>]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the data, draw the mix, and end.")
    ] = False,
    quantize: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Go on from this checkpoint, rounding as INT8 will ([quantize] in the file).",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that make the batches; 0: a thread. For a GPU.")
    ] = 0,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train a network from one TOML file. Needs the extra 'train'.

    \b
    Example:
      edgemtl train street.toml --check
      edgemtl train street.toml --out runs/street
      edgemtl train street.toml --quantize runs/street/best.safetensors --out runs/street-int8
      torchrun --nproc-per-node 4 -m edgemtl train street.toml --out runs/street
    """
    require("torch", "train", "training")
    from edgemtl.train.before import check_run
    from edgemtl.train.config import load_train_config
    from edgemtl.train.loop import run_training
    from edgemtl.train.runlog import best_judgement, read_rows

    folder = out or Path("runs") / (config.stem if quantize is None else f"{config.stem}-int8")
    if check:
        report = check_run(load_train_config(config), folder, data_root)
        finish(report.to_dict(), f"{report.counts()}: see {folder}/data.json and mix.jpg", as_json)
        report.refuse_errors()
        return
    wanted = load_train_config(config)
    if quantize is None:
        best = run_training(wanted, out=folder, resume=resume, data_root=data_root, workers=workers)
    else:
        from edgemtl.finetune import finetune

        best = finetune(
            wanted, quantize, out=folder, resume=resume, data_root=data_root, workers=workers
        )
    if int(os.environ.get("RANK", "0")) > 0:
        return  # of several processes, the first one speaks
    rows = read_rows(folder)
    text = (
        f"{_best_of(rows)}\nbest checkpoint: {best}\n"
        f"next: edgemtl export {best} --out {config.stem}.onnx"
    )
    finish({"checkpoint": best, "folder": folder, "best": best_judgement(rows)}, text, as_json)


def _best_of(rows: Sequence[dict[str, Any]]) -> str:
    """The best judgement of a run's log: its scores as a table, and a line."""
    from edgemtl.train.summary import best_line, best_table

    scores = best_table(rows)
    lines = [table(scores[1:], scores[0]), ""] if scores else []
    return "\n".join([*lines, best_line(rows)])


def require(package: str, extra: str, purpose: str) -> None:
    """Raise MissingExtraError, with the line that installs it, if ``package`` is absent."""
    from importlib.util import find_spec

    from edgemtl.errors import MissingExtraError

    if find_spec(package) is None:
        raise MissingExtraError(package, extra, purpose)


COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "demo": demo,
    "doctor": doctor,
}
