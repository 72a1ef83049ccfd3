"""Q/DQ insertion: structure, exactness against the reference evaluator, and refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graph_tools import as_uint8, manifest_of, measured, pictures, run
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from tiny_model import tiny_model

from edgemtl.errors import CalibrationError
from edgemtl.graph.dialect import ORT_ARM, ORT_X86, TRT, Dialect
from edgemtl.graph.features import plan_quantisation
from edgemtl.graph.file import canonical_hash, save_model
from edgemtl.graph.fp16 import to_fp16
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.qdq import corrected_inputs, insert_qdq, quantisable_tensors, quantise_model
from edgemtl.graph.ranges import RangeTable

DIALECTS = pytest.mark.parametrize("dialect", [ORT_X86, ORT_ARM, TRT], ids=["x86", "arm", "trt"])


def _quantised(dialect: Dialect, **kw: object) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = tiny_model(**kw)  # type: ignore[arg-type]
    return model, insert_qdq(model, measured(model, pictures(manifest_of(model))), dialect)


def _inputs(dialect: Dialect, images: np.ndarray) -> np.ndarray:
    return as_uint8(images) if dialect.activation == "uint8" else images


@DIALECTS
def test_close_to_float_on_other_pictures(dialect: Dialect) -> None:
    model, int8 = _quantised(dialect)
    images = pictures(manifest_of(model), seed=1)
    want, have = run(model, images), run(int8, _inputs(dialect, images))
    assert np.abs(want["image_probs"] - have["image_probs"]).max() < 0.03
    assert np.abs(want["scores"] - have["scores"]).mean() < 0.03
    assert np.abs(want["scores"] - have["scores"]).max() < 0.2


@DIALECTS
def test_runtime_agrees_with_the_reference_evaluator(dialect: Dialect) -> None:
    model, int8 = _quantised(dialect, classes=(), embedding_dim=None)
    images = _inputs(dialect, pictures(manifest_of(model), count=2))
    (want,) = ReferenceEvaluator(int8).run(["image_probs"], {"images": images})
    # the evaluator sums float16 convolutions in float16
    limit = 0.02 if dialect.half else 2e-3
    assert np.abs(run(int8, images)["image_probs"] - want).max() < limit


@DIALECTS
def test_every_graph_is_proven_and_says_what_it_is(dialect: Dialect, tmp_path: Path) -> None:
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    int8, manifest = quantise_model(model, manifest_of(model), table, dialect)
    save_model(int8, manifest, tmp_path / "m.onnx")
    assert (manifest.precision, manifest.dialect) == ("int8", dialect.name)
    assert manifest.input.dtype == dialect.activation
    assert manifest.input.offset == (0 if dialect.activation == "uint8" else -128)
    assert manifest.calibration is not None
    assert manifest.calibration.table_sha256 == table.sha256
    again, _ = quantise_model(model, manifest_of(model), table, dialect)
    assert canonical_hash(again) == canonical_hash(int8)


def test_every_feature_convolution_runs_on_integers(tmp_path: Path) -> None:
    model, int8 = _quantised(ORT_X86)
    plan = plan_quantisation(GraphIndex(model))
    path = tmp_path / "optimised.onnx"
    run(int8, as_uint8(pictures(manifest_of(model))), fused=True, optimised=str(path))
    kinds = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert kinds["QLinearConv"] == len(plan.convs) - len(plan.predictors)
    assert kinds["QLinearAdd"] == 1
    assert kinds["QLinearConcat"] == 1
    assert kinds["QuantizeLinear"] <= 1, "no round trips between the integer operators"


def test_weights_do_not_saturate_in_the_hosts_kernels() -> None:
    """Fused integer kernels = Q/DQ computed in float, up to rounding of single steps."""
    model, int8 = _quantised(ORT_X86)
    images = as_uint8(pictures(manifest_of(model), count=8))
    emulated, fused = run(int8, images), run(int8, images, fused=True)
    assert np.abs(emulated["image_probs"] - fused["image_probs"]).max() < 0.01
    assert np.abs(emulated["scores"] - fused["scores"]).mean() < 0.01


@DIALECTS
def test_coordinates_logits_and_embeddings_are_never_quantised(dialect: Dialect) -> None:
    model, int8 = _quantised(dialect)
    index = GraphIndex(int8)
    plan = plan_quantisation(GraphIndex(model))
    assert len(plan.predictors) == 4
    for name in plan.predictors:
        assert [n.op_type for n in index.consumers[name]] == ["Reshape"]
    quantised = {n.output[0] for n in index.nodes if n.op_type == "QuantizeLinear"}
    behind = {name for n in index.nodes if n.op_type == "Reshape" for name in n.output}
    for node in index.nodes:
        if not behind.isdisjoint(node.input):
            behind.update(node.output)
    assert quantised.isdisjoint(behind)
    assert len(quantisable_tensors(model)) >= len(quantised)


@DIALECTS
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_map_that_is_sampled_is_a_feature_and_the_samples_are_not(
    dialect: Dialect, depthwise: bool
) -> None:
    # what a depthwise convolution makes stays float, as its integers would be read once
    last = "Conv<group = 2>(mixed, d, b)" if depthwise else "Conv(mixed, w, b)"
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        sampled (float[1, 2, 6, 6] x, float[1, 3, 1, 2] places) => (float[1, 2, 3, 1] seen)
        <float[2, 2, 1, 1] w = {0.5, -0.25, 0.125, 1.0}, float[2, 1, 1, 1] d = {0.5, 2.0},
         float[2] b = {0.0, 0.1}> {
            mixed = Conv(x, w, b)
            scaled = LAST
            seen = GridSample<mode = "linear">(scaled, places)
        }""".replace("LAST", last)
    )
    plan = plan_quantisation(GraphIndex(model))
    assert [node.output[0] for node in plan.convs] == ["mixed", "scaled"]
    assert plan.predictors == ({"scaled"} if depthwise else set())
    assert plan.tensors == (("x", "mixed") if depthwise else ("x", "mixed", "scaled"))
    table = RangeTable(
        model="sampled", model_sha256=canonical_hash(model), images=1, content_sha256="0" * 64,
        observer="minmax", ranges=dict.fromkeys(plan.tensors, (-4.0, 4.0)),
    )  # fmt: skip
    index = GraphIndex(insert_qdq(model, table, dialect))
    (sampler,) = (node for node in index.nodes if node.op_type == "GridSample")
    maker = index.producer[sampler.input[0]].op_type
    if dialect.half:
        assert maker == "Cast", "samples are float32"
        maker = index.producer[index.producer[sampler.input[0]].input[0]].op_type
    assert maker == ("Conv" if depthwise else "DequantizeLinear")
    assert sampler.input[1] == "places"
    assert sampler.output[0] == "seen"


