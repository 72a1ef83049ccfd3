"""A tiny network that keeps edgemtl's whole contract, made with onnx.helper alone.

It has the real thing's shape: int8 front, ReLU6 and depthwise convolutions, a residual Add,
MaxPool, Resize, Concat, an NMS-free decode, embeddings gathered at the selected points and an
image class. The weights are random but seeded and scaled, so scores spread over (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgemtl.manifest import METADATA_KEY, InputSpec, Manifest
from edgemtl.manifest_tasks import Attribute

STRIDES = (8, 16)
_WIDTH = 16


@dataclass
class _Graph:
    """Nodes and initialisers in the making; every method returns the name of its output."""

    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)

    def constant(self, value: Any, dtype: Any, name: str | None = None) -> str:
        name = name or f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        return self.nodes_out(kind, *inputs, outs=(out or f"t{len(self.nodes)}",), **attributes)[0]

    def nodes_out(
        self, kind: str, *inputs: str, outs: tuple[str, ...], **attributes: Any
    ) -> tuple[str, ...]:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, outs, name=name, **attributes))
        return outs

    def weights(self, *shape: int, fan_in: int) -> NDArray[np.float32]:
        values = self.rng.normal(0, np.sqrt(2 / fan_in), shape)
        return values.astype(np.float32)

    def conv(
        self, x: str, c_in: int, c_out: int, k: int = 1, stride: int = 1, groups: int = 1
    ) -> str:
        shape = (c_out, c_in // groups, k, k)
        weight = self.constant(self.weights(*shape, fan_in=k * k * c_in // groups), np.float32)
        bias = self.constant(self.rng.normal(0.1, 0.1, c_out), np.float32)
        return self.node(
            "Conv", x, weight, bias,
            kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4, group=groups,
        )  # fmt: skip

    def predictor(self, x: str, c_in: int, c_out: int, gain: float, bias: float) -> str:
        weight = self.constant(gain * self.weights(c_out, c_in, 1, 1, fan_in=c_in), np.float32)
        offset = self.constant(np.full(c_out, bias), np.float32)
        return self.node("Conv", x, weight, offset, kernel_shape=[1, 1])

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0, np.float32), self.constant(6, np.float32))

    def linear(self, x: str, c_in: int, c_out: int) -> str:
        weight = self.constant(self.weights(c_in, c_out, fan_in=c_in), np.float32)
        product = self.node("MatMul", x, weight)
        return self.node("Add", product, self.constant(np.zeros(c_out), np.float32))


def tiny_model(
    size_hw: tuple[int, int] = (32, 64),
    top_k: int = 8,
    classes: tuple[str, ...] = ("a", "b"),
    image_classes: tuple[str, ...] = ("x", "y"),
    embedding_dim: int | None = 4,
    attributes: dict[str, tuple[str, ...]] | None = None,
    seed: int = 0,
) -> onnx.ModelProto:
    """The model; both sides of ``size_hw`` must be multiples of 16.

    An empty class list, or ``embedding_dim=None``, leaves that task and its outputs out;
    embeddings and ``attributes`` (values by name) need object classes.
    """
    if any(side % STRIDES[-1] for side in size_hw):
        raise ValueError(f"size_hw: expected multiples of {STRIDES[-1]}, got {size_hw}")
    anchors = sum((size_hw[0] // s) * (size_hw[1] // s) for s in STRIDES)
    manifest = Manifest(
        name="tiny",
        input=InputSpec(size_hw=size_hw),
        classes=classes,
        image_classes=image_classes,
        embedding_dim=embedding_dim,
        attributes=[Attribute(name=n, values=v) for n, v in (attributes or {}).items()],
        top_k=min(top_k, anchors),
    )
    g = _Graph(np.random.default_rng(seed))
    maps = _backbone(g)
    if classes:
        index = _detect(g, maps, manifest)
        if embedding_dim is not None:
            _embed(g, maps, index, embedding_dim)
        for attribute in manifest.attributes:
            _tell(g, maps, index, attribute)
    if image_classes:
        _classify(g, maps[-1], len(image_classes))
    return _model(g, manifest)


def write_tiny(path: Path, **kw: Any) -> Path:
    """Write :func:`tiny_model` to ``path`` and return it."""
    onnx.save(tiny_model(**kw), str(path))
    return path


def _backbone(g: _Graph) -> list[str]:
    """Two feature maps of ``_WIDTH`` channels at strides 8 and 16."""
    scale = g.constant(1 / 128, np.float32, "images_scale")
    zero = g.constant(0, np.int8, "images_zero_point")
    x = g.node("DequantizeLinear", "images", scale, zero)
    x = g.relu6(g.conv(x, 3, 8, k=3, stride=2))
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.relu6(g.conv(x, 8, 8, k=3, stride=2, groups=8))
    x = g.relu6(g.conv(x, 8, _WIDTH))
    wide = g.relu6(g.conv(x, _WIDTH, 32))
    wide = g.relu6(g.conv(wide, 32, 32, k=3, groups=32))
    fine = g.node("Add", x, g.conv(wide, 32, _WIDTH))
    coarse = g.relu6(g.conv(fine, _WIDTH, _WIDTH, k=3, stride=2, groups=_WIDTH))
    coarse = g.relu6(g.conv(coarse, _WIDTH, _WIDTH))
    up = g.node(
        "Resize", coarse, "", g.constant([1, 1, 2, 2], np.float32),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    both = g.node("Concat", fine, up, axis=1)
    return [g.relu6(g.conv(both, 2 * _WIDTH, _WIDTH)), coarse]


def _flat(g: _Graph, maps: list[str], channels: int) -> str:
    """Maps [N, c, h, w] as one [N, c, A]."""
    shape = g.constant([0, channels, -1], np.int64)
    return g.node("Concat", *(g.node("Reshape", m, shape) for m in maps), axis=2)


def _anchors(size_hw: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    points, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : size_hw[0] // stride, 0 : size_hw[1] // stride]
        points.append((np.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full((len(points[-1]), 1), stride))
    return np.concatenate(points).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _select(g: _Graph, flat: str, index: str, channels: int) -> str:
    """The columns ``index`` [N, K] of ``flat`` [N, c, A], as [N, K, c]."""
    wide = g.node("Unsqueeze", index, g.constant([1], np.int64))
    wide = g.node("Expand", wide, g.constant([1, channels, 1], np.int64))
    return g.node("Transpose", g.node("GatherElements", flat, wide, axis=2), perm=[0, 2, 1])


def _detect(g: _Graph, maps: list[str], manifest: Manifest) -> str:
    """Boxes, scores and labels of the K best points; returns the points' index [N, K]."""
    n_classes = len(manifest.classes)
    raw = _flat(g, [g.predictor(m, _WIDTH, 4, gain=0.3, bias=0.5) for m in maps], 4)
    logits = _flat(
        g, [g.predictor(m, _WIDTH, n_classes, gain=1.5, bias=-2) for m in maps], n_classes
    )
    best = g.node("ReduceMax", logits, g.constant([1], np.int64), keepdims=0)
    labels = g.node("ArgMax", logits, axis=1, keepdims=0)
    k = g.constant([manifest.top_k], np.int64)
    top, index = g.nodes_out("TopK", best, k, outs=("top", "index"), axis=1)
    g.node("Sigmoid", top, out="scores")
    chosen = g.node("GatherElements", labels, index, axis=1)
    g.node("Cast", chosen, to=TensorProto.INT32, out="labels")
    points, strides = _anchors(manifest.input.size_hw)
    at = g.node("Gather", g.constant(points, np.float32), index, axis=0)
    step = g.node("Gather", g.constant(strides, np.float32), index, axis=0)
    log = g.node(
        "Clip", _select(g, raw, index, 4), g.constant(-6, np.float32), g.constant(6, np.float32)
    )
    distance = g.node("Mul", g.node("Exp", log), step)
    before, after = g.nodes_out("Split", distance, outs=("before", "after"), axis=2, num_outputs=2)
    low, high = g.node("Sub", at, before), g.node("Add", at, after)
    g.node("Concat", low, high, axis=2, out="boxes")
    return index


