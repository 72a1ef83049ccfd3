"""The contract between training, export, quantisation and the runtime, as one JSON object.

It travels inside the ONNX file (``metadata_props``, key :data:`METADATA_KEY`) and beside every
engine, so a model file describes itself and no number is typed twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from edgemtl.errors import ModelError
from edgemtl.manifest_tasks import Attribute, FurtherTask

CONTRACT_VERSION: Final = 1
METADATA_KEY = "edgemtl.manifest"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Frozen):
    """How a picture becomes the tensor ``images``.

    A source pixel p (0 to 255) is stored as ``dtype(p * scale + offset)``; the graph itself holds
    the rest of the normalisation, (p - 128) / 128 in edgemtl's own networks.
    """

    size_hw: tuple[int, int]
    dtype: Literal["int8", "uint8", "float32"] = "int8"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0
    offset: float = -128.0
    pad: int = Field(default=128, ge=0, le=255, description="letterbox pad, a source pixel level")
    align: Literal["center", "top_left"] = "center"


class DataSource(_Frozen):
    """A data set that took part, and what its licence allows."""

    name: str = Field(description="as people know it")
    role: Literal["train", "pretrain", "distil", "validate"] = Field(description="its part")
    licence: str = Field(description="in words")
    images: int | None = Field(default=None, description="how many of it")


class IdentitySource(_Frozen):
    """Identities that the embeddings were trained on: ``ranges``, first and last, of the numbers
    in one source of annotations (see :mod:`edgemtl.data.identities`).
    """

    source: str
    ranges: tuple[tuple[int, int], ...]


class CalibrationRecord(_Frozen):
    """Where INT8 ranges came from."""

    images: int
    content_sha256: str = Field(description="hash over the sorted hashes of the image contents")
    observer: str
    table_sha256: str


class Adopted(_Frozen):
    """How the one output of another project's detector is read, whose name and size are its own.

    ``decode`` of the manifest names the layout, per picture: ``yolox`` [anchors, 5 + classes],
    ``yolov8`` [4 + classes, anchors], ``n6`` [anchors, 6]. The graph does not select: boxes are
    suppressed in the runtime, and ``top_k`` is the most that it reports.
    """

    output: str
    anchors: int = Field(ge=1)
    grid: bool = Field(
        default=False, description="yolox: boxes are offsets within grid cells, not yet pixels"
    )
    nms_iou: float | None = Field(default=None, ge=0, le=1, description="None: no suppression")
    class_agnostic: bool = Field(default=False, description="suppress across classes")


class Manifest(_Frozen):
    """The whole contract. A task that a model lacks has no classes (or no width) and no output."""

    contract: Literal[1] = CONTRACT_VERSION
    name: str
    input: InputSpec
    decode: Literal["edgemtl", "yolox", "yolov8", "n6"] = "edgemtl"
    adopted: Adopted | None = Field(default=None, description="of every kind but edgemtl's own")
    classes: tuple[str, ...] = Field(default=(), description="object classes, label = position")
    image_classes: tuple[str, ...] = ()
    embedding_dim: int | None = None
    attributes: tuple[Attribute, ...] = Field(default=(), description="of every object")
    further: tuple[FurtherTask, ...] = Field(default=(), description="handed on as arrays")
    top_k: int = Field(default=100, ge=1)
    min_score: float = Field(default=0.3, ge=0, le=1, description="the default of the runtime")
    precision: Literal["fp32", "fp16", "int8", "mixed"] = "fp32"
    dialect: Literal["none", "trt", "ort"] = "none"
    data: tuple[DataSource, ...] = ()
    identities: tuple[IdentitySource, ...] = Field(
        default=(), description="seen in training; empty: not known, or none"
    )
    weights_licence: str = "Apache-2.0"
    calibration: CalibrationRecord | None = None
    edgemtl_version: str = ""

    @model_validator(mode="after")
    def _adopted_or_own(self) -> Manifest:
        if self.adopted is not None and self.decode == "edgemtl":
            raise ValueError("a model of edgemtl's own kind is not adopted")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What says nothing is left out: such files stay as the first release reads them."""
        fields: dict[str, Any] = handler(self)
        for name in ("adopted", "attributes", "further", "identities"):
            if not getattr(self, name):
                fields.pop(name, None)
        return fields

    @property
    def tasks(self) -> tuple[str, ...]:
        """What this model does: ``detect``, ``classify``, ``embed``, ``attributes``, and others."""
        present = {
            "detect": bool(self.classes),
            "classify": bool(self.image_classes),
            "embed": self.embedding_dim is not None,
            "attributes": bool(self.attributes),
        }
        known = tuple(task for task, has in present.items() if has)
        return (*known, *(task.name for task in self.further))

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; equal manifests give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def expected_outputs(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Output name -> (dtype, shape after the batch dimension) of the graph, in order."""
        if self.adopted is not None:
            anchors, classes = self.adopted.anchors, len(self.classes)
            shapes = {
                "yolox": (anchors, 5 + classes),
                "yolov8": (4 + classes, anchors),
                "n6": (anchors, 6),
            }
            return {self.adopted.output: ("float32", shapes[self.decode])}
        outputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        if self.classes:
            outputs["boxes"] = ("float32", (self.top_k, 4))
            outputs["scores"] = ("float32", (self.top_k,))
            outputs["labels"] = ("int32", (self.top_k,))
        if self.embedding_dim is not None:
            outputs["embeddings"] = ("float32", (self.top_k, self.embedding_dim))
        for attribute in self.attributes:
            outputs[attribute.output] = ("float32", (self.top_k, len(attribute.values)))
        if self.image_classes:
            outputs["image_probs"] = ("float32", (len(self.image_classes),))
        for task in self.further:
            for output in task.outputs:
                sizes = output.sizes(self.input.size_hw, self.top_k)
                outputs[output.name] = (output.dtype, sizes)
        return outputs


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a backend says of one input or output; a symbolic dimension is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def parse_manifest(text: str, where: str) -> Manifest:
    """Manifest from its JSON text. Raises ModelError, naming ``where``, if it is malformed."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ModelError(
            f"{where}: the manifest's '{field}' is wrong: {first['msg'].lower()}",
            f"export the model again (this edgemtl reads contract version {CONTRACT_VERSION})",
        ) from error


