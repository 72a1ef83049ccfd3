"""How results and errors are printed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgemtl
from edgemtl.cli.options import parse_size
from edgemtl.console import listing, plain, table
from edgemtl.doctor import examine
from edgemtl.errors import ConfigError

Cli = Callable[..., Any]


def test_plain_gives_json_of_anything_that_reports_hold() -> None:
    value = {
        "path": Path("a/b"),
        "array": np.arange(3, dtype=np.float32),
        "scalar": np.float64(0.5),
        "bad": [math.nan, math.inf, np.float32("nan")],
        "tuple": (1, None, True, "x"),
    }
    text = json.dumps(plain(value), allow_nan=False)
    assert json.loads(text) == {
        "path": "a/b",
        "array": [0.0, 1.0, 2.0],
        "scalar": 0.5,
        "bad": [None, None, None],
        "tuple": [1, None, True, "x"],
    }


def test_table_aligns_and_takes_short_rows() -> None:
    text = table([["mAP50", 0.5, None], ["x", math.nan]], header=["score", "FP32", "INT8"])
    assert text.splitlines() == [
        "score   FP32  INT8",
        "-----  -----  ----",
        "mAP50  0.500     -",
        "x          -",
    ]
    assert table([]) == ""


def test_listing_keeps_text_to_the_left() -> None:
    assert listing([["a", "long words"], ["name", 0.25]]) == "a     long words\nname  0.250"
    assert listing([]) == ""


@pytest.mark.parametrize("text", ["", "10", "10x", "x10", "-1x5", "10x0", "1x2x3", "axb"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--size"):
        parse_size(text, "--size")


def test_sizes_are_height_then_width() -> None:
    assert parse_size("288x512", "--size") == (288, 512)
    assert parse_size(None, "--size") is None


def test_version_and_bare_call(cli: Cli) -> None:
    assert cli("--version").out == f"edgemtl {edgemtl.__version__}\n"
    bare = cli()
    assert bare.code == 0
    assert "Commands:" in bare.out


def test_debug_shows_the_traceback_wherever_it_stands(cli: Cli) -> None:
    for arguments in (["--debug", "info", "nowhere"], ["info", "nowhere", "--debug"]):
        done = cli(*arguments)
        assert done.code == 1
        assert "Traceback" in done.err
        assert "error: model: no file 'nowhere'" in done.err
    assert "Traceback" not in cli("info", "nowhere").err


def test_doctor_reports_the_base_install_as_able(cli: Cli) -> None:
    done = cli("doctor", "--json")
    assert done.code == 0
    checks = {check["what"]: check for check in done.json["checks"]}
    assert checks["ONNX Runtime"]["ok"]
    assert checks["pre- and post-processing (C)"]["ok"]
    assert len(checks) == len(examine())
    for check in checks.values():
        assert check["found"]
    assert "machine" in done.err


def test_doctor_names_the_line_that_installs_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgemtl.doctor.present", lambda package: False)
    checks = {check.what: check for check in examine()}
    assert checks["training and export"].install == 'pip install "edgemtl[train]"'
    assert not checks["building engines"].ok
    assert "edgemtl[rtx]" in str(checks["building engines"].install)


def test_the_module_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgemtl", "info", "nowhere"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")


def test_an_interrupt_is_one_line_and_130() -> None:
    code = (
        "import sys, edgemtl.doctor as d\n"
        "def stop(): raise KeyboardInterrupt\n"
        "d.examine = stop\n"
        "sys.argv = ['edgemtl', 'doctor']\n"
        "from edgemtl.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"
