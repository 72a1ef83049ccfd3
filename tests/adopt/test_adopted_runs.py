"""Adopted detectors in every session and command, against the plain twin of the whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import foreign_reference
import numpy as np
import onnx
import onnxruntime
import pytest
import small_files
from foreign_models import CLASSES, SIZE, write_foreign, write_names

from edgemtl import ops
from edgemtl.adopt import AdoptOptions, adopt
from edgemtl.cli import invoke
from edgemtl.engine import open_session
from edgemtl.engine.predict import Predictor
from edgemtl.errors import EngineError, ModelError
from edgemtl.evaluate import compare_outputs
from edgemtl.graph.file import load_model
from edgemtl.manifest import METADATA_KEY
from edgemtl.records import Detections, RawOutputs

KINDS = ["yolox", "yolov8", "n6"]
IOU = {"yolox": 0.45, "yolov8": 0.7, "n6": 1.0}
LOW = 0.55


def _adopted(folder: Path, kind: Any, **kw: Any) -> Path:
    source = write_foreign(folder / f"{kind}.onnx", kind, **kw)
    adopt(source, folder / f"{kind}.mine.onnx", AdoptOptions(kind, CLASSES))
    return folder / f"{kind}.mine.onnx"


def _plain(original: Path, kind: str, image: np.ndarray, low: float) -> Detections:
    """Letterbox, network, decoding, suppression: each by somebody else's code."""
    how = {"rgb": kind != "yolox", "centre": kind != "yolox"}
    scale = 1.0 if kind == "yolox" else 1 / 255
    tensor, place = foreign_reference.letterbox(image, SIZE, scale=scale, **how)
    session = onnxruntime.InferenceSession(str(original), providers=["CPUExecutionProvider"])
    values = np.asarray(session.run(None, {session.get_inputs()[0].name: tensor})[0])[0]
    rows = foreign_reference.decode(kind, values, SIZE, len(CLASSES), low, False)
    boxes, scores, labels = (a[foreign_reference.nms(rows, IOU[kind], 126)] for a in rows)
    boxes = foreign_reference.to_source(boxes, place, image).astype(np.float32)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return Detections(boxes[inside], scores[inside], labels[inside].astype(np.int32))


