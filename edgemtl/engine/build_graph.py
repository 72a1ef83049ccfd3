"""Which graph an engine of a precision is built from. Builds are strongly typed: what an engine
computes in is written in the graph, not asked of TensorRT."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import onnx

import edgemtl
from edgemtl.engine.manifest import Precision, sha256_of
from edgemtl.errors import EngineError
from edgemtl.graph.dialect import TRT
from edgemtl.graph.file import canonical_hash, load_model
from edgemtl.graph.fp16 import to_fp16
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import RangeTable, load_ranges
from edgemtl.manifest import Manifest
from edgemtl.models import resolve_model, shipped_models

QUANTISED = ("int8", "mixed")
# frozen tables of the shipped models; only a checkout of the repository has this folder
_TABLES = Path(edgemtl.__file__).parents[1] / "calibration" / "tables"


@dataclass(frozen=True, slots=True)
class ChosenGraph:
    """The graph to build, its manifest, and the file that it comes from."""

    model: onnx.ModelProto
    manifest: Manifest
    file: Path
    onnx_sha256: str


def choose_graph(model: Path, precision: Precision) -> ChosenGraph:
    """The graph of ``model`` (a .onnx file) in ``precision``.

    fp32 takes a float32 graph as it is, fp16 converts it. int8 takes Q/DQ in TensorRT's dialect:
    from the file itself, from the file that ``calibrate`` wrote beside it, or made from a frozen
    range table of exactly this float32 graph. A graph without Q/DQ is refused: TensorRT 10 would
    build it into a fast, broken engine. Raises EngineError and ModelError.
    """
    if model.suffix != ".onnx":
        raise EngineError(
            f"{model}: an engine already", "give 'edgemtl build' the .onnx file that it came from"
        )
    graph, manifest = load_model(model)
    if precision == "int8":
        return _int8(model, graph, manifest)
    if manifest.precision in QUANTISED:
        raise EngineError(
            f"{model}: cannot build {precision} from an {manifest.precision} graph, which has lost "
            "the float weights",
            f"build the float32 model that was calibrated, or: {_command(model, 'int8')}",
        )
    if precision == manifest.precision:
        return _chosen(graph, manifest, model)
    if precision == "fp32":
        raise EngineError(
            f"{model}: cannot build fp32 from an {manifest.precision} graph",
            f"build the float32 model, or: {_command(model, 'fp16')}",
        )
    return _chosen(to_fp16(graph), manifest.model_copy(update={"precision": "fp16"}), model)


def _int8(model: Path, graph: onnx.ModelProto, manifest: Manifest) -> ChosenGraph:
    if manifest.dialect == "ort":
        return _sibling(model, manifest)
    if manifest.precision in QUANTISED:
        return _chosen(graph, manifest, model)
    if manifest.precision == "fp32":
        table = _table_of(model, graph)
        if table is not None:
            return _chosen(*quantise_model(graph, manifest, table, TRT), model)
    _refuse(f"{model}: INT8 needs a graph with Q/DQ, this one is {manifest.precision}", model)


def _sibling(model: Path, manifest: Manifest) -> ChosenGraph:
    """TensorRT's graph beside the host's: ``m.int8.onnx`` -> ``m.int8.trt.onnx``."""
    beside = model.with_name(f"{model.stem}.trt.onnx")
    if not beside.is_file():
        _refuse(
            f"{model}: this graph is for ONNX Runtime, and '{beside.name}' is not beside it", model
        )
    graph, other = load_model(beside)
    if other.dialect != "trt" or other.calibration != manifest.calibration:
        _refuse(f"{beside}: does not come from the same calibration as '{model.name}'", model)
    return _chosen(graph, other, beside)


def _table_of(model: Path, graph: onnx.ModelProto) -> RangeTable | None:
    """The range table of exactly this graph: beside it, or one of the frozen ones."""
    beside = [model.with_name(f"{model.stem}{end}.ranges.json") for end in (".int8", "")]
    for path in (*beside, _TABLES / f"{model.stem}.ranges.json"):
        if path.is_file():
            table = load_ranges(path)
            if table.model_sha256 == canonical_hash(graph):
                return table
    return None


def _chosen(graph: onnx.ModelProto, manifest: Manifest, file: Path) -> ChosenGraph:
    return ChosenGraph(graph, manifest, file, sha256_of(file.read_bytes()))


def model_argument(model: Path) -> str:
    """MODEL as a user types it: the name of a shipped model, or the path."""
    name = model.stem
    return name if name in shipped_models() and resolve_model(name) == model else str(model)


def _refuse(message: str, model: Path) -> NoReturn:
    """Raise EngineError with the line that calibrates the float32 model behind ``model``."""
    stem = model.name.removesuffix(".onnx").removesuffix(".int8")
    float_model = model_argument(model.with_name(f"{stem}.onnx"))
    out = f"{float_model.removesuffix('.onnx')}.int8.onnx"
    raise EngineError(
        message,
        f"edgemtl calibrate {shlex.quote(float_model)} --images PICTURES "
        f"--out {shlex.quote(out)}, then build that file",
    )


def _command(model: Path, precision: Precision) -> str:
    return (
        f"edgemtl build {shlex.quote(model_argument(model))} --precision {precision} "
        "--out OUT.engine"
    )
