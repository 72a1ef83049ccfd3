"""Layers that can stay in float: what goes with them, and which task their exits belong to."""

from __future__ import annotations

import onnx
import pytest

from edgemtl.graph.cost import graph_cost
from edgemtl.graph.file import load_model
from edgemtl.graph.layers import exits, quantised_layers, with_sums
from edgemtl.models import resolve_model

RESIDUAL = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 20]>
    residual (float[1, 2, 4, 4] images) => (float[1, 2, 4, 4] scores, float[1, 2] image_probs)
    <float[2, 2, 1, 1] w = {0.5, -0.25, 0.125, 1.0}, float[2] b = {0.0, 0.1}> {
        a = Conv(images, w, b)
        left = Relu(a)
        right = Conv(left, w, b)
        sum = Add(left, right)
        wide = Relu(sum)
        logits = Conv(wide, w, b)
        scores = Sigmoid(logits)
        mean = GlobalAveragePool(wide)
        flat = Flatten(mean)
        image_probs = Softmax(flat)
    }""")


def test_layers_are_the_convolutions_and_what_they_cost() -> None:
    layers = quantised_layers(RESIDUAL)
    assert [(layer.name, layer.macs) for layer in layers] == [
        ("a", 64), ("right", 64), ("logits", 64),
    ]  # fmt: skip
    toy, _ = load_model(resolve_model("toy"))
    convolved = sum(layer.macs for layer in quantised_layers(toy))
    assert 0.9 * graph_cost(toy).macs < convolved <= graph_cost(toy).macs


@pytest.mark.parametrize(
    ("layers", "floats"),
    [
        ([], ()),
        (["a"], ("a",)),
        (["right"], ("right",)),  # the other side of the sum comes in integers
        (["a", "right"], ("a", "right", "sum")),
        (["logits", "right", "a"], ("a", "right", "sum", "logits")),
        (["nobody"], ()),
    ],
)
def test_a_sum_stays_float_if_both_its_sides_do(layers: list[str], floats: tuple[str]) -> None:
    assert with_sums(RESIDUAL, layers) == floats


def test_exits_belong_to_the_task_that_reads_them() -> None:
    assert exits(RESIDUAL) == {"wide": "cls", "logits": "det"}
    toy, _ = load_model(resolve_model("toy"))
    found = exits(toy)
    assert set(found.values()) == {"det", "cls", "embed"}
    assert all(name in {o for n in toy.graph.node for o in n.output} for name in found)
