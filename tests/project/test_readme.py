"""The README says what the scripts measured, and names only what exists."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return load_script("readme_figures")


def test_figures_come_from_the_results(figures: ModuleType) -> None:
    assert set(re.findall(r"<!-- figures: (\w+) -->", README)) == set(figures.FIGURES)
    assert figures.filled(README) == README, "run benchmarks/readme_figures.py"


def test_a_changed_figure_is_noticed(figures: ModuleType) -> None:
    match = re.search(r"0\.\d{3}", README)
    assert match is not None
    changed = README[: match.start()] + "9.999" + README[match.end() :]
    assert figures.filled(changed) == README


def test_both_commands_are_the_ones_that_the_checks_call() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in re.findall(r"^pip install [^#\n]*[^# \n]", README, re.MULTILINE):
        for part in command.split(" && "):
            assert part.replace("pip install", "pip install --quiet") in script


def test_named_files_exist() -> None:
    for name in re.findall(r"`((?:benchmarks|edgemtl|calibration)/[\w./-]+)`", README):
        assert (ROOT / name).exists(), name
