"""``edgemtl calibrate``: pictures -> range table -> INT8 models of both dialects, judged."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import edgemtl
from edgemtl.errors import CalibrationError, OutputError
from edgemtl.files import atomic_path, keep
from edgemtl.graph.dialect import DIALECTS, TRT, host_dialect
from edgemtl.graph.features import plan_quantisation
from edgemtl.graph.file import canonical_hash, load_model, save_model, with_manifest
from edgemtl.graph.foreign import dims_of
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import RangeTable, load_ranges, save_ranges
from edgemtl.manifest import Manifest
from edgemtl.progress import track
from edgemtl.quantize.collect import collect
from edgemtl.quantize.histogram import ObserverKind, make_observer
from edgemtl.quantize.images import ImageBatches, ImageSource, Split, split_images
from edgemtl.quantize.observe import Observer
from edgemtl.quantize.report import CalibrationReport, Drop, TypedModel, judge

_OTHER_OUT = "name another --out: its .trt.onnx and .ranges.json are named after it"


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """``limit`` pictures set the ranges, up to ``held_out`` others judge the result.

    ``percent`` belongs to the percentile observer. ``batch`` bounds the memory: all watched
    activations of a batch are in memory at once. ``recipe``: name of the file that said so.
    ``threads`` of the network, 0 for as many as ONNX Runtime likes.
    """

    observer: ObserverKind = "percentile"
    limit: int = 200
    held_out: int = 50
    percent: float = 99.999
    batch: int = 1
    recipe: str = ""
    threads: int = 0

    def make(self) -> Observer:
        return make_observer(self.observer, self.percent)


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """What one calibration writes: OUT, and beside it the other dialect and the table."""

    host: Path
    trt: Path
    table: Path

    @staticmethod
    def beside(out: Path) -> OutputFiles:
        """``m.int8.onnx`` -> ``m.int8.trt.onnx`` and ``m.int8.ranges.json``."""
        if out.suffix != ".onnx":
            raise OutputError(f"out: expected a name ending in .onnx, got '{out.name}'")
        stem = out.with_suffix("")
        return OutputFiles(out, Path(f"{stem}.trt.onnx"), Path(f"{stem}.ranges.json"))

    @property
    def models(self) -> tuple[Path, Path]:
        return self.host, self.trt

    def opened(self, stack: ExitStack) -> OutputFiles:
        """Temporary files that get these names when ``stack`` ends well: all of them or none."""
        names = (self.host, self.trt, self.table)
        return OutputFiles(*(stack.enter_context(atomic_path(name)) for name in names))


def calibrate(
    model: Path,
    images: ImageSource,
    out: Path,
    options: CalibrateOptions = CalibrateOptions(),
) -> CalibrationReport:
    """Measure ranges on ``images`` and write INT8 models, all of them or none.

    ``out`` gets the dialect of ONNX Runtime on this host. Raises CalibrationError for a model
    that is not float32 or that INT8 would hardly touch, or an empty picture set, DataError for a
    broken picture, OutputError before any work if nothing can be written.
    """
    files = OutputFiles.beside(Path(out))
    source = open_float(Path(model), files)
    graph, manifest = source
    options = replace(options, batch=dims_of(graph.graph.input[0])[0] or options.batch)
    split = split_images(len(images), options.limit, options.held_out)
    with ExitStack() as stack:
        places = files.opened(stack)
        batches = ImageBatches(images, split.calibrate, manifest.input, options.batch)
        ranges = measure_ranges(graph, manifest, batches, options)
        judges = ImageBatches(
            images, split.held_out or split.calibrate, manifest.input, options.batch
        )
        drops = write_all(source, ranges, places, judges, options.threads)
        report = report_of(Path(model), manifest, ranges, split, files, places, drops)
        return replace(report, copies=batches.copies)


def write_all(
    source: TypedModel,
    ranges: RangeTable,
    places: OutputFiles,
    judges: ImageBatches,
    threads: int,
) -> tuple[Drop, ...]:
    """Both INT8 graphs and their table at ``places``, and how well they agree with ``source``.

    The table names the graphs of all dialects, also of those of other machines.
    """
    made = {dialect.key: quantise_model(*source, ranges, dialect) for dialect in DIALECTS}
    graphs = {key: canonical_hash(with_manifest(*one)) for key, one in made.items()}
    save_ranges(ranges.model_copy(update={"graphs": graphs}), places.table)
    ort, for_trt = made[host_dialect().key], made[TRT.key]
    save_model(*ort, places.host)
    save_model(*for_trt, places.trt)
    return judge(source, ort, for_trt, judges, threads)


def report_of(
    model: Path,
    manifest: Manifest,
    ranges: RangeTable,
    split: Split,
    files: OutputFiles,
    places: OutputFiles,
    drops: tuple[Drop, ...],
) -> CalibrationReport:
    """What was written to ``places``, and will be called ``files``."""
    sizes = (model.stat().st_size, places.host.stat().st_size, places.trt.stat().st_size)
    return CalibrationReport(
        out=files.host,
        trt=files.trt,
        table=files.table,
        observer=ranges.observer,
        images=len(split.calibrate),
        held_out=len(split.held_out),
        tensors=len(ranges.ranges),
        sizes=sizes,
        drops=drops,
        tasks=manifest.tasks,
    )


def open_float(model: Path, files: OutputFiles) -> TypedModel:
    """A model that can be calibrated into ``files``. Raises CalibrationError or OutputError."""
    keep({"model": model}, (*files.models, files.table), _OTHER_OUT)
    graph, manifest = load_model(model)
    if manifest.precision != "fp32":
        raise CalibrationError(
            f"model: expected a float32 model, '{model}' is {manifest.precision}",
            "calibrate the float32 file that it was made from",
        )
    if manifest.adopted is not None:
        _require_reach(graph, model)
    return graph, manifest


def _require_reach(graph: onnx.ModelProto, model: Path) -> None:
    """Raise CalibrationError for a foreign network whose activations stay in float32.

    What INT8 speeds up ends at the first operator that is no feature (see graph.features), which
    may be behind the first convolution.
    """
    convs = [node for node in graph.graph.node if node.op_type == "Conv"]
    reached = plan_quantisation(GraphIndex(graph)).convs
    if 2 * len(reached) < len(convs):
        raise CalibrationError(
            f"{model}: INT8 would reach only {len(reached)} of {len(convs)} convolutions: "
            "between them are operators that stay in float32",
            f"run it in float32, or on a GPU: edgemtl build {model} --precision fp16 --out "
            f"{model.with_suffix('.engine')}",
        )


def measure_ranges(
    graph: onnx.ModelProto,
    manifest: Manifest,
    batches: ImageBatches,
    options: CalibrateOptions,
) -> RangeTable:
    """The range table of a float model over the pictures that calibrate."""
    shown = track(batches, "calibrating", len(batches))
    found = collect(graph, shown, options.make, options.threads)
    name = options.make().name
    return table_of((graph, manifest), batches, name, found.ranges, found.means, options.recipe)


def table_of(
    source: TypedModel,
    batches: ImageBatches,
    observer: str,
    ranges: dict[str, tuple[float, float]],
    means: dict[str, tuple[float, ...]],
    recipe: str = "",
) -> RangeTable:
    """A range table of what was seen of ``batches``; ``recipe``: a file's name, if there is one."""
    graph, manifest = source
    height, width = manifest.input.size_hw
    return RangeTable(
        model=manifest.name,
        model_sha256=canonical_hash(graph),
        observer=observer,
        images=len(batches.indices),
        content_sha256=batches.content_sha256,
        ranges=ranges,
        means=means,
        letterbox=f"{width}x{height}, pad {manifest.input.pad}",
        recipe=recipe,
        versions={m.__name__: m.__version__ for m in (edgemtl, np, onnx, onnxruntime)},
    )


def rebuild(model: Path, table: Path, out: Path) -> OutputFiles:
    """Both INT8 graphs again from a frozen table, without pictures; both are written or none.

    The table is not written again. Raises CalibrationError if it belongs to another model, and if
    what comes of it is not what it says; OutputError if the model or the table would be lost.
    """
    files = OutputFiles.beside(Path(out))
    keep({"model": Path(model), "table": Path(table)}, files.models, _OTHER_OUT)
    source = load_model(model)
    ranges = load_ranges(table)
    with ExitStack() as stack:
        host, trt = (stack.enter_context(atomic_path(path)) for path in files.models)
        for dialect, path in ((host_dialect(), host), (TRT, trt)):
            made = quantise_model(*source, ranges, dialect)
            known = ranges.graphs.get(dialect.key)
            if known is not None and known != canonical_hash(with_manifest(*made)):
                raise CalibrationError(
                    f"{table}: its {dialect.key} graph is another than this version of edgemtl "
                    "makes of it",
                    "calibrate again, or take the version that the table names: "
                    f"{ranges.versions.get('edgemtl', 'not noted')}",
                )
            save_model(*made, path)
    return OutputFiles(files.host, files.trt, Path(table))
