"""``edgemtl info --adopt``: another project's ONNX detector -> a copy with edgemtl's manifest.

The graph is run once on a picture of noise: only what comes out says how large an open shape is,
whether scores are probabilities, and whether the boxes of a YOLOX graph are pixels already.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import edgemtl
from edgemtl.adopt.layout import check_grid, check_scores, choose_output, is_grid
from edgemtl.adopt.names import known_names
from edgemtl.errors import ConfigError, ModelError, OutputError
from edgemtl.graph.file import read_graph, save_model
from edgemtl.graph.foreign import (
    dims_of,
    fix_size,
    keep_output,
    opset_of,
    precision_of,
    the_image,
    upgraded,
)
from edgemtl.manifest import METADATA_KEY, Adopted, InputSpec, Manifest, parse_manifest

Decode = Literal["yolox", "yolov8", "n6"]
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Conventions:
    """What the projects of one decode kind give their networks, and how they suppress."""

    channels: Literal["rgb", "bgr"]
    scale: float
    align: Literal["center", "top_left"]
    nms_iou: float | None
    top_k: int
    pad: int = 114
    offset: float = 0.0


CONVENTIONS: dict[Decode, Conventions] = {
    "yolox": Conventions("bgr", 1.0, "top_left", nms_iou=0.45, top_k=300),
    "yolov8": Conventions("rgb", 1 / 255, "center", nms_iou=0.7, top_k=300),
    "n6": Conventions("rgb", 1 / 255, "center", nms_iou=None, top_k=300),
}


@dataclass(frozen=True, slots=True)
class AdoptOptions:
    """How to read the detector. None: the convention of its kind, or what the file says.

    ``scale``, ``offset``: a pixel p (0 to 255) enters as p * scale + offset. ``nms_iou`` 1 turns
    suppression off. ``output`` chooses among several outputs that fit.
    """

    decode: Decode
    classes: tuple[str, ...] | None = None
    size_hw: tuple[int, int] | None = None
    channels: Literal["rgb", "bgr"] | None = None
    scale: float | None = None
    offset: float | None = None
    pad: int | None = None
    align: Literal["center", "top_left"] | None = None
    nms_iou: float | None = None
    class_agnostic: bool = False
    min_score: float = 0.3
    output: str | None = None
    licence: str = NOT_STATED


@dataclass(frozen=True, slots=True)
class AdoptReport:
    """What was written. ``opset``: of the original and of the copy."""

    out: Path
    manifest: Manifest
    opset: tuple[int, int]
    batch: int | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.out,
            "manifest": self.manifest.model_dump(mode="json"),
            "opset": {"original": self.opset[0], "adopted": self.opset[1]},
            "batch": self.batch,
        }


def adopt(model: Path, out: Path, options: AdoptOptions) -> AdoptReport:
    """Write ``out``: ``model`` with a manifest, one output, edgemtl's opset. Whole or not at all.

    Raises ModelError for a graph that does not fit the decode kind, the classes or the size,
    ConfigError for options that cannot be meant, OutputError where nothing can be written.
    """
    model, out = Path(model), Path(out)
    if out.suffix != ".onnx":
        raise OutputError(f"--adopt: expected a name ending in .onnx, got '{out.name}'")
    if out.absolute() == model.absolute():
        raise OutputError(f"--adopt: '{out}' is the model itself", "name another file")
    original, where = read_graph(model), str(model)
    _refuse_own(original, where)
    classes = options.classes or known_names(original, where)
    graph = upgraded(original, where)
    image = the_image(graph, where)
    fix_size(image, options.size_hw, where)
    _refuse_batches(image, where)
    spec = _input_spec(image, options)
    found = _probe(graph, image, spec, where)
    named = options.classes is None
    name = choose_output(found, options.decode, len(classes), options.output, where, named)
    _same_as_before(original, graph, name, found[name], spec, where)
    manifest = _manifest(out, options, spec, classes, name, found[name], where)
    keep_output(graph, name, found[name].shape[1:])
    manifest = manifest.model_copy(update={"precision": precision_of(graph)})
    save_model(graph, manifest, out)
    batch = dims_of(graph.graph.input[0])[0]
    return AdoptReport(out, manifest, (opset_of(original), opset_of(graph)), batch)


def _refuse_own(model: onnx.ModelProto, where: str) -> None:
    """Raise ModelError for edgemtl's own models; what was adopted may be adopted anew."""
    text = {p.key: p.value for p in model.metadata_props}.get(METADATA_KEY)
    if text is not None and parse_manifest(text, where).decode == "edgemtl":
        raise ModelError(
            f"{where}: has its manifest already, it is edgemtl's own", f"edgemtl info {where}"
        )


