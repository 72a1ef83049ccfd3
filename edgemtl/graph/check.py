"""What a graph must be before it leaves: valid, true to its manifest, readable by every backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference

from edgemtl.errors import ModelError
from edgemtl.manifest import Manifest, TensorInfo, check_against_graph

OPSET = 19
"""Allows float16 scales of Q/DQ; TensorRT 10.3 (JetPack 6) reads up to opset 20."""
IR_VERSION = 10

# Operators that TensorRT 10.3's parser takes with the types below. The list holds what edgemtl
# emits or passes through, not all that TensorRT can do; RTX takes more than Jetson's TensorRT.
OPERATORS = frozenset(
    [
        "Add", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Constant", "Conv",
        "DequantizeLinear", "Div", "Equal", "Erf", "Exp", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Gemm", "GlobalAveragePool", "Greater", "GridSample",
        "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "Log", "MatMul", "Max",
        "MaxPool", "Min", "Mul", "Neg", "Pad", "Pow", "QuantizeLinear", "ReduceL2",
        "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid",
        "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "TopK", "Transpose",
        "Unsqueeze", "Where"
    ]
)  # fmt: skip
_ANY_BACKEND = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.INT8,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.BOOL,
    }
)
# the ONNX Runtime dialect is never given to TensorRT, so it may use unsigned bytes
_TYPES = {"none": _ANY_BACKEND, "trt": _ANY_BACKEND, "ort": _ANY_BACKEND | {TensorProto.UINT8}}


def prove_contract(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    """Raise ModelError, naming ``where``, unless the graph is valid and fits its manifest."""
    _checked(model, where)
    check_against_graph(
        manifest,
        [_tensor_info(value) for value in model.graph.input],
        [_tensor_info(value) for value in model.graph.output],
        where,
    )


def prove_emitted(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    """As :func:`prove_contract`; the opset, operators and types must suit every backend as well.

    An adopted detector keeps its own operators: the backend that cannot read one says so.
    """
    prove_contract(model, manifest, where)
    if manifest.adopted is not None:
        return
    for what in refusals(model, manifest.dialect):
        _refuse(where, what)


def refusals(model: onnx.ModelProto, dialect: str = "none") -> Iterator[str]:
    """Why TensorRT 10.3 may not read a valid graph: opset, operators and types, each told once.

    ``dialect``: that of ONNX Runtime is never given to TensorRT, and may use unsigned bytes.
    """
    for opset in model.opset_import:
        if opset.domain not in {"", "ai.onnx"}:
            yield f"uses the operator domain '{opset.domain}', expected only 'ai.onnx'"
        elif opset.version > OPSET:
            yield f"has opset {opset.version}, expected at most {OPSET}"
    if model.ir_version > IR_VERSION:
        yield f"has IR version {model.ir_version}, expected at most {IR_VERSION}"
    for kind in dict.fromkeys(node.op_type for node in model.graph.node):
        if kind not in OPERATORS:
            yield f"holds the operator {kind}, which TensorRT 10.3 may not read"
    seen = set(_TYPES[dialect])
    for name, found in _tensor_types(model):
        if found not in seen:
            seen.add(found)
            dtype = TensorProto.DataType.Name(found).lower()
            yield f"has the tensor '{name}' of type {dtype}, which not every backend reads"


def _checked(model: onnx.ModelProto, where: str) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{where}: not a valid ONNX graph: {first}", "export the model again"
        ) from error


def _tensor_types(model: onnx.ModelProto) -> Iterator[tuple[str, Any]]:
    graph = shape_inference.infer_shapes(model).graph
    yield from ((t.name, t.data_type) for t in graph.initializer)
    values = (*graph.input, *graph.value_info, *graph.output)
    yield from ((v.name, v.type.tensor_type.elem_type) for v in values)


def _refuse(where: str, what: str) -> None:
    raise ModelError(
        f"{where}: the graph {what}", "nothing was written; leave that operation out of the network"
    )


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    if kind.elem_type == TensorProto.UNDEFINED:
        return TensorInfo(value.name, "undefined", shape)
    return TensorInfo(value.name, helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape)
