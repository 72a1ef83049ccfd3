"""Strongly typed float16: the features in half precision, coordinates and logits in float32."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgemtl.errors import ModelError
from edgemtl.graph.features import feature_nodes
from edgemtl.graph.index import GraphIndex

# inputs of feature operators that are numbers of the same type as the picture, by position
_TYPED_INPUTS = {
    "Conv": (1, 2), "Clip": (1, 2), "QuantizeLinear": (1,), "DequantizeLinear": (1,),
}  # fmt: skip
LARGEST = float(np.finfo(np.float16).max)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 graph whose features run in float16, with explicit Casts at their end.

    TensorRT 11 takes precision from the graph alone, so each tensor's type is written down. The
    int8 front gets a float16 scale (needs opset 19). Box decode, logits, softmax and embeddings
    stay float32, as do graph inputs and outputs.
    Raises ModelError for weights that float16 cannot hold.
    """
    index = GraphIndex(model)
    return _Halver(index, _features(index)).rewrite(model)


def halve_quantised(model: onnx.ModelProto, before: GraphIndex) -> onnx.ModelProto:
    """The same for what is left in float of a graph with Q/DQ (graph.qdq), which was ``before``.

    Its scales must be numbers of float16. Raises ModelError as :func:`to_fp16` does.
    """
    names = _features(before)
    return _Halver(GraphIndex(model), names | {f"{name}/float" for name in names}).rewrite(model)


def fits_fp16(index: GraphIndex, largest_seen: float) -> bool:
    """Whether float16 holds the features: what was seen of them, and their numbers."""
    numbers = (
        index.value(name) for node in feature_nodes(index) if node.op_type == "Conv"
        for name in node.input[1:]
    )  # fmt: skip
    return largest_seen <= LARGEST and all(map(_fits, numbers))


def _features(index: GraphIndex) -> frozenset[str]:
    return frozenset(node.output[0] for node in feature_nodes(index))


@dataclass
class _Halver:
    """One pass over the nodes. A float16 tensor that others read keeps its name behind the Cast;
    within the features it is called ``<name>/half``."""

    index: GraphIndex
    features: frozenset[str]
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def rewrite(self, model: onnx.ModelProto) -> onnx.ModelProto:
        for name in sorted(self.index.inputs):
            if self._read_by(name, self.features) and self.index.producer.get(name) is None:
                self._cast(name, f"{name}/half", TensorProto.FLOAT16)
                self.renamed[name] = f"{name}/half"
        for original in self.index.nodes:
            node = NodeProto()
            node.CopyFrom(original)
            name = original.output[0]
            half = name in self.features
            if original.op_type == "DequantizeLinear":
                half = half or self._read_by(name, self.features)
            elif original.op_type == "QuantizeLinear":
                half = original.input[0] in self.features or original.input[0] in self.renamed
            if half:
                self._feature(node)
            self.nodes.append(node)
            if half and original.op_type != "QuantizeLinear":
                self._leave(node, name)
        return self._assemble(model)

    def _read_by(self, tensor: str, features: Iterable[str]) -> bool:
        return any(r.output[0] in features for r in self.index.consumers.get(tensor, []))

    def _feature(self, node: NodeProto) -> None:
        for slot in _TYPED_INPUTS.get(node.op_type, ()):
            if slot < len(node.input) and node.input[slot] in self.index.constants:
                node.input[slot] = self._half(node.input[slot])
        node.input[:] = [self.renamed.get(name, name) for name in node.input]

    def _leave(self, node: NodeProto, name: str) -> None:
        """Cast back to float32 if anything outside the features reads this tensor."""
        readers = [r for r in self.index.consumers.get(name, []) if r.op_type != "QuantizeLinear"]
        if name in self.index.outputs or any(r.output[0] not in self.features for r in readers):
            node.output[0] = f"{name}/half"
            self.renamed[name] = f"{name}/half"
            self._cast(f"{name}/half", name, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], to=to))

    def _half(self, name: str) -> str:
        """A float16 copy of a constant; Clip limits outside float16 saturate, weights may not."""
        half = f"{name}/half"
        if half not in self.tensors:
            value = self.index.value(name)
            self.tensors[half] = numpy_helper.from_array(_halved(value, name), half)
        return half

    def _assemble(self, model: onnx.ModelProto) -> onnx.ModelProto:
        out = onnx.ModelProto()
        out.CopyFrom(model)
        used = {name for node in self.nodes for name in node.input}
        kept = [t for t in (*out.graph.initializer, *self.tensors.values()) if t.name in used]
        del out.graph.node[:], out.graph.initializer[:], out.graph.value_info[:]
        out.graph.node.extend(self.nodes)
        out.graph.initializer.extend(kept)
        return out


def _fits(value: NDArray[Any]) -> bool:
    return bool((np.abs(value) <= LARGEST).all())


def _halved(value: NDArray[Any], name: str) -> NDArray[np.float16]:
    if value.ndim and not _fits(value):
        raise ModelError(
            f"fp16: '{name}' holds a value that float16 cannot (above {LARGEST:g}, or NaN)",
            "use fp32 or int8 for this model",
        )
    half: NDArray[np.float16] = np.clip(value, -LARGEST, LARGEST).astype(np.float16)
    return half
