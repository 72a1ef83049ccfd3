"""Graphs of other projects, made readable: one input of a known size, one output, one opset."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import onnx
from onnx import NodeProto, TensorProto, version_converter

from edgemtl.errors import ModelError
from edgemtl.graph.check import IR_VERSION, OPSET

Dims = tuple[int | None, ...]
_INTEGER = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"})


def upgraded(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy at edgemtl's opset, or the graph as it is where its own is as new or newer.

    Raises ModelError if onnx cannot convert one of its operators.
    """
    opset = opset_of(model)
    out = onnx.ModelProto()
    out.CopyFrom(model)
    if opset >= OPSET:
        return out
    _hide_constant_inputs(out)
    try:
        out = version_converter.convert_version(out, OPSET)
    except Exception as error:  # the converter raises RuntimeError, IndexError and its own
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{where}: onnx cannot bring it from opset {opset} to {OPSET}: {reason}",
            f"export the original with opset {OPSET}",
        ) from error
    out.ir_version = max(model.ir_version, IR_VERSION)
    del out.graph.value_info[:]
    return out


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=1)


def precision_of(model: onnx.ModelProto) -> Literal["fp32", "fp16", "int8"]:
    """By the operators and by what most of the weights are stored in."""
    if any(node.op_type in _INTEGER for node in model.graph.node):
        return "int8"
    sizes = {TensorProto.FLOAT: 0, TensorProto.FLOAT16: 0}
    for tensor in model.graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type] += math.prod(tensor.dims)
    return "fp16" if sizes[TensorProto.FLOAT16] > sizes[TensorProto.FLOAT] else "fp32"


def the_image(model: onnx.ModelProto, where: str) -> onnx.ValueInfoProto:
    """The one input: float32 [batch, 3, height, width], in place. Raises ModelError for others."""
    _hide_constant_inputs(model)
    inputs: list[onnx.ValueInfoProto] = list(model.graph.input)
    if len(inputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in inputs)
        raise ModelError(
            f"{where}: expected one input, the picture, got {names}",
            "adopt a detector that takes nothing but a picture",
        )
    kind, dims = inputs[0].type.tensor_type, dims_of(inputs[0])
    if kind.elem_type != TensorProto.FLOAT:
        found = TensorProto.DataType.Name(kind.elem_type).lower()
        raise ModelError(
            f"{where}: expected float32 pixels at '{inputs[0].name}', got {found}",
            "export the original in float32 (without half=True); 'edgemtl build' makes FP16",
        )
    if len(dims) != 4 or dims[1] not in {3, None}:
        raise ModelError(
            f"{where}: expected pictures [N, 3, height, width] at '{inputs[0].name}', "
            f"got {_shown(dims)}",
            "export the original with planes before rows (NCHW)",
        )
    return inputs[0]


def fix_size(image: onnx.ValueInfoProto, size_hw: tuple[int, int] | None, where: str) -> None:
    """Write height and width into the input: those of the graph, or ``size_hw`` where it leaves
    them open. Raises ModelError if they are missing or differ."""
    dims = dims_of(image)
    wanted = size_hw or (None, None)
    final = []
    for have, want in zip(dims[2:], wanted, strict=True):
        if have is not None and want is not None and have != want:
            raise ModelError(
                f"{where}: the graph takes pictures of {dims[2]}x{dims[3]}, not "
                f"{wanted[0]}x{wanted[1]}",
                "leave --size out, or export the original at that size",
            )
        final.append(have or want)
    if None in final:
        raise ModelError(
            f"{where}: the graph leaves the size of its pictures open: {_shown(dims)}",
            "say it with --size HEIGHTxWIDTH, for example --size 640x640",
        )
    _write_dims(image, (dims[0], 3, final[0], final[1]))


def keep_output(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> None:
    """Leave one output, f32 [batch as the input's, *shape], and only the nodes that it needs."""
    batch = dims_of(model.graph.input[0])[0]
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    _write_dims(value, (batch, *shape))
    _write_dims(model.graph.input[0], (batch, *dims_of(model.graph.input[0])[1:]))
    needed, kept = {name}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_reads(node))
    constants = [t for t in model.graph.initializer if t.name in needed]
    kept.reverse()
    del model.graph.node[:], model.graph.initializer[:], model.graph.output[:]
    del model.graph.value_info[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(constants)
    model.graph.output.append(value)


def dims_of(value: onnx.ValueInfoProto) -> Dims:
    """Sizes; None where the graph leaves one open."""
    return tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
        for d in value.type.tensor_type.shape.dim
    )


def _write_dims(value: onnx.ValueInfoProto, dims: Dims) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in dims:
        if size is None:
            shape.dim.add(dim_param="N")
        else:
            shape.dim.add(dim_value=size)


def _hide_constant_inputs(model: onnx.ModelProto) -> None:
    """Before IR version 4 every initialiser had to be listed as an input, too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)


def _reads(node: NodeProto) -> Iterator[str]:
    """Names that a node reads, and that the graphs inside it (If, Loop) read of the outer one."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


def _shown(dims: Dims) -> list[int | str]:
    return ["?" if size is None else size for size in dims]
