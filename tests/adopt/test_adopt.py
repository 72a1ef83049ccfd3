"""Adopting: what is written into the copy, and what is refused with which words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_models import ANCHORS, CLASSES, SIZE, foreign_model, write_foreign, write_names
from onnx import TensorProto, helper, numpy_helper
from tiny_model import write_tiny

from edgemtl.adopt import AdoptOptions, adopt, read_names
from edgemtl.errors import ConfigError, EdgeMTLError, ModelError, OutputError
from edgemtl.graph.file import OPSET, load_model
from edgemtl.manifest import METADATA_KEY, Adopted, InputSpec, Manifest

KINDS = ["yolox", "yolov8", "n6"]


def _options(decode: Any, **kw: Any) -> AdoptOptions:
    return AdoptOptions(decode, CLASSES, **kw)


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = session.run(["out/head"], {session.get_inputs()[0].name: images})[0]
    assert isinstance(values, np.ndarray)
    return values


@pytest.mark.parametrize("opset", [11, 13, OPSET])
@pytest.mark.parametrize("batch", [1, "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_computes_the_same_and_knows_itself(
    tmp_path: Path, kind: Any, batch: Any, opset: int
) -> None:
    source = write_foreign(tmp_path / "foreign.onnx", kind, batch=batch, opset=opset)
    before = source.read_bytes()
    report = adopt(source, tmp_path / "mine.onnx", _options(kind))
    assert source.read_bytes() == before
    graph, manifest = load_model(tmp_path / "mine.onnx")
    assert manifest == report.manifest
    assert report.opset == (opset, OPSET)
    assert graph.opset_import[0].version == OPSET
    assert report.batch == (1 if batch == 1 else None)
    usual = {"yolox": ("bgr", 1.0, "top_left"), "yolov8": ("rgb", 1 / 255, "center")}
    order, scale, align = usual.get(kind, usual["yolov8"])
    assert manifest.input == InputSpec(
        size_hw=SIZE, dtype="float32", channels=order, scale=scale, offset=0, pad=114, align=align
    )
    iou = {"yolox": 0.45, "yolov8": 0.7, "n6": None}[kind]
    grid = kind == "yolox"
    assert manifest.adopted == Adopted(output="out/head", anchors=ANCHORS, grid=grid, nms_iou=iou)
    assert (manifest.name, manifest.decode, manifest.classes) == ("mine", kind, CLASSES)
    assert (manifest.precision, manifest.top_k) == ("fp32", ANCHORS)
    assert (manifest.weights_licence, manifest.tasks) == ("not stated", ("detect",))
    images = np.random.default_rng(1).uniform(0, 255 * scale, (1, 3, *SIZE)).astype(np.float32)
    np.testing.assert_allclose(
        _run(tmp_path / "mine.onnx", images), _run(source, images), rtol=1e-4, atol=1e-4
    )


def test_a_grid_that_the_graph_decodes_is_seen(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "yolox", grid_done=True)
    adopted = adopt(source, tmp_path / "o.onnx", _options("yolox")).manifest.adopted
    assert adopted is not None
    assert not adopted.grid


def test_every_option_is_kept(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "yolov8")
    options = _options(
        "yolov8", channels="bgr", scale=0.5, offset=-3.0, pad=7, align="top_left", nms_iou=1.0,
        class_agnostic=True, min_score=0.125, licence="mine alone", size_hw=SIZE,
    )  # fmt: skip
    manifest = adopt(source, tmp_path / "o.onnx", options).manifest
    assert manifest.input == InputSpec(
        size_hw=SIZE, dtype="float32", channels="bgr", scale=0.5, offset=-3, pad=7, align="top_left"
    )
    assert manifest.adopted is not None
    assert manifest.adopted.nms_iou is None
    assert manifest.adopted.class_agnostic
    assert (manifest.min_score, manifest.weights_licence) == (0.125, "mine alone")


def test_names_that_the_exporter_left(tmp_path: Path) -> None:
    model = foreign_model("yolov8")
    names = dict(enumerate(CLASSES))
    helper.set_model_props(model, {"names": str(names), "stride": "32"})
    onnx.save(model, str(tmp_path / "m.onnx"))
    adopt(tmp_path / "m.onnx", tmp_path / "o.onnx", AdoptOptions("yolov8"))
    graph, manifest = load_model(tmp_path / "o.onnx")
    assert manifest.classes == CLASSES
    assert {p.key for p in graph.metadata_props} == {METADATA_KEY, "names", "stride"}
    for text in ("", "{1: 'a'}", "[1", "7", "{0: 'a', 0.5: 'b'}[", "['a', 'a', 'b']", "[]"):
        helper.set_model_props(model, {"names": text})
        onnx.save(model, str(tmp_path / "m.onnx"))
        with pytest.raises(EdgeMTLError, match=r"name|twice") as caught:
            adopt(tmp_path / "m.onnx", tmp_path / "o.onnx", AdoptOptions("yolov8"))
        assert caught.value.hint


def test_only_the_one_output_and_what_it_needs_are_kept(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "yolov8", more=True)
    adopt(source, tmp_path / "o.onnx", _options("yolov8"))
    graph, _ = load_model(tmp_path / "o.onnx")
    assert [o.name for o in graph.graph.output] == ["out/head"]
    assert "GlobalAveragePool" not in {n.op_type for n in graph.graph.node}


def test_open_sizes_need_one_and_become_fixed(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "n6", batch="b", size=("h", "w"))
    with pytest.raises(ModelError, match=r"leaves the size .* open") as caught:
        adopt(source, tmp_path / "o.onnx", _options("n6"))
    assert "--size" in str(caught.value.hint)
    manifest = adopt(source, tmp_path / "o.onnx", _options("n6", size_hw=SIZE)).manifest
    assert manifest.input.size_hw == SIZE
    with pytest.raises(ModelError, match="takes pictures of 64x96, not 32x32"):
        adopt(
            write_foreign(tmp_path / "f.onnx", "n6"),
            tmp_path / "o.onnx",
            _options("n6", size_hw=(32, 32)),
        )


def test_initialisers_listed_as_inputs(tmp_path: Path) -> None:
    model = foreign_model("yolox", opset=11, ir_version=3)
    assert len(model.graph.input) > 1
    onnx.save(model, str(tmp_path / "m.onnx"))
    adopt(tmp_path / "m.onnx", tmp_path / "o.onnx", _options("yolox"))
    graph, _ = load_model(tmp_path / "o.onnx")
    assert [i.name for i in graph.graph.input] == ["pixels:0"]


@pytest.mark.parametrize(
    ("kind", "options", "word", "hint"),
    [
        ("yolox", {"decode": "yolov8"}, r"\[1, 126, 8\]", "--decode yolox fits"),
        ("yolov8", {"decode": "n6"}, "no output is of the kind 'n6'", "--decode yolov8 fits"),
        ("n6", {"decode": "yolox"}, "no output", "--decode n6 fits"),
        ("yolox", {"classes": ("a", "b")}, "2 classes", "room for 3 classes"),
        ("yolov8", {"classes": ("a",) * 2}, "2 classes", "room for 3 classes"),
        ("n6", {"output": "boxes"}, "no output 'boxes'", "choose"),
        ("n6", {"classes": ("a",)}, "class 2, and 1 classes are named", "name all"),
        ("yolov8", {"scale": 0.0}, "scale", "p \\* scale"),
        ("yolov8", {"scale": float("nan")}, "scale", "p \\* scale"),
        ("yolov8", {"offset": float("inf")}, "offset", "p \\* scale"),
    ],
)
def test_what_does_not_fit(
    tmp_path: Path, kind: str, options: dict[str, Any], word: str, hint: str
) -> None:
    source = write_foreign(tmp_path / "m.onnx", kind)
    wrong = replace(_options(options.pop("decode", kind)), **options)
    with pytest.raises((ModelError, ConfigError), match=word) as caught:
        adopt(source, tmp_path / "o.onnx", wrong)
    assert re.search(hint, str(caught.value.hint))
    assert not (tmp_path / "o.onnx").exists()


def _spoiled(kind: str, change: str) -> onnx.ModelProto:
    """A model of a kind with one thing wrong."""
    model = foreign_model(kind)
    graph, last = model.graph, model.graph.node[-1]
    if change == "half":
        graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    elif change == "nhwc":
        graph.input[0].CopyFrom(
            helper.make_tensor_value_info("pixels:0", TensorProto.FLOAT, [1, *SIZE, 3])
        )
    elif change == "two inputs":
        graph.input.append(helper.make_tensor_value_info("prompt", TensorProto.FLOAT, [1]))
    elif change == "two heads":
        graph.node.append(helper.make_node("Identity", [last.output[0]], ["twin"]))
        graph.output.append(helper.make_tensor_value_info("twin", TensorProto.FLOAT, None))
    elif change == "fewer anchors":
        for name, value in (("from", 6), ("to", 126), ("axis", 1)):
            graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
        graph.node.append(helper.make_node("Slice", [last.input[0], "from", "to", "axis"], ["few"]))
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("few", TensorProto.FLOAT, [1, 120, 8]))
    elif change == "logits":
        graph.initializer.append(numpy_helper.from_array(np.float32(9.0), "nine"))
        last.op_type, last.input[:] = "Mul", [last.input[0], "nine"]
    else:
        graph.initializer.append(numpy_helper.from_array(np.float32(0.25), "part"))
        last.op_type, last.input[:] = "Add", [last.input[0], "part"]
    return model


@pytest.mark.parametrize("named", [True, False])
def test_networks_with_masks_are_told_so(tmp_path: Path, named: bool) -> None:
    """Not that they have room for more classes: the further channels are of the masks."""
    model = foreign_model("yolov8", more=True)
    options = replace(_options("yolov8"), classes=("a", "b"))
    if named:
        model.metadata_props.add(key="names", value="{0: 'a', 1: 'b'}")
        options = replace(options, classes=None)
    onnx.save(model, str(tmp_path / "seg.onnx"))
    with pytest.raises(ModelError, match="no output is of the kind") as caught:
        adopt(tmp_path / "seg.onnx", tmp_path / "o.onnx", options)
    assert "without masks" in str(caught.value.hint)


def test_graphs_of_several_pictures_are_refused(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "yolox", batch=4)
    with pytest.raises(ModelError, match="exactly 4 pictures") as caught:
        adopt(source, tmp_path / "o.onnx", _options("yolox"))
    assert "open batch" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("kind", "change", "word"),
    [
        ("yolox", "half", "expected float32 pixels"),
        ("yolox", "nhwc", "expected pictures"),
        ("yolox", "two inputs", "expected one input"),
        ("yolov8", "two heads", "several outputs"),
        ("yolox", "fewer anchors", "120 anchors, strides 8, 16 and 32 make 126"),
        ("yolov8", "logits", "expected 0 to 1"),
        ("n6", "sixths", "whole numbers|expected 0 to 1"),
    ],
)
def test_graphs_that_are_refused(tmp_path: Path, kind: Any, change: str, word: str) -> None:
    onnx.save(_spoiled(kind, change), str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match=word) as caught:
        adopt(tmp_path / "m.onnx", tmp_path / "o.onnx", _options(kind))
    assert caught.value.hint
    assert not (tmp_path / "o.onnx").exists()


def test_one_of_two_heads_by_name(tmp_path: Path) -> None:
    onnx.save(_spoiled("yolov8", "two heads"), str(tmp_path / "m.onnx"))
    made = adopt(tmp_path / "m.onnx", tmp_path / "o.onnx", _options("yolov8", output="twin"))
    assert made.manifest.adopted is not None
    assert made.manifest.adopted.output == "twin"


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "n6")
    for out in (tmp_path / "m.engine", source, tmp_path / "no" / "o.onnx"):
        with pytest.raises(OutputError):
            adopt(source, out, _options("n6"))
    text = tmp_path / "text.onnx"
    text.write_text("not a network\n" * 9, encoding="utf-8")
    with pytest.raises(ModelError):
        adopt(text, tmp_path / "o.onnx", _options("n6"))
    own = write_tiny(tmp_path / "own.onnx")
    with pytest.raises(ModelError, match="already"):
        adopt(own, tmp_path / "o.onnx", _options("n6"))


def test_an_adopted_file_can_be_adopted_anew(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "m.onnx", "yolox")
    adopt(source, tmp_path / "a.onnx", _options("yolox"))
    again = adopt(tmp_path / "a.onnx", tmp_path / "b.onnx", _options("yolox", nms_iou=0.6))
    assert again.manifest.adopted is not None
    assert again.manifest.adopted.nms_iou == 0.6


def test_class_files(tmp_path: Path) -> None:
    path = write_names(tmp_path / "names.txt", ("traffic light", "Ärger", "c"))
    assert read_names(path) == ("traffic light", "Ärger", "c")
    path.write_bytes(b"\xef\xbb\xbfa\r\n b \r\n\r\n")
    assert read_names(path) == ("a", "b")
    for content in (b"", b"\n\n", b"a\n\nb\n", b"a\nb\na\n", b"\xff\xfe\xfa"):
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_names(path)
        assert caught.value.hint
    with pytest.raises(ConfigError, match="cannot read"):
        read_names(tmp_path / "absent.txt")


def test_own_manifests_stay_as_they_were() -> None:
    own = Manifest(name="m", input=InputSpec(size_hw=(32, 32)), classes=("a",))
    assert "adopted" not in own.to_json()
    assert Manifest.model_validate_json(own.to_json()) == own
    foreign = own.model_copy(update={"decode": "n6", "adopted": Adopted(output="o", anchors=3)})
    assert Manifest.model_validate_json(foreign.to_json()) == foreign
    assert foreign.expected_outputs() == {"o": ("float32", (3, 6))}
    with pytest.raises(ValueError, match="not adopted"):
        Manifest.model_validate({**foreign.model_dump(), "decode": "edgemtl"})
