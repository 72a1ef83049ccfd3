"""TensorRT-RTX takes the shipped networks in FP32, FP16, INT8, and INT8 with layers in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemtl.cli import invoke
from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.build_check import check_build
from edgemtl.engine.manifest import read_engine_manifest
from edgemtl.errors import EngineError
from edgemtl.graph.dialect import TRT
from edgemtl.graph.features import plan_quantisation
from edgemtl.graph.file import load_model, save_model
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import load_ranges
from edgemtl.models import resolve_model, shipped_models
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate

TABLES = Path(__file__).resolve().parents[2] / "calibration" / "tables"


@pytest.fixture(autouse=True)
def _rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


class Blocks:
    """Coloured blocks of many sizes, by index: enough to give every range a value."""

    def __len__(self) -> int:
        return 3

    def file(self, index: int) -> str:
        return f"blocks/{index}.png"

    def image(self, index: int) -> np.ndarray:
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (6 + index, 9, 3), dtype=np.uint8)
        return np.kron(coarse, np.ones((24, 24, 1), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_models())
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_shipped_models_build(tmp_path: Path, name: str, precision: str) -> None:
    model = resolve_model(name)
    if precision == "int8":
        options = CalibrateOptions(limit=2, held_out=1, batch=1)
        model = calibrate(model, Blocks(), tmp_path / f"{name}.int8.onnx", options).out
    out = tmp_path / f"{name}.engine"
    report = build_engine(model, out, BuildOptions(precision, flavour="tensorrt_rtx"))
    engine = read_engine_manifest(out)
    assert engine.source == (str(model) if precision == "int8" else name)
    assert engine.model.name == load_model(resolve_model(name))[1].name
    assert engine.model.precision == precision
    assert report.size_bytes > 100_000


def with_layers_in_float(name: str, out: Path, places: tuple[float, ...]) -> tuple[Path, set[str]]:
    """A shipped model in INT8 by its frozen table, but for the convolutions at some places, from 0
    to 1; their outputs."""
    graph, manifest = load_model(resolve_model(name))
    convs = plan_quantisation(GraphIndex(graph)).convs
    kept = {convs[round(place * (len(convs) - 1))].output[0] for place in places}
    table = load_ranges(TABLES / f"{name}.ranges.json")
    table = table.model_copy(update={"float_layers": tuple(sorted(kept))})
    save_model(*quantise_model(graph, manifest, table, TRT), out)
    return out, kept


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_build_with_layers_in_float(tmp_path: Path, name: str) -> None:
    model, kept = with_layers_in_float(name, tmp_path / f"{name}.int8.onnx", (0.02, 0.5, 1.0))
    all_int8, _ = with_layers_in_float(name, tmp_path / f"{name}.all.onnx", ())
    out = tmp_path / f"{name}.engine"
    build_engine(model, out, BuildOptions("int8", flavour="tensorrt_rtx"))
    engine = read_engine_manifest(out)
    assert (engine.precision, engine.model.precision) == ("int8", "mixed")
    mixed, whole = check_build(model, "int8"), check_build(all_int8, "int8")
    assert mixed.errors == ()
    before, after = (
        {conv.removesuffix("/float"): kind for conv, kind in report.convolutions.items()}
        for report in (whole, mixed)
    )
    assert {conv for conv in before if after[conv] != before[conv]} == kept
    assert {after[conv] for conv in kept} == {"fp16"}
    # TensorRT's own count: at least the weights of those layers are not brought back from integers
    counts = [
        sum(n for (layer, _), n in report.layers.items() if layer == "dequantize")
        for report in (mixed, whole)
    ]
    assert 0 < counts[0] <= counts[1] - len(kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_models())
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_operator_that_no_tensorrt_has_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, precision: str
) -> None:
    """Det is ONNX; on a shipped network, with the message and exit code that a user gets."""
    model = onnx.load(str(resolve_model(name)))
    square = onnx.helper.make_tensor("square", onnx.TensorProto.FLOAT, [1, 2, 2], [1, 0, 0, 1])
    model.graph.initializer.append(square)
    model.graph.node.append(onnx.helper.make_node("Det", ["square"], ["det"], name="the_det"))
    path, out = tmp_path / "det.onnx", tmp_path / "det.engine"
    onnx.save(model, str(path))
    with pytest.raises(EngineError, match="cannot read the graph") as caught:
        build_engine(path, out, BuildOptions(precision, flavour="tensorrt_rtx"))
    assert "at Det 'the_det'" in caught.value.message
    assert caught.value.hint
    words = ["build", str(path), "--precision", precision, "--out", str(out)]
    assert invoke(words) == 1
    told = capsys.readouterr().err
    assert "Det" in told
    assert "hint: " in told
    assert "Traceback" not in told
    assert {p.name for p in tmp_path.iterdir()} == {"det.onnx", "det.engine.log"}
