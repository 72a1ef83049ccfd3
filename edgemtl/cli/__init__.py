"""The command line: thin commands over the library, one file per kind of work.

stdout carries results (with ``--json`` exactly one JSON object), stderr carries what is for people.
Exit codes: 0 done, 1 an error with a hint, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import edgemtl
from edgemtl.cli import building, frames, info, judging, models, quantising, work
from edgemtl.console import STOPS, InterruptedRunError, print_error
from edgemtl.errors import EdgeMTLError

DEBUG_FLAG = "--debug"
UsageError: type[BaseException] = typer.BadParameter.__mro__[1]
"""Base of all usage errors; typer took click in, so it has no one public name over versions."""

app = typer.Typer(
    name="edgemtl",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _room in (work, judging, quantising, models, building, info, frames):
    for _name, _function in _room.COMMANDS.items():
        app.command(_name)(_function)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgemtl {edgemtl.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say it, exit."),
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG_FLAG, help="Show tracebacks of errors.")] = False,
) -> None:
    """One multi-task vision network on edge devices: train, export, calibrate, build, run, bench.

    MODEL is a shipped name (toy, street) or a path to a .onnx or .engine file.
    """


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. ``--debug`` may stand anywhere."""
    debug = DEBUG_FLAG in arguments
    rest = [argument for argument in arguments if argument != DEBUG_FLAG] or ["--help"]
    try:
        return int(app(rest, prog_name="edgemtl", standalone_mode=False) or 0)
    except EdgeMTLError as error:
        if debug:
            traceback.print_exc()
        print_error(error.message, error.hint or "add --debug for the traceback")
        return 1
    except UsageError as error:
        usage: Any = error
        command = usage.ctx.command_path if usage.ctx is not None else "edgemtl"
        print_error(usage.format_message(), f"{command} --help")
        return 2
    except (InterruptedRunError, KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        print_error(
            f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "this is a fault of edgemtl: report it with the output of the same command and --debug",
        )
        return 1


def main() -> None:
    """Entry point of the ``edgemtl`` program."""
    # a service manager's stop is Ctrl-C too: outputs are finished, a training keeps its state
    # and so is the end of an ssh session, unless 'nohup' said otherwise
    for stop in STOPS:
        if stop != signal.SIGINT and signal.getsignal(stop) != signal.SIG_IGN:
            signal.signal(stop, signal.default_int_handler)
    code = invoke(sys.argv[1:])
    for stop in STOPS:  # all is done: the exit code tells how
        signal.signal(stop, signal.SIG_IGN)
    if code == 130:
        print("interrupted", file=sys.stderr)
    sys.exit(code)
