"""Explicit Q/DQ: float graph + range table -> INT8 graph of one dialect."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgemtl.errors import CalibrationError
from edgemtl.graph.dialect import Dialect, activation_parameters
from edgemtl.graph.features import QuantisationPlan, activation_of, plan_quantisation
from edgemtl.graph.file import canonical_hash
from edgemtl.graph.fp16 import fits_fp16, halve_quantised
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.ranges import RangeTable
from edgemtl.graph.weights import integer_bias, quantise_convolution
from edgemtl.manifest import CalibrationRecord, Manifest


def quantisable_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """The activations whose ranges :func:`insert_qdq` asks for, in graph order."""
    return plan_quantisation(GraphIndex(model)).tensors


def corrected_inputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """The inputs of convolutions whose channel means bias correction asks for, in graph order."""
    convs = plan_quantisation(GraphIndex(model)).convs
    return tuple(dict.fromkeys(node.input[0] for node in convs))


def quantise_model(
    model: onnx.ModelProto, manifest: Manifest, ranges: RangeTable, dialect: Dialect
) -> tuple[onnx.ModelProto, Manifest]:
    """The INT8 graph and its manifest. Raises CalibrationError if the table is another model's."""
    require_table_of(model, ranges)
    quantised = insert_qdq(model, ranges, dialect)
    spec = manifest.input
    if dialect.activation == "uint8" and spec.dtype == "int8":
        spec = spec.model_copy(update={"dtype": "uint8", "offset": spec.offset + 128})
    record = CalibrationRecord(
        images=ranges.images,
        content_sha256=ranges.content_sha256,
        observer=ranges.observer,
        table_sha256=ranges.sha256,
    )
    changes = {
        "input": spec,
        "precision": "mixed" if ranges.float_layers else "int8",
        "dialect": dialect.name,
        "calibration": record,
    }
    return quantised, manifest.model_copy(update=changes)


def require_table_of(model: onnx.ModelProto, ranges: RangeTable) -> None:
    """Raise CalibrationError if the table is another model's."""
    found = canonical_hash(model)
    if found != ranges.model_sha256:
        raise CalibrationError(
            f"ranges: the table belongs to another model ('{ranges.model}', "
            f"{ranges.model_sha256[:12]}) than this ('{model.graph.name}', {found[:12]})",
            "calibrate this model again",
        )


def insert_qdq(model: onnx.ModelProto, ranges: RangeTable, dialect: Dialect) -> onnx.ModelProto:
    """A copy of a float model with Q/DQ around its features; ``ranges`` in real units.

    Every activation is quantised where it is made, so that sums, pooling, resizing and
    concatenation run on integers too. Weights are symmetric per output channel. Coordinates and
    logits stay float32, and so do other features that float16 does not hold.
    Raises CalibrationError for a missing range and for a model without convolutions.
    """
    index = GraphIndex(model)
    plan = plan_quantisation(index, ranges.float_layers, dialect.share_concat)
    if not plan.convs:
        raise CalibrationError(
            "model: no convolution with constant weights to quantise",
            "INT8 makes sense for convolutional networks",
        )
    if dialect.half:
        # what lies between layers in float is not in the plan, and float16 must hold it, too
        every = (t for t in plan_quantisation(index).tensors if t in ranges.ranges)
        largest = max(map(abs, ranges.span(tuple(dict.fromkeys((*plan.tensors, *every))))))
        dialect = replace(dialect, half=fits_fp16(index, largest))
    made = _Rewriter(index, plan, ranges, dialect).rewrite(model)
    return halve_quantised(made, index) if dialect.half else made


