"""Checkpoint -> one self-describing ONNX file, proven equal to torch before it is written."""

from __future__ import annotations

import copy
import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgemtl.errors import ConfigError, ModelError
from edgemtl.export_parity import Differences, check_parity
from edgemtl.graph.file import OPSET, save_model
from edgemtl.manifest import Manifest
from edgemtl.nn.blocks import fold_batch_norm
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.heads import STRIDES
from edgemtl.nn.network import PIXEL_ZERO, MultiTaskNetwork


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and the largest differences between torch and ONNX that were seen."""

    path: Path
    size_bytes: int
    largest: Differences

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "largest_difference": asdict(self.largest),
        }


class _Graph(nn.Module):
    """The exported function: int8 pixels to the manifest's outputs ``names``, in their order."""

    def __init__(self, network: MultiTaskNetwork, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.network.select(images.float() * (1.0 / PIXEL_ZERO))
        return tuple(found[name] for name in self.names)


def export_checkpoint(
    checkpoint: Path, out: Path, *, size_hw: tuple[int, int] | None = None
) -> ExportReport:
    """Export a checkpoint to ``out``; ``size_hw`` deploys another input size than trained.

    Raises ModelError, and writes nothing, if ONNX Runtime and torch disagree after decoding.
    """
    network, manifest = load_network(checkpoint)
    return export_network(network, manifest, out, size_hw=size_hw)


def export_network(
    network: MultiTaskNetwork,
    manifest: Manifest,
    out: Path,
    *,
    size_hw: tuple[int, int] | None = None,
) -> ExportReport:
    """As :func:`export_checkpoint`, for a network in memory, which is left as it was."""
    size_hw = size_hw or manifest.input.size_hw
    if any(side < STRIDES[-1] or side % STRIDES[-1] for side in size_hw):
        raise ConfigError(
            f"size: expected multiples of {STRIDES[-1]}, got {size_hw[0]}x{size_hw[1]}"
        )
    anchors = sum((size_hw[0] // s) * (size_hw[1] // s) for s in STRIDES)
    manifest = manifest.model_copy(
        update={
            "input": manifest.input.model_copy(update={"size_hw": size_hw}),
            "top_k": min(network.config.top_k, anchors),
        }
    )
    folded = copy.deepcopy(network).cpu().eval()
    fold_batch_norm(folded)
    model = _to_onnx(folded, manifest)
    largest = check_parity(folded, model, manifest, out)
    save_model(model, manifest, out)
    return ExportReport(out, out.stat().st_size, largest)


def _to_onnx(network: MultiTaskNetwork, manifest: Manifest) -> onnx.ModelProto:
    """Trace the inference path and give it the contract's front, names and symbolic batch."""
    example = torch.zeros(2, 3, *manifest.input.size_hw, dtype=torch.int8)
    names = list(manifest.expected_outputs())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations are not the user's
        program = torch.onnx.export(
            _Graph(network, names).eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=names,
            dynamic_shapes={"images": {0: torch.export.Dim("N", min=1, max=1024)}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _dequantize_front(model)
    _tidy(model, manifest)
    return model


def _dequantize_front(model: onnx.ModelProto) -> None:
    """Replace the traced ``Cast -> Mul`` by ``DequantizeLinear(1/128, 0)``: the normalisation."""
    graph = model.graph
    cast = next((n for n in graph.node if n.op_type == "Cast" and n.input[0] == "images"), None)
    scale = next(
        (
            n
            for n in graph.node
            if cast is not None and n.op_type == "Mul" and n.input[0] == cast.output[0]
        ),
        None,
    )
    if cast is None or scale is None:
        raise ModelError(
            "export: the traced graph does not start as expected (Cast, Mul)",
            f"report this with the version of torch ({torch.__version__})",
        )
    front = helper.make_node(
        "DequantizeLinear",
        ["images", "images_scale", "images_zero_point"],
        [scale.output[0]],
        name="normalise",
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(1.0 / PIXEL_ZERO, np.float32), "images_scale"),
            numpy_helper.from_array(np.array(0, np.int8), "images_zero_point"),
        ]
    )
    graph.node.remove(cast)
    graph.node.remove(scale)
    graph.node.insert(0, front)


def _tidy(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Drop the exporter's traces of this machine, and state the shapes that the contract fixes."""
    graph = model.graph
    graph.name = manifest.name
    model.producer_name, model.producer_version = "edgemtl", manifest.edgemtl_version
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:], model.functions[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    used = {name for node in graph.node for name in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    shape: list[str | int | None] = ["N", 3, *manifest.input.size_hw]
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.INT8, shape))
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    for name, (dtype, rest) in manifest.expected_outputs().items():
        graph.output.append(helper.make_tensor_value_info(name, kinds[dtype], ["N", *rest]))