def _close(got: Detections, want: Detections) -> None:
    """The same objects; a resize that rounds otherwise moves a score by a little."""
    overlap = ops.iou_matrix(want.boxes_src, got.boxes_src)
    assert len(want) > 3
    clear = np.flatnonzero(want.scores > LOW + 0.02)
    partner = overlap.argmax(1)
    hits = overlap.max(1, initial=0) > 0.9
    hits &= got.labels[partner] == want.labels
    hits &= np.abs(got.scores[partner] - want.scores) < 0.02
    assert hits[clear].mean() > 0.9
    assert abs(len(got) - len(want)) <= 0.1 * len(want) + 2


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [1, "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_gives_what_the_plain_pipeline_gives(
    tmp_path: Path, kind: str, batch: Any, backend: str
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    model = _adopted(tmp_path, kind, batch=batch)
    with closing(open_session(model, backend=backend, threads=1)) as session:
        predictor = Predictor(session, LOW)
        for image in small_files.pictures(6, (96, 131))[::5]:
            scene, got = predictor.predict(image)
            assert scene is None
            _close(got, _plain(tmp_path / f"{kind}.onnx", kind, image, LOW))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", KINDS)
def test_raw_outputs_of_a_batch(tmp_path: Path, kind: str, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    model = _adopted(tmp_path, kind, batch="b")
    random = np.random.default_rng(0)
    scale = 255 if kind == "yolox" else 1
    images = random.uniform(0, scale, (3, 3, *SIZE)).astype(np.float32)
    plain = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    want = np.asarray(plain.run(None, {"pixels:0": images})[0])
    with closing(open_session(model, backend=backend, threads=1, batch=4)) as session:
        out = session.infer(images)
        kept = session.infer(images[:1])
        assert isinstance(out, RawOutputs)
        assert isinstance(kept, RawOutputs)
        np.testing.assert_allclose(out.values, want, rtol=1e-3, atol=1e-3)
        assert out.boxes_net.shape == (3, 0, 4)
        arrays = [getattr(out, f.name) for f in fields(out)]
        assert all(a.flags.owndata for a in arrays if isinstance(a, np.ndarray))
        assert not np.shares_memory(out.values, kept.values)
        with pytest.raises(ValueError, match="adopted"):
            compare_outputs(out, out)
        rows = ops.select(out, 0.5)
        assert compare_outputs(rows, rows, min_score=0.5).match_rate == 1


def test_a_fixed_batch_is_told(tmp_path: Path) -> None:
    model = _adopted(tmp_path, "yolox", batch=1)
    with pytest.raises(EngineError, match="exactly 1 pictures") as caught:
        open_session(model, batch=2)
    assert "open batch" in str(caught.value.hint)


def test_a_manifest_of_another_graph(tmp_path: Path) -> None:
    """The manifest is copied by hand to a graph of another kind."""
    one, other = _adopted(tmp_path, "yolox"), _adopted(tmp_path, "yolov8")
    _, manifest = load_model(one)
    model = onnx.load(str(other))
    onnx.helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    onnx.save(model, str(tmp_path / "liar.onnx"))
    with pytest.raises(ModelError, match=r"\[1, 126, 8\]|'N', 126, 8") as caught:
        open_session(tmp_path / "liar.onnx")
    assert "adopt the original again" in str(caught.value.hint)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = invoke([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def _labelled(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """A data file over pictures with one box each, the block that moves."""
    (folder / "few").mkdir()
    images, boxes = [], []
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / "few" / f"{index}.png"), picture)
        height, width = picture.shape[:2]
        sizes = {"id": index, "file_name": f"{index}.png", "width": width, "height": height}
        images.append(sizes)
        box = {"bbox": [4 + 2 * index, 10, 20, 20], "area": 400, "iscrowd": 0, "id": index + 1}
        boxes.append({**box, "image_id": index, "category_id": 0})
    kinds = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    listed = {"images": images, "annotations": boxes, "categories": kinds}
    (folder / "few.json").write_text(json.dumps(listed), encoding="utf-8")
    lines = [f"classes = {json.dumps(CLASSES)}", "[[val]]", 'name = "few"', 'format = "coco"']
    lines += [f'images = "{folder}/few"', f'annotations = "{folder}/few.json"', ""]
    (folder / "few.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "few.toml"


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands(tmp_path: Path, cli: Any, kind: str) -> None:
    """info --adopt, info, run, bench, eval, calibrate: from a foreign file to INT8 tracks."""
    source, names = write_foreign(tmp_path / "m.onnx", kind), write_names(tmp_path / "names.txt")
    clip, model = small_files.write_clip(tmp_path / "clip.avi", 8), tmp_path / "mine.onnx"
    code, out, err = cli(
        "info", source, "--adopt", model, "--decode", kind, "--classes", names,
        "--min-score", "0.6", "--licence", "CC0", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert f"hint: edgemtl run {model}" in err
    facts = json.loads(out)
    assert facts["manifest"]["decode"] == kind
    assert facts["manifest"]["weights_licence"] == "CC0"
    assert list(facts["outputs"]) == ["out/head"]
    text = cli("info", model)[1]
    assert f"{kind}: output 'out/head', 126 candidates" in text
    lines = tmp_path / "out.jsonl"
    code, _, err = cli("run", model, "--source", clip, "--jsonl", lines)
    assert code == 0, err
    frames = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert len(frames) == 8
    for frame in frames:
        scores = [found["score"] for found in frame["detections"]]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) >= 0.6
        assert {found["name"] for found in frame["detections"]} <= set(CLASSES)
    assert sum(len(frame["tracks"]) for frame in frames) > 8
    code, out, err = cli("bench", model, "--source", clip, "--frames", 4, "--warmup", 1, "--json")
    assert (code, json.loads(out)["frames"]) == (0, 4), err
    data = _labelled(tmp_path, small_files.pictures(4))
    code, out, err = cli("eval", model, "--data", data, "--json")
    assert code == 0, err
    assert json.loads(out)["sets"]["few"]["detection"]["truths"] == 4
    int8 = tmp_path / "int8.onnx"
    code, out, err = cli("calibrate", model, "--images", clip, "--out", int8, "--json")
    assert code == 0, err
    agreement = json.loads(out)["agreement"]["fp32 : int8"]["iou_0.5"]
    assert agreement["detections"] > 10
    assert agreement["match_rate"] > 0.8
    assert cli("run", int8, "--source", clip)[0] == 0


def test_the_command_says_what_is_missing(tmp_path: Path, cli: Any) -> None:
    source, names = write_foreign(tmp_path / "m.onnx", "n6"), write_names(tmp_path / "names.txt")
    out = tmp_path / "o.onnx"
    for arguments, word in (
        (["--decode", "n6"], "--adopt OUT.onnx is missing"),
        (["--pad", "3"], "--adopt OUT.onnx is missing"),
        (["--adopt", out], "--decode is missing"),
        (["--adopt", out, "--decode", "n6"], "does not name its classes"),
        (["--adopt", out, "--decode", "yolox", "--classes", names], "no output is of the kind"),
        (["--adopt", out, "--decode", "n6", "--classes", names, "--size", "3"], "--size: expected"),
    ):
        code, _, err = cli("info", source, *arguments)
        assert code == 1
        assert word in err
        assert "hint: " in err
    assert cli("info", source, "--adopt", out, "--decode", "ssd")[0] == 2
    assert not out.exists()
    assert "--adopt OUT.onnx" in cli("info", source)[2]


def test_calibrating_a_network_out_of_reach_is_refused(tmp_path: Path, cli: Any) -> None:
    """INT8 would end at the first Tanh; a file as slow as before is not worth writing."""
    model = onnx.load(str(_adopted(tmp_path, "yolov8")))
    graph, kernel = model.graph, np.zeros((3, 3, 1, 1), np.float32)
    kernel[[0, 1, 2], [0, 1, 2]] = 1
    graph.initializer.append(onnx.numpy_helper.from_array(kernel, "one"))
    for node in graph.node:
        node.input[:] = ["gated" if name == "pixels:0" else name for name in node.input]
    front = [
        onnx.helper.make_node("Conv", ["pixels:0", "one"], ["linear"]),
        onnx.helper.make_node("Tanh", ["linear"], ["gate"]),
        onnx.helper.make_node("Mul", ["linear", "gate"], ["gated"]),
    ]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(tmp_path / "gated.onnx"))
    folder = small_files.write_folder(tmp_path / "images", 6)
    out = tmp_path / "o.onnx"
    code, _, err = cli("calibrate", tmp_path / "gated.onnx", "--images", folder, "--out", out)
    assert code == 1
    assert "only 1 of 4 convolutions" in err
    assert "--precision fp16" in err
    assert not out.exists()
