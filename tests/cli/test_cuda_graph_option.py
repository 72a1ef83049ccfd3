"""``--cuda-graph``: reaches the session, and is refused where there are no CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_files import tiny_engine
from fake_gpu import install_gpu

Cli = Callable[..., Any]


@pytest.mark.parametrize("given", [[], ["--cuda-graph"]])
def test_an_engine(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip: Path, given: list[str]
) -> None:
    gpu = install_gpu(monkeypatch)
    engine = tiny_engine(tmp_path / "m.engine")
    done = cli("run", engine, "--source", clip, *given, "--json")
    assert (done.code, done.json["frames"]) == (0, 12)
    assert gpu.launched == (14 if given else 0), "one to try each of two slots, one for each frame"
    done = cli("bench", engine, "--source", clip, "--warmup", 1, "--frames", 3, *given, "--json")
    assert done.json["backend"].endswith(", CUDA graph)" if given else "(Fake Orin, fp32)")
    assert gpu.alive == {}


@pytest.mark.parametrize("command", ["run", "bench"])
def test_a_model_that_does_not_run_on_tensorrt(
    cli: Cli, tiny: Path, clip: Path, command: str
) -> None:
    done = cli(command, tiny, "--source", clip, "--cuda-graph")
    assert (done.code, done.out) == (1, "")
    error, hint = done.err.splitlines()
    assert (
        error == "error: cuda_graph: only TensorRT has CUDA graphs, 'tiny.onnx' does not run on it"
    )
    assert hint.startswith("hint: leave it out, or run an engine")