def manifest_from_metadata(metadata: Mapping[str, str], where: str) -> Manifest:
    """Manifest from an ONNX file's metadata. Raises ModelError if there is none."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{where}: an ONNX file without an edgemtl manifest",
            "export it with 'edgemtl export', or adopt a detector of another project: "
            "edgemtl info MODEL.onnx --adopt OUT.onnx --decode yolox|yolov8|n6 --classes names.txt",
        )
    return parse_manifest(text, where)


def check_against_graph(
    manifest: Manifest,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    where: str,
) -> None:
    """Raise ModelError at the first point where the manifest and the graph's own words differ.

    A manifest of another kind that does not say how to read the outputs says nothing of them.
    """
    again = "export it again" if manifest.adopted is None else "adopt the original again"
    hint = f"the file was changed after its manifest was written; {again}"

    def refuse(what: str, said: object, found: object) -> None:
        raise ModelError(f"{where}: manifest says {what} {said}, the graph has {found}", hint)

    if len(inputs) != 1:
        refuse("one input, the graph's inputs are", "'images'", [t.name for t in inputs])
    image = inputs[0]
    if image.dtype != manifest.input.dtype:
        refuse("an input of", manifest.input.dtype, image.dtype)
    if image.shape[1:] != (3, *manifest.input.size_hw):
        refuse("an input shape", ["N", 3, *manifest.input.size_hw], list(image.shape))
    if manifest.decode != "edgemtl" and manifest.adopted is None:
        return
    expected = manifest.expected_outputs()
    found = {t.name: t for t in outputs}
    if set(found) != set(expected):
        refuse("the outputs", sorted(expected), sorted(found))
    for name, (dtype, shape) in expected.items():
        if found[name].dtype != dtype or found[name].shape[1:] != shape:
            refuse(
                f"{name}",
                f"{dtype} {['N', *shape]}",
                f"{found[name].dtype} {list(found[name].shape)}",
            )