SILU = """
    <ir_version: 10, opset_import: ["" : 20]>
    silu (float[1, 1, 8, 8] images) => (float[1, 2, 4, 4] rows)
    <int64[2] zero = {0, 0}, int64[2] end = {8, 8}, int64[2] axes = {2, 3}, int64[2] two = {2, 2},
     float[4, 1, 1, 1] w = {0.5, -0.25, 0.125, 1.0}, float[4] b = {0.0, 0.1, -0.2, 0.3},
     float[2, 4, 1, 1] v = {0.5, -0.5, 0.25, 0.75, -0.1, 0.2, 0.3, 0.4}, float[2] c = {0.1, -0.1}> {
        every = Slice(images, zero, end, axes, two)
        linear = Conv(every, w, b)
        gate = Sigmoid(linear)
        silu = Mul(GATED)
        logits = Conv(silu, v, c)
        rows = Sigmoid(logits)
    }"""


@DIALECTS
@pytest.mark.parametrize("gated", ["linear, gate", "gate, linear"])
def test_silu_and_slices_run_on_integers(dialect: Dialect, gated: str) -> None:
    model = onnx.parser.parse_model(SILU.replace("GATED", gated))
    plan = plan_quantisation(GraphIndex(model))
    assert [node.output[0] for node in plan.convs] == ["linear", "logits"]
    assert plan.predictors == {"logits"}
    assert plan.tensors == ("images", "every", "linear", "gate", "silu")
    assert plan.shared["every"] == ("images", "every")
    pixels = np.random.default_rng(0).normal(0, 1, (1, 1, 8, 8)).astype(np.float32)
    int8 = insert_qdq(model, measured(model, pixels), dialect)
    np.testing.assert_allclose(run(int8, pixels)["rows"], run(model, pixels)["rows"], atol=0.02)
    half = onnx.shape_inference.infer_shapes(to_fp16(model))
    kinds = {v.name: v.type.tensor_type.elem_type for v in half.graph.value_info}
    assert {kinds[n.output[0]] for n in half.graph.node if n.op_type == "Mul"} == {
        TensorProto.FLOAT16
    }


