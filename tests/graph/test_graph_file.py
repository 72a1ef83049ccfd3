"""Model files: what is read, what is refused and why, what counts for the hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of
from onnx import TensorProto, helper, numpy_helper
from tiny_model import tiny_model, write_tiny

from edgemtl.errors import ModelError, OutputError
from edgemtl.graph.file import OPSET, canonical_hash, load_model, save_model
from edgemtl.manifest import METADATA_KEY


def test_round_trip_keeps_graph_and_manifest(tmp_path: Path) -> None:
    model = tiny_model()
    manifest = manifest_of(model).model_copy(update={"name": "renamed"})
    save_model(model, manifest, tmp_path / "m.onnx")
    loaded, found = load_model(tmp_path / "m.onnx")
    assert found == manifest
    assert list(loaded.graph.node) == list(model.graph.node)
    assert manifest_of(model).name == "tiny", "the model in memory is left as it was"


def test_other_metadata_survives(tmp_path: Path) -> None:
    model = tiny_model()
    helper.set_model_props(model, {METADATA_KEY: "stale", "author": "me"})
    save_model(model, manifest_of(tiny_model()), tmp_path / "m.onnx")
    loaded, _ = load_model(tmp_path / "m.onnx")
    assert {p.key for p in loaded.metadata_props} == {METADATA_KEY, "author"}


@pytest.mark.parametrize(
    "content",
    [b"", b"hello, this is a text file\n" * 20, b"\x00" * 100, b"# yaml\nkey: value\n"],
    ids=["empty", "text", "zeros", "yaml"],
)
def test_files_that_are_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx") as caught:
        load_model(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, part: float) -> None:
    whole = write_tiny(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelError):
        load_model(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.onnx", tmp_path):
        with pytest.raises(ModelError, match="cannot be read"):
            load_model(path)


def test_no_manifest(tmp_path: Path) -> None:
    model = tiny_model()
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="without an edgemtl manifest") as caught:
        load_model(tmp_path / "m.onnx")
    assert "export" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"top_k": 9}, "boxes"),
        ({"classes": ()}, "outputs"),
        ({"embedding_dim": 5}, "embeddings"),
        ({"image_classes": ("x",)}, "image_probs"),
    ],
)
def test_manifest_against_graph(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    model = tiny_model()
    wrong = manifest_of(model).model_copy(update=changes)
    helper.set_model_props(model, {METADATA_KEY: wrong.to_json()})
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match=word):
        load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("update", [{"size_hw": (32, 32)}, {"dtype": "uint8"}])
def test_manifest_input_against_graph(tmp_path: Path, update: dict[str, object]) -> None:
    model = tiny_model()
    manifest = manifest_of(model)
    wrong = manifest.model_copy(update={"input": manifest.input.model_copy(update=update)})
    with pytest.raises(ModelError, match="input"):
        save_model(model, wrong, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir()), "nothing is written"


def _unknown_operator(model: onnx.ModelProto) -> None:
    sigmoid = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    sigmoid.op_type = "Softsign"


def _new_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = OPSET + 3


def _other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _double(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float64), "wide"))


def _dangling(model: onnx.ModelProto) -> None:
    model.graph.node[3].input[0] = "nobody"


def _bytes_in(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("bytes", TensorProto.UINT8, [1], [1]))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_unknown_operator, "Softsign"),
        (_new_opset, "opset 22"),
        (_other_domain, "com.microsoft"),
        (_double, "double"),
        (_dangling, "not a valid ONNX graph"),
        (_bytes_in, "uint8"),
    ],
)
def test_graphs_that_some_backend_cannot_read(tmp_path: Path, spoil, word: str) -> None:  # type: ignore[no-untyped-def]
    model = tiny_model()
    manifest = manifest_of(model)
    spoil(model)
    target = tmp_path / "m.onnx"
    target.write_bytes(b"before")
    with pytest.raises(ModelError, match=word):
        save_model(model, manifest, target)
    assert target.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_external_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        tiny_model(), str(path), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    with pytest.raises(ModelError, match="another file"):
        load_model(path)


def test_unwritable_folder(tmp_path: Path) -> None:
    model = tiny_model()
    with pytest.raises(OutputError):
        save_model(model, manifest_of(model), tmp_path / "no" / "m.onnx")


def test_hash_ignores_what_does_not_compute() -> None:
    model, same = tiny_model(), tiny_model()
    for node in same.graph.node:
        node.name, node.doc_string = f"other {node.name}", "words"
    same.doc_string = "words"
    for tensor in same.graph.initializer:
        if tensor.raw_data and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).ravel().tolist()
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values)
    assert canonical_hash(model) == canonical_hash(same)


def test_hash_sees_weights_attributes_and_metadata() -> None:
    hashes = {canonical_hash(tiny_model())}
    hashes.add(canonical_hash(tiny_model(seed=1)))
    model = tiny_model()
    next(n for n in model.graph.node if n.op_type == "MaxPool").attribute[0].ints[0] = 3
    hashes.add(canonical_hash(model))
    model = tiny_model()
    helper.set_model_props(model, {METADATA_KEY: "other"})
    hashes.add(canonical_hash(model))
    assert len(hashes) == 4
