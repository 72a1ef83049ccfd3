"""``--rebuild``: an engine that is stale or foreign is built again and run; else it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_files import tiny_engine
from fake_builder import FakeBuild
from tiny_model import write_tiny

from edgemtl.engine.manifest import read_engine

Cli = Callable[..., Any]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("command", [["run"], ["bench", "--warmup", 2]])
def test_a_foreign_engine(cli: Cli, tmp_path: Path, clip: Path, command: list[object]) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    engine = tiny_engine(tmp_path / "m.engine", version="10.1.0", source=str(model))
    before = engine.read_bytes()
    arguments = [*command, engine, "--source", clip, "--json"]
    refused = cli(*arguments)
    assert (refused.code, refused.out) == (1, "")
    error, hint = refused.err.splitlines()
    assert "foreign: built by tensorrt 10.1.0, here is tensorrt 10.3.0" in error
    assert hint == (
        f"hint: edgemtl build {model} --precision fp32 --out {engine}; --rebuild does it"
    )
    assert engine.read_bytes() == before
    done = cli(*arguments, "--rebuild")
    assert done.code == 0, done.err
    assert "building it again" in done.err
    assert done.json
    assert read_engine(engine)[1].version == "10.3.0"
    assert "again" not in cli(*arguments, "--rebuild").err, "what is right is left alone"


def test_one_that_cannot_be_built_again(
    cli: Cli, tmp_path: Path, clip: Path, fake: FakeBuild
) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    engine = tiny_engine(tmp_path / "m.engine", version="10.1.0", source=str(model))
    fake.change = lambda data: None
    before = engine.read_bytes()
    done = cli("run", engine, "--source", clip, "--rebuild")
    assert done.code == 1
    assert "could not find any implementation" in done.err
    assert engine.read_bytes() == before