def _refuse_batches(image: onnx.ValueInfoProto, where: str) -> None:
    """Raise ModelError for a graph that always takes several pictures: a video's come singly."""
    fixed = dims_of(image)[0]
    if fixed is not None and fixed > 1:
        raise ModelError(
            f"{where}: the graph takes exactly {fixed} pictures at a time",
            "export the original with an open batch, or with a batch of 1",
        )


def _input_spec(image: onnx.ValueInfoProto, options: AdoptOptions) -> InputSpec:
    usual, (height, width) = CONVENTIONS[options.decode], dims_of(image)[2:]
    assert height is not None
    assert width is not None

    def chosen(name: str) -> Any:
        value = getattr(options, name)
        return getattr(usual, name) if value is None else value

    if not np.isfinite([chosen("scale"), chosen("offset")]).all() or chosen("scale") == 0:
        raise ConfigError(
            f"--scale, --offset: expected finite numbers and a scale that is not 0, got "
            f"{chosen('scale')}, {chosen('offset')}",
            "a pixel p (0 to 255) enters the network as p * scale + offset",
        )
    return InputSpec(
        size_hw=(height, width),
        dtype="float32",
        channels=chosen("channels"),
        scale=chosen("scale"),
        offset=chosen("offset"),
        pad=chosen("pad"),
        align=chosen("align"),
    )


def _manifest(
    out: Path,
    options: AdoptOptions,
    spec: InputSpec,
    classes: tuple[str, ...],
    name: str,
    values: NDArray[np.float32],
    where: str,
) -> Manifest:
    usual, anchors = CONVENTIONS[options.decode], values.shape[1]
    if options.decode == "yolov8":
        anchors = values.shape[2]
    check_scores(values, options.decode, len(classes), name, where)
    grid = options.decode == "yolox" and is_grid(values, spec.size_hw)
    if grid:
        check_grid(anchors, spec.size_hw, name, where)
    nms_iou = usual.nms_iou if options.nms_iou is None else options.nms_iou
    return Manifest(
        name=out.stem,
        input=spec,
        decode=options.decode,
        adopted=Adopted(
            output=name,
            anchors=anchors,
            grid=grid,
            nms_iou=None if nms_iou == 1 else nms_iou,
            class_agnostic=options.class_agnostic,
        ),
        classes=classes,
        top_k=min(usual.top_k, anchors),
        min_score=options.min_score,
        weights_licence=options.licence,
        edgemtl_version=edgemtl.__version__,
    )


def _noise(spec: InputSpec) -> NDArray[np.float32]:
    """Blocky noise, as the network takes it: every stride sees structure."""
    random, (height, width) = np.random.default_rng(0), spec.size_hw
    coarse = random.integers(0, 256, (1, 3, -(-height // 16), -(-width // 16)))
    levels = coarse.repeat(16, 2).repeat(16, 3)[:, :, :height, :width]
    return (levels * spec.scale + spec.offset).astype(np.float32)


def _probe(
    graph: onnx.ModelProto, image: onnx.ValueInfoProto, spec: InputSpec, where: str
) -> dict[str, NDArray[Any]]:
    """Every output for one picture of noise."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {image.name: _noise(spec)}), strict=True))
    except Exception as error:  # ONNX Runtime raises classes of its own, without a base
        raise ModelError(
            f"{where}: ONNX Runtime cannot run it: {' '.join(str(error).split())[:200]}",
            "try the original with ONNX Runtime alone, at this size",
        ) from error


def _same_as_before(
    original: onnx.ModelProto,
    graph: onnx.ModelProto,
    name: str,
    values: NDArray[Any],
    spec: InputSpec,
    where: str,
) -> None:
    """Raise ModelError if the change of opset changed what the graph computes."""
    if opset_of(original) == opset_of(graph):
        return
    image = the_image(original, where)
    fix_size(image, spec.size_hw, where)
    before = _probe(original, image, spec, where)[name]
    if before.shape != values.shape or not np.allclose(before, values, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"{where}: from opset {opset_of(original)} to {opset_of(graph)} it changed its results",
            f"export the original with opset {opset_of(graph)}",
        )