@pytest.mark.parametrize(
    "gated", ["linear, linear", "linear, w", "gate, gate"], ids=["square", "scale", "twice"]
)
def test_other_products_are_no_features(gated: str) -> None:
    model = onnx.parser.parse_model(SILU.replace("GATED", gated))
    plan = plan_quantisation(GraphIndex(model))
    assert [node.output[0] for node in plan.convs] == ["linear"]
    assert plan.predictors == {"linear"}


def test_the_trt_dialect() -> None:
    _, int8 = _quantised(TRT)
    index = GraphIndex(int8)
    zeros = [n.input[2] for n in index.nodes if n.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert all(not index.value(name).any() for name in zeros)
    types = {tensor.data_type for tensor in int8.graph.initializer}
    assert TensorProto.UINT8 not in types
    assert TensorProto.INT32 not in types, "the bias is float"
    convs = [n for n in index.nodes if n.op_type == "Conv"]
    assert all(index.producer[n.input[1]].op_type == "DequantizeLinear" for n in convs)
    add = next(n for n in index.nodes if n.op_type == "Add")
    assert sorted(index.producer[n].op_type for n in add.input) == ["Conv", "DequantizeLinear"]


def test_the_ort_dialect_has_integer_biases_at_the_product_scale() -> None:
    _, int8 = _quantised(ORT_X86)
    index = GraphIndex(int8)
    checked = 0
    for node in index.nodes:
        if node.op_type != "Conv" or node.input[1] in index.constants:
            continue
        of = [index.producer[name] for name in node.input]
        x, w, b = (index.value(n.input[1]) for n in of)
        assert index.value(of[2].input[0]).dtype == np.int32
        np.testing.assert_array_equal(b, (x * w).astype(np.float32))
        checked += 1
    assert checked == 10


def test_activations_are_absorbed_only_where_that_is_exact() -> None:
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    for dialect in (ORT_X86, ORT_ARM):
        kept = Counter(n.op_type for n in insert_qdq(model, table, dialect).graph.node)["Clip"]
        assert kept == 1, "only the clamp of the box decode is left"
    wide = table.model_copy(
        update={"ranges": {k: (lo, 8.0) for k, (lo, _) in table.ranges.items()}}
    )
    everywhere = Counter(n.op_type for n in insert_qdq(model, wide, ORT_X86).graph.node)["Clip"]
    assert everywhere == Counter(n.op_type for n in model.graph.node)["Clip"]


@DIALECTS
def test_tensors_around_pooling_resizing_and_concatenation_share_a_scale(dialect: Dialect) -> None:
    _, int8 = _quantised(dialect)
    index = GraphIndex(int8)
    kinds = ("MaxPool", "Resize", "Concat") if dialect is TRT else ("MaxPool", "Resize")
    for kind in kinds:
        node = next(n for n in index.nodes if n.op_type == kind)
        before = [index.producer[n] for n in index.activations(node)]
        (after,) = index.consumers[node.output[0]]
        assert after.op_type == "QuantizeLinear", kind
        scales = {float(index.value(n.input[1])) for n in [*before, after]}
        assert len(scales) == 1, kind


def test_layers_left_in_float() -> None:
    model = tiny_model()
    plan = plan_quantisation(GraphIndex(model))
    table = measured(model, pictures(manifest_of(model)), float_layers=(plan.convs[2].output[0],))
    int8, manifest = quantise_model(model, manifest_of(model), table, ORT_X86)
    assert manifest.precision == "mixed"
    weights = {t.name for t in int8.graph.initializer}
    assert plan.convs[2].input[1] in weights
    assert plan.convs[1].input[1] not in weights


@pytest.mark.parametrize("dialect", [ORT_X86, ORT_ARM], ids=["x86", "arm"])
def test_onnxruntime_leaves_float_layers_in_float(tmp_path: Path, dialect: Dialect) -> None:
    """Behind a scalar scale it would quantise their weights itself, with one scale for all."""
    model = tiny_model()
    plan = plan_quantisation(GraphIndex(model))
    predictors = set(plan.predictors)
    for conv in [c for c in plan.convs if c.output[0] not in predictors]:
        table = measured(model, pictures(manifest_of(model)), float_layers=(conv.output[0],))
        mixed = insert_qdq(model, table, dialect)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 4
        # layouts of one processor would rename and reorder the weights
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(
            mixed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        graph = onnx.load(tmp_path / "optimised.onnx").graph
        kept = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
        assert conv.input[1] in kept, conv.output[0]
        images = _inputs(dialect, pictures(manifest_of(model), seed=1))
        want = ReferenceEvaluator(mixed).run(None, {mixed.graph.input[0].name: images})
        have = list(run(mixed, images).values())
        assert np.abs(want[-1] - have[-1]).max() < 0.02


def test_dead_channels_and_shared_biases_survive() -> None:
    model = tiny_model()
    conv = [n for n in model.graph.node if n.op_type == "Conv"][3]
    weight = next(t for t in model.graph.initializer if t.name == conv.input[1])
    values = numpy_helper.to_array(weight).copy()
    values[0], values[1] = 0, 1e-30
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    int8 = insert_qdq(model, measured(model, pictures(manifest_of(model))), ORT_X86)
    images = pictures(manifest_of(model))
    want, have = run(model, images), run(int8, as_uint8(images), fused=True)
    assert np.abs(want["image_probs"] - have["image_probs"]).max() < 0.03


def test_constant_activations() -> None:
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    name = quantisable_tensors(model)[2]
    for value in (0.0, 1e-30, 2.5):
        flat = table.model_copy(update={"ranges": {**table.ranges, name: (value, value)}})
        int8 = insert_qdq(model, flat, TRT)
        assert np.isfinite(run(int8, pictures(manifest_of(model)))["scores"]).all()


def test_missing_and_foreign_ranges_are_refused() -> None:
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    ranges = dict(table.ranges)
    gone = ranges.popitem()[0]
    with pytest.raises(CalibrationError, match=gone):
        insert_qdq(model, table.model_copy(update={"ranges": ranges}), TRT)
    other = tiny_model(seed=1)
    with pytest.raises(CalibrationError, match="another") as caught:
        quantise_model(other, manifest_of(other), table, TRT)
    assert caught.value.hint


def test_means_correct_the_bias() -> None:
    """The mean output stays that of the float model; a table of another model is refused."""
    model = tiny_model()
    plan = plan_quantisation(GraphIndex(model))
    images = pictures(manifest_of(model), count=16)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = corrected_inputs(model)
    assert set(names) == {conv.input[0] for conv in plan.convs}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found = run(watched, images)
    means = {name: tuple(found[name].mean((0, 2, 3)).tolist()) for name in names}
    table = measured(model, images)
    plain = insert_qdq(model, table, TRT)
    corrected = insert_qdq(model, table.model_copy(update={"means": means}), TRT)
    assert canonical_hash(plain) != canonical_hash(corrected)
    want = run(model, images)["image_probs"].mean(0)
    have = run(corrected, images)["image_probs"].mean(0)
    assert np.abs(have - want).max() < 0.01
    with pytest.raises(CalibrationError, match="no means"):
        insert_qdq(model, table.model_copy(update={"means": {"other": (0.0,)}}), TRT)


def test_weights_that_are_not_finite_are_refused() -> None:
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    weight = next(t for t in model.graph.initializer if t.name == conv.input[1])
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(CalibrationError, match="not finite"):
        insert_qdq(model, table, TRT)


def test_a_model_without_convolutions_is_refused() -> None:
    model = tiny_model(classes=(), embedding_dim=None)
    table = measured(model, pictures(manifest_of(model)))
    everything = tuple(n.output[0] for n in model.graph.node if n.op_type == "Conv")
    with pytest.raises(CalibrationError, match="no convolution"):
        insert_qdq(model, table.model_copy(update={"float_layers": everything}), TRT)


def test_float_pixels_get_a_range_of_their_own() -> None:
    """Adopted detectors take float32 pictures: the input itself is then quantised."""
    model = tiny_model()
    front = model.graph.node[0]
    renamed = front.output[0]
    del model.graph.node[0]
    for node in model.graph.node:
        node.input[:] = ["images" if name == renamed else name for name in node.input]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    images = pictures(manifest_of(model)).astype(np.float32) / 128
    assert quantisable_tensors(model)[0] == "images"
    int8 = insert_qdq(model, measured(model, images), replace(ORT_X86))
    want, have = run(model, images), run(int8, images)
    assert np.abs(want["image_probs"] - have["image_probs"]).max() < 0.03