def _embed(g: _Graph, maps: list[str], index: str, dim: int) -> None:
    features = _select(g, _flat(g, maps, _WIDTH), index, _WIDTH)
    raw = g.linear(g.node("Relu", g.linear(features, _WIDTH, 8)), 8, dim)
    power = g.node("Mul", raw, raw)
    total = g.node("ReduceSum", power, g.constant([-1], np.int64), keepdims=1)
    norm = g.node("Max", g.node("Sqrt", total), g.constant(1e-4, np.float32))
    g.node("Div", raw, norm, out="embeddings")


def _tell(g: _Graph, maps: list[str], index: str, attribute: Attribute) -> None:
    features = _select(g, _flat(g, maps, _WIDTH), index, _WIDTH)
    logits = g.linear(features, _WIDTH, len(attribute.values))
    g.node("Softmax", logits, axis=-1, out=attribute.output)


def _classify(g: _Graph, deepest: str, n_classes: int) -> None:
    mixed = g.relu6(g.conv(deepest, _WIDTH, _WIDTH))
    pooled = g.node("Flatten", g.node("GlobalAveragePool", mixed))
    weight = g.constant(g.weights(n_classes, _WIDTH, fan_in=_WIDTH), np.float32)
    bias = g.constant(np.zeros(n_classes), np.float32)
    logits = g.node("Gemm", pooled, weight, bias, transB=1)
    g.node("Softmax", logits, axis=1, out="image_probs")


def _model(g: _Graph, manifest: Manifest) -> onnx.ModelProto:
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    shape = ["N", 3, *manifest.input.size_hw]
    graph = helper.make_graph(
        g.nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.INT8, shape)],
        [
            helper.make_tensor_value_info(name, kinds[dtype], ["N", *rest])
            for name, (dtype, rest) in manifest.expected_outputs().items()
        ],
        g.tensors,
    )
    opset = [helper.make_opsetid("", 19)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10, producer_name="edgemtl")
    helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model
