#!/usr/bin/env python3
"""Types of TensorRT 10 for mypy: `.ci/tensorrt_types.py FOLDER`, then `MYPYPATH=FOLDER mypy`.

The package tensorrt-stubs was generated: some of its functions are no Python, at the first of
which a parser gives up, and a constant of the module hides `bool`. This writes a copy without them,
and says which they were.
"""

from __future__ import annotations

import ast
import sys
from importlib import metadata
from pathlib import Path


def readable(text: str) -> tuple[str, list[str]]:
    """The stub without the functions that cannot be parsed, and the first line of each of them."""
    lines = [line for line in text.splitlines() if not line.startswith("bool:")]
    dropped: list[str] = []
    while True:
        try:
            ast.parse("\n".join(lines))
            return "\n".join(lines) + "\n", dropped
        except SyntaxError as error:
            above = range((error.lineno or 1) - 1, -1, -1)
        first = next(n for n in above if lines[n].lstrip().startswith("def "))
        depth = len(lines[first]) - len(lines[first].lstrip())
        last = first + 1
        while last < len(lines) and (
            not lines[last].strip() or len(lines[last]) - len(lines[last].lstrip()) > depth
        ):
            last += 1
        dropped.append(lines[first].strip())
        del lines[first:last]
        while first and lines[first - 1].lstrip().startswith("@"):
            first -= 1
            del lines[first]


def main(folder: str) -> int:
    stubs = [f for f in metadata.files("tensorrt-stubs") or [] if f.suffix == ".pyi"]
    for stub in stubs:
        text, dropped = readable(Path(stub.locate()).read_text(encoding="utf-8"))
        target = Path(folder) / stub
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        print(f"{stub}: {len(dropped)} functions left out", *dropped, sep="\n  ")
    return 0 if stubs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
