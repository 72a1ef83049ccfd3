"""Tiny detectors of other projects' kinds, made with onnx.helper alone.

One convolution per stride over seeded weights makes boxes and scores; around it stands what the
exporters write: YOLOX's rows of offsets, YOLOv8's channels of pixels, N x 6 rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import foreign_reference
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (64, 96)
CLASSES = ("cat", "dog", "emu")
ANCHORS = 8 * 12 + 4 * 6 + 2 * 3
STRIDES = (8, 16, 32)


@dataclass
class _Graph:
    scale: float
    opset: int
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def head(self, image: str, channels: int) -> str:
        """[N, channels, A]: what each cell of the three strides sees of the picture."""
        maps = []
        for stride in STRIDES:
            weight = self.random.normal(0, 4 / stride, (channels, 3, stride, stride))
            bias = -0.5 * weight.sum((1, 2, 3))  # a grey picture gives 0
            conv = self.node(
                "Conv", image, self.const(weight / (255 * self.scale)), self.const(bias),
                strides=[stride, stride],
            )  # fmt: skip
            maps.append(self.node("Reshape", conv, self.const([0, channels, -1], np.int64)))
        return self.node("Concat", *maps, axis=2)

    def part(self, x: str, first: int, last: int) -> str:
        """Channels ``first`` to ``last`` of [N, channels, A]."""
        bounds = [self.const([value], np.int64) for value in (first, last, 1)]
        return self.node("Slice", x, *bounds)

    def affine(self, x: str, gain: Any, offset: Any) -> str:
        return self.node("Add", self.node("Mul", x, self.const(gain)), self.const(offset))


def yolox(g: _Graph, image: str, grid_done: bool = False) -> str:
    raw = g.head(image, 5 + len(CLASSES))
    offsets = g.affine(g.node("Tanh", g.part(raw, 0, 2)), 1.0, 0.5)
    logs = g.affine(g.node("Tanh", g.part(raw, 2, 4)), 0.7, 0.6)
    if grid_done:
        cells, strides = foreign_reference.grid(SIZE)
        offsets = g.node("Mul", g.node("Add", offsets, g.const(cells.T)), g.const(strides))
        logs = g.node("Mul", g.node("Exp", logs), g.const(strides))
    scores = g.node("Sigmoid", g.part(raw, 4, 5 + len(CLASSES)))
    return g.node("Transpose", g.node("Concat", offsets, logs, scores, axis=1), perm=[0, 2, 1])


def _pixels(g: _Graph, raw: str) -> tuple[str, str]:
    """Centres and sides [N, 2, A] in pixels."""
    cells, strides = foreign_reference.grid(SIZE)
    centres = (cells.T + 0.5) * strides
    at = g.node("Add", g.affine(g.node("Tanh", g.part(raw, 0, 2)), 9.0, 0.0), g.const(centres))
    sides = g.affine(g.node("Sigmoid", g.part(raw, 2, 4)), 40.0, 4.0)
    return at, sides


def yolov8(g: _Graph, image: str) -> str:
    raw = g.head(image, 4 + len(CLASSES))
    scores = g.node("Sigmoid", g.part(raw, 4, 4 + len(CLASSES)))
    return g.node("Concat", *_pixels(g, raw), scores, axis=1)


def n6(g: _Graph, image: str) -> str:
    raw = g.head(image, 4 + len(CLASSES))
    at, sides = _pixels(g, raw)
    half = g.node("Mul", sides, g.const(0.5))
    logits = g.part(raw, 4, 4 + len(CLASSES))
    if g.opset < 18:  # from there on the axes are an input
        best = g.node("Sigmoid", g.node("ReduceMax", logits, axes=[1], keepdims=1))
    else:
        axes = g.const([1], np.int64)
        best = g.node("Sigmoid", g.node("ReduceMax", logits, axes, keepdims=1))
    label = g.node("ArgMax", logits, axis=1, keepdims=1)
    label = g.node("Cast", label, to=TensorProto.FLOAT)
    rows = [g.node("Sub", at, half), g.node("Add", at, half), best, label]
    return g.node("Transpose", g.node("Concat", *rows, axis=1), perm=[0, 2, 1])


def foreign_model(
    kind: str,
    *,
    batch: int | str = 1,
    opset: int = 13,
    names: tuple[str, str] = ("pixels:0", "out/head"),
    grid_done: bool = False,
    size: tuple[Any, Any] = SIZE,
    more: bool = False,
    ir_version: int = 7,
) -> onnx.ModelProto:
    """``more``: a second output, as networks with masks have; ``size`` may name open sides."""
    g = _Graph(1.0 if kind == "yolox" else 1 / 255, opset)
    if kind == "yolox":
        last = yolox(g, names[0], grid_done)
    else:
        last = {"yolov8": yolov8, "n6": n6}[kind](g, names[0])
    g.nodes.append(helper.make_node("Identity", [last], [names[1]]))
    shape = [ANCHORS, 5 + len(CLASSES)] if kind == "yolox" else [4 + len(CLASSES), ANCHORS]
    outputs = [(names[1], [batch, *([ANCHORS, 6] if kind == "n6" else shape)])]
    if more:
        g.nodes.append(helper.make_node("GlobalAveragePool", [names[0]], ["mask"]))
        outputs.append(("mask", [batch, 3, 1, 1]))
    graph = helper.make_graph(
        g.nodes,
        "foreign",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
        g.tensors,
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    if ir_version < 4:  # where constants are inputs with a default
        for tensor in g.tensors:
            like = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(like)
    onnx.checker.check_model(model)
    return model


def write_foreign(path: Path, kind: str, **kw: Any) -> Path:
    """Write :func:`foreign_model` to ``path`` and return it."""
    onnx.save(foreign_model(kind, **kw), str(path))
    return path


def write_names(path: Path, names: tuple[str, ...] = CLASSES) -> Path:
    """A text file with a class a line."""
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path
