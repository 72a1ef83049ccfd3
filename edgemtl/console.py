"""What people and programs read: tables, the one JSON object, the one error line."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What ends a run cleanly: Ctrl-C, a service manager, the end of a terminal (none on Windows)."""


class InterruptedRunError(Exception):
    """Ctrl-C ended the work, and what was done until then has been reported."""


def print_error(message: str, hint: str) -> None:
    """``error:`` and ``hint:``, one line each, on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    print(f"hint: {' '.join(hint.split())}", file=sys.stderr)


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[object]], header: Sequence[object] = ()) -> str:
    """Aligned plain text: the first column to the left, the others to the right."""
    cells = [[_cell(value) for value in row] for row in ([header] if header else []) + list(rows)]
    if not cells:
        return ""
    count = max(len(row) for row in cells)
    cells = [row + [""] * (count - len(row)) for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(count)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in cells
    ]
    if header:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def listing(rows: Sequence[Sequence[object]]) -> str:
    """Aligned plain text, every column to the left; the last one may be long."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def finish(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """The end of a command: ``text`` on stdout, or with ``--json`` the object there instead."""
    if as_json:
        say(text)
        print(json.dumps(plain(result), allow_nan=False))
    else:
        print(text)


def plain(value: Any) -> Any:
    """``value`` in JSON's own types: paths as text, arrays as lists, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
