"""`edgemtl build --check`: what a device would say, asked on a machine without one."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from graph_tools import manifest_of, measured, pictures
from tiny_model import tiny_model, write_tiny

from edgemtl.cli import invoke
from edgemtl.graph.ranges import save_ranges


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float model and a table of its ranges."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny_model()
    write_tiny(folder / "m.onnx")
    save_ranges(measured(model, pictures(manifest_of(model))), folder / "m.int8.ranges.json")
    return folder


@pytest.fixture
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


def _told(capsys: pytest.CaptureFixture[str], file: Path, precision: str) -> tuple[int, dict]:
    capsys.readouterr()
    status = invoke(["build", str(file), "--precision", precision, "--check", "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_check_writes_nothing_and_tells_types(
    models: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    before = {path.name for path in models.iterdir()}
    status, told = _told(capsys, models / "m.onnx", precision)
    assert {path.name for path in models.iterdir()} == before
    assert (status, told["errors"], told["warnings"]) == (0, [], [])
    assert set(told["convolutions"].values()) == {precision}
    kind = {"fp32": "float", "fp16": "half", "int8": "half"}[precision]
    assert {dtype for layer, dtype, _ in told["layers"] if layer == "convolution"} == {kind}
    assert told["builder"].startswith("tensorrt_rtx ")


@pytest.mark.usefixtures("rtx")
def test_a_check_tells_every_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model(size_hw=(32, 32))
    scores = next(n for n in model.graph.node if "scores" in n.output)
    scores.output[0] = "scores/plain"
    model.graph.node.append(onnx.helper.make_node("Softplus", ["scores/plain"], ["scores"]))
    model.graph.node.append(onnx.helper.make_node("Det", ["t0"], ["det"], name="the_det"))
    file = tmp_path / "m.onnx"
    onnx.save(model, file)
    status, told = _told(capsys, file, "fp32")
    old = [what for what in told["errors"] if "TensorRT 10.3" in what]
    assert status == 1
    assert [any(kind in what for what in old) for kind in ("Softplus", "Det")] == [True] * 2
    assert any(what.endswith(" at Det 'the_det'") for what in told["errors"]), "the parser's"
    assert invoke(["build", str(file), "--precision", "fp32", "--check"]) == 1
    assert "would be refused" in capsys.readouterr().out


def test_a_build_needs_a_name_or_a_check(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["build", str(models / "m.onnx"), "--precision", "fp32"]) != 0
    assert "--out m.engine, or --check" in capsys.readouterr().err