@dataclass
class _Rewriter:
    """One pass over the nodes. A quantised tensor keeps its name behind DequantizeLinear; its
    maker's output becomes ``<name>/float``, so that readers need no change."""

    index: GraphIndex
    plan: QuantisationPlan
    ranges: RangeTable
    dialect: Dialect
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    scales: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def rewrite(self, model: onnx.ModelProto) -> onnx.ModelProto:
        out = onnx.ModelProto()
        out.CopyFrom(model)
        convs = {node.output[0] for node in self.plan.convs}
        tensors = set(self.plan.tensors) - self._lean_branches()
        for name in sorted(self.index.inputs & tensors):
            self._quantise(name, name, f"{name}/dequantised")
            self.renamed[name] = f"{name}/dequantised"
        for original in self.index.nodes:
            node = NodeProto()
            node.CopyFrom(original)
            node.input[:] = [self.renamed.get(name, name) for name in node.input]
            if node.op_type == "DequantizeLinear" and node.input[0] in self.index.inputs:
                self._front(node, out)
            if original.output[0] in convs:
                self._weights(original, node)
            elif node.op_type == "Conv" and self.dialect.guard_floats:
                self._guard(node)
            for slot, name in enumerate(original.output):
                if name in tensors:
                    node.output[slot] = f"{name}/float"
            if not self._absorbed(original, tensors):
                self.nodes.append(node)
            for name in original.output:
                if name in tensors:
                    self._quantise(f"{name}/float", name, name)
        return self._assemble(out)

    def _quantise(self, source: str, range_of: str, target: str) -> None:
        """``source`` -> QuantizeLinear -> DequantizeLinear -> ``target``."""
        scale, zero = self._parameters(range_of)
        self.scales[target] = scale
        parts = (("scale", scale), ("zero", zero))
        names = [self._constant(f"{range_of}/{part}", value) for part, value in parts]
        middle = f"{range_of}/quantised"
        self.nodes.append(helper.make_node("QuantizeLinear", [source, *names], [middle]))
        self.nodes.append(helper.make_node("DequantizeLinear", [middle, *names], [target]))

    def _parameters(self, tensor: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
        low, high = self.ranges.span(self.plan.shared.get(tensor, (tensor,)))
        return activation_parameters(low, high, self.dialect)

    def _front(self, node: NodeProto, out: onnx.ModelProto) -> None:
        """The normalising DequantizeLinear: int8 pixels as they are, or uint8 with zero + 128."""
        scale, zero = self.index.value(node.input[1]), np.array(0, np.int8)
        if len(node.input) > 2:
            zero = self.index.value(node.input[2])
        if self.dialect.activation == "uint8" and zero.dtype == np.int8:
            zero = (zero.astype(np.int32) + 128).astype(np.uint8)
            image = next(v for v in out.graph.input if v.name == node.input[0])
            image.type.tensor_type.elem_type = TensorProto.UINT8
        zero_name = self._constant(f"{node.input[0]}/zero", zero)
        node.input[:] = [node.input[0], node.input[1], zero_name]
        self.scales[node.output[0]] = scale

    def _guard(self, conv: NodeProto) -> None:
        """Let a float convolution read its quantised input through a DequantizeLinear of its own,
        with the same scale for each channel (see Dialect.guard_floats)."""
        made = next((n for n in self.nodes if conv.input[0] in n.output), None)
        if made is None or made.op_type != "DequantizeLinear":
            return
        channels = self.index.value(conv.input[1]).shape[1]
        group = next((a.i for a in conv.attribute if a.name == "group"), 1)
        own = f"{conv.output[0]}/own"
        names = [made.input[0]]
        for kind, name in zip(("scale", "zero"), made.input[1:], strict=False):
            value = next((numpy_helper.to_array(t) for t in self.tensors if t.name == name), None)
            value = self.index.value(name) if value is None else value
            names.append(self._constant(f"{own}_{kind}", np.full(channels * group, value)))
        self.nodes.append(helper.make_node("DequantizeLinear", names, [own], axis=1))
        conv.input[0] = own

    def _weights(self, original: NodeProto, node: NodeProto) -> None:
        """Give a convolution INT8 weights, a corrected bias, and that in int32 if wanted."""
        out = original.output[0]
        if out in self.plan.predictors and not self.dialect.predictors:
            return
        weights = self.index.value(original.input[1]).astype(np.float32)
        bias = np.zeros(len(weights), np.float32)
        if len(original.input) > 2:
            bias = self.index.value(original.input[2])
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise CalibrationError(
                f"model: the weights of '{original.input[1]}' are not finite",
                "train again; a NaN cannot be quantised",
            )
        scale_x = self.scales[node.input[0]]
        means = None
        if self.ranges.means:
            means = np.asarray(self.ranges.channel_means(original.input[0]))
        made = quantise_convolution(weights, bias, scale_x, means, self.dialect)
        node.input[1] = self._dequantised(f"{out}/weight", made.weights, made.scale)
        if self.dialect.integer_bias:
            bias_scale = (scale_x * made.scale).astype(np.float32)
            integers = integer_bias(made.bias, bias_scale)
            new = self._dequantised(f"{out}/bias", integers, bias_scale)
        else:
            new = self._constant(f"{out}/bias", made.bias.astype(np.float32))
        node.input[:] = [*node.input[:2], new]

    def _dequantised(self, name: str, integers: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """A constant behind a DequantizeLinear along axis 0; returns the float tensor's name."""
        inputs = [
            self._constant(f"{name}_quantised", integers),
            self._constant(f"{name}_scale", scale),
        ]
        if integers.dtype == np.int8:
            inputs.append(self._constant(f"{name}_zero", np.zeros(len(scale), np.int8)))
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
        return name

    def _absorbed(self, node: NodeProto, tensors: set[str]) -> bool:
        """Whether the Q behind this Relu or Clip saturates within its bounds, so that it can go.

        The convolution before it, already emitted, then feeds the Q directly: exactly equal.
        """
        bounds, name = self.index.bounds(node), node.output[0]
        if bounds is None or name not in tensors:
            return False
        conv = self.index.producer.get(node.input[0])
        if conv is None or activation_of(conv, self.index) is not node:
            return False
        scale, zero = self._parameters(name)
        smallest, largest = self.dialect.limits
        low = scale * np.float32(smallest - int(zero))
        high = scale * np.float32(largest - int(zero))
        if not bounds[0] <= low <= high <= bounds[1]:
            return False
        emitted = next(n for n in reversed(self.nodes) if conv.output[0] in n.output)
        emitted.output[0] = f"{name}/float"
        return True

    def _lean_branches(self) -> set[str]:
        """Convolution outputs that only a sum reads, one per sum (see Dialect.lean_add)."""
        lean: set[str] = set()
        if not self.dialect.lean_add:
            return lean
        convs = {node.output[0] for node in self.plan.convs}
        for node in self.index.nodes:
            if node.op_type != "Add" or node.output[0] not in self.plan.tensors:
                continue
            alone = [n for n in node.input if n in convs and self.index.only_reader(n) is node]
            lean.update(alone[-1:])
        return lean

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _assemble(self, out: onnx.ModelProto) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        kept = [t for t in (*out.graph.initializer, *self.tensors) if t.name in used]
        del out.graph.node[:], out.graph.initializer[:], out.graph.value_info[:]
        out.graph.node.extend(self.nodes)
        out.graph.initializer.extend(kept)
        return out
