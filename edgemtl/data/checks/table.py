"""The report for people: two tables and the findings, on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from edgemtl.data.checks.report import DataReport, SetCensus

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN_WIDTH = 140  # of tables in a file or pipe
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_report(report: DataReport, console: Console | None = None) -> None:
    """Print the report; ``console`` None: on stderr."""
    from rich.console import Console
    from rich.text import Text

    if console is None:
        console = Console(stderr=True, width=None if sys.stderr.isatty() else _PLAIN_WIDTH)
    console.print(_sets(report))
    for kind in ("boxes", "image_classes"):
        counts = getattr(report, kind)("train"), getattr(report, kind)("val")
        if any(counts):
            console.print(_classes(report, kind, *counts))
    for finding in report.findings:
        text = Text.assemble((f"{finding.level}:", _COLOURS[finding.level]), " ",
                             f"{finding.where}: {finding.what}")  # fmt: skip
        console.print(text, soft_wrap=True)
        if finding.hint:
            console.print(Text(f"  hint: {finding.hint}", style="dim"), soft_wrap=True)


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold")
    return table


def _sets(report: DataReport) -> Any:
    h, w = report.size_hw
    table = _table(f"data sets; sides of boxes in pixels of the {w}x{h} input", "set", "pictures",
                   "weight", "tasks", "boxes", "none", "ignored", "ids", "5% / 50% / 95%", "< 8 px",
                   "too large")  # fmt: skip
    for one in report.sets:
        _add(table, f"{one.split} {one.name}", *_row(one))
    return table


def _add(table: Any, *cells: str) -> None:
    """A row of plain text: names of data sets are no markup."""
    from rich.text import Text

    table.add_row(*map(Text, cells))


def _row(one: SetCensus) -> list[str]:
    pictures = f"{one.pictures:,}"
    if one.counted < one.pictures:
        pictures += f" ({one.counted:,} counted)"
    weight = f"{one.weight:g}" if one.split == "train" else ""
    tasks = " ".join(task[0].upper() for task in one.tasks)
    head = [pictures, weight, tasks]
    if one.without_boxes is None:
        return [*head, "", "", "", "", "", "", ""]
    sides = " / ".join(f"{one.sides_px[k]:.0f}" for k in (0, 2, 4)) if one.sides_px else ""
    shares = [f"{share:.1%}" if sides else "" for share in (one.below_8px, one.beyond_input)]
    return [*head, f"{sum(one.boxes.values()):,}", f"{one.without_boxes:,}", f"{one.ignored:,}",
            f"{one.identities:,}" if one.identities else "", sides, *shares]  # fmt: skip


def _classes(report: DataReport, kind: str, ours: dict[str, int], theirs: dict[str, int]) -> Any:
    """Counts by class; a column for each training set, since sets label different classes."""
    sets = [one for one in report.sets if one.split == "train" and getattr(one, kind)]
    what = "boxes by class" if kind == "boxes" else "pictures by image class"
    table = _table(f"{what} (-: not labelled)", "class", "train", "val",
                   *(f"train {one.name}" for one in sets))  # fmt: skip
    for name in dict.fromkeys([*ours, *theirs]):
        counts = [getattr(one, kind).get(name) for one in sets]
        cells = [ours.get(name), theirs.get(name), *counts]
        _add(table, name, *("-" if n is None else f"{n:,}" for n in cells))
    return table
