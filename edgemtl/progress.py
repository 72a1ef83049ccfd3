"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere, on stderr.

Work within work gets a bar below that of the whole; plain lines name the work they are of.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
PLAIN_INTERVAL_S = 10.0
_on_terminal: list[Progress] = []
"""The bars on the terminal, one display or none: two would write over each other."""


def track(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    note: Callable[[], str] | None = None,
) -> Generator[T, None, None]:
    """Yield ``items`` and show how far we are; ``total`` defaults to their length, if known.

    ``note`` gives a few words on the present state, asked for whenever something is shown.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    shown = _bar if sys.stderr.isatty() else _lines
    yield from shown(items, what, total, note or str)


def _bar(items: Iterable[T], what: str, total: int | None, note: Callable[[], str]) -> Iterator[T]:
    with _display() as progress:
        task = progress.add_task(what, total=total, note=note())
        try:
            for item in items:
                yield item
                progress.update(task, advance=1, note=note())
        finally:
            progress.remove_task(task)


@contextmanager
def _display() -> Iterator[Progress]:
    if _on_terminal:
        yield _on_terminal[-1]
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        _on_terminal.append(progress)
        try:
            yield progress
        finally:
            _on_terminal.remove(progress)


def _lines(
    items: Iterable[T], what: str, total: int | None, note: Callable[[], str]
) -> Iterator[T]:
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL_S:
            last = now
            of = f"/{total}" if total else ""
            line = f"{what}: {done}{of} after {now - started:.0f} s  {note()}"
            print(line.rstrip(), file=sys.stderr, flush=True)
