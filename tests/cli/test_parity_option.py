"""``edgemtl eval --parity``: a table for people, an object for programs, 1 where rungs differ."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgemtl.graph.file import load_model, save_model

Cli = Callable[..., Any]


def test_copies_agree(cli: Cli, tiny: Path, clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny.read_bytes())
    done = cli("eval", "--parity", tiny, copy, "--images", clip, "--limit", 5, "--threads", 1)
    assert done.code == 0, done.err
    assert "tiny.onnx, onnxruntime" in done.out
    assert "copy.onnx, onnxruntime" in done.out
    assert "reference" in done.out


def test_a_rung_that_differs_is_exit_code_1(
    cli: Cli, tiny: Path, folder: Path, tmp_path: Path
) -> None:
    graph, manifest = load_model(tiny)
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 4:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(values * values.dtype.type(1.2), tensor.name)
            )
    save_model(graph, manifest, tmp_path / "hurt.onnx")
    done = cli("eval", "--parity", tiny, tmp_path / "hurt.onnx", "--images", folder, "--json")
    assert done.code == 1
    assert done.json["first_different"].startswith("hurt.onnx, onnxruntime")
    assert done.json["pictures"] == 6


def test_a_rung_alone_proves_nothing(
    cli: Cli, tiny: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"no engine at all")
    done = cli("eval", "--parity", tiny, engine, "--images", folder, "--limit", 2)
    assert done.code == 1
    assert "cannot be run" in done.out
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = cli("eval", "--parity", tiny, "--images", folder, "--limit", 2)
    assert done.code == 1
    assert "nothing was compared" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parity"], "--data or --images"),
        (["--parity", "--images", "{folder}", "--data", "d.toml"], "--data or --images"),
        (["--parity", "--images", "{folder}", "--backend", "openvino"], "not with --parity"),
        (["--parity", "--images", "{folder}", "--true-boxes"], "not with --parity"),
        (["--images", "{folder}"], "--images: needs --parity"),
        ([], "--data: expected a file"),
        (["{tiny}", "--data", "d.toml"], "expected one, without --parity"),
        (["--parity", "--images", "{folder}/none"], "does not exist"),
    ],
)
def test_options_that_do_not_fit(
    cli: Cli, tiny: Path, folder: Path, arguments: list[str], said: str
) -> None:
    done = cli("eval", tiny, *(a.format(folder=folder, tiny=tiny) for a in arguments))
    assert done.code == 1
    assert said in done.err
    assert done.out == ""
