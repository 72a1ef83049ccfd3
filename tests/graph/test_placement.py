"""Which convolutions will run on integers, and Q/DQ that will not fuse."""

from __future__ import annotations

import onnx
import pytest
from graph_tools import manifest_of, measured, pictures
from tiny_model import tiny_model

from edgemtl.graph.dialect import TRT
from edgemtl.graph.features import plan_quantisation
from edgemtl.graph.fp16 import to_fp16
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.placement import convolution_precisions, counted, unfused
from edgemtl.graph.qdq import insert_qdq


def _int8(model: onnx.ModelProto, **changes: object) -> onnx.ModelProto:
    return insert_qdq(model, measured(model, pictures(manifest_of(model)), **changes), TRT)


def test_our_graphs_fuse_whole() -> None:
    model = tiny_model()
    for graph, kind in ((model, "fp32"), (to_fp16(model), "fp16"), (_int8(model), "int8")):
        assert set(convolution_precisions(graph).values()) == {kind}
        assert list(unfused(graph)) == []


def test_a_layer_in_float_is_told_as_such() -> None:
    model = tiny_model()
    name = plan_quantisation(GraphIndex(model)).convs[2].output[0]
    found = convolution_precisions(_int8(model, float_layers=(name,)))
    assert [kind for kind in found.values() if kind != "int8"] == ["fp16"]
    assert counted(found) == f"{len(found) - 1} int8, 1 fp16"


HEAD = """<ir_version: 10, opset_import: ["": 19]>
    g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y)
    <float s = {0.1}, int8 z = {0}, int8[2, 2, 1, 1] wi = {1, 2, 3, 4}, float[2] ws = {0.1, 0.2},
     int8[2] wz = {0, 0}, float[2, 2, 1, 1] wf = {1.0, 2.0, 3.0, 4.0}> {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        w = DequantizeLinear<axis = 0>(wi, ws, wz)
"""


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("y = Conv(d, w) }", []),
        ("r = Relu(d)\n y = Conv(r, w) }", []),
        ("y = Conv(d, wf) }", ["its input has Q/DQ, its weights has none"]),
        ("y = Conv(x, w) }", ["its weights has Q/DQ, its input has none"]),
        ("y = Sigmoid(d) }", ["goes to integers and back: only Sigmoid reads it"]),
        ("c = Conv(d, w)\n a = QuantizeLinear(c, s, z)\n b = DequantizeLinear(a, s, z)\n"
         "y = Sigmoid(b) }", []),
    ],
    ids=["fused", "through a bound", "float weights", "float input", "round trip", "an exit"],
)  # fmt: skip
def test_what_does_not_fuse(rest: str, words: list[str]) -> None:
    model = onnx.parser.parse_model(HEAD + rest)
    told = list(unfused(model))
    assert len(told) == len(words)
    assert all(word in text for word, text in zip(words, told, strict=True))
