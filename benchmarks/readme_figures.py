"""Fill the figures of README.md from benchmarks/results/*.json; ``--check`` only compares.

A block of the README between ``<!-- figures: NAME -->`` and ``<!-- end -->`` is what the function of
that name makes of the results. Nothing in such a block is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def demo() -> str:
    """Scores and speed of the demo, FP32 beside INT8."""
    results = _load("demo")["results"]
    columns = [results["fp32"], results["int8"]]
    rows = [
        [name, *(f"{c[key]:.3f}" for c in columns)]
        for name, key in (("mAP50", "map50"), ("top-1", "top1"), ("HOTA", "hota"), ("IDF1", "idf1"))
    ]
    rows.append(["model size (MB)", *(f"{c['size_bytes'] / 1e6:.2f}" for c in columns)])
    return _table(["`toy`, rendered clip", "FP32", "INT8"], rows)


FIGURES: dict[str, Callable[[], str]] = {"demo": demo}


def filled(text: str) -> str:
    """``text`` with every marked block made anew. Raises KeyError for an unknown name."""
    return BLOCK.sub(lambda m: m.group(1) + FIGURES[m.group(2)]() + m.group(3), text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the README is out of date")
    check = parser.parse_args().check
    text = README.read_text(encoding="utf-8")
    new = filled(text)
    if new == text:
        return 0
    if check:
        print("README.md is out of date: run benchmarks/readme_figures.py", file=sys.stderr)
        return 1
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
