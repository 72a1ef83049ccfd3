"""Another project's weights on real pictures: the plain pipeline, pycocotools, recorded figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import foreign_reference
import numpy as np
import onnxruntime
import pytest

from edgemtl import ops
from edgemtl.adopt import AdoptOptions, adopt, read_names
from edgemtl.engine import open_session
from edgemtl.engine.predict import Predictor
from edgemtl.metrics import DetectionMeter
from edgemtl.records import Detections, RawOutputs

SIZE = (416, 416)
FIGURES = Path(__file__).resolve().parents[2] / "benchmarks/results/adopted_detectors.json"
Plain = Callable[[np.ndarray, float], Detections]


@pytest.fixture(scope="module")
def original(data_root: Path) -> Path:
    return data_root / "weights" / "yolox_nano_416_coco.onnx"


@pytest.fixture(scope="module")
def predictor(
    original: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Predictor]:
    out = tmp_path_factory.mktemp("yolox") / "nano.onnx"
    names = read_names(data_root / "weights" / "coco.names")
    report = adopt(original, out, AdoptOptions("yolox", names))
    assert report.opset == (11, 19)
    assert report.manifest.adopted is not None
    assert (report.manifest.adopted.grid, report.manifest.adopted.anchors) == (True, 3549)
    with closing(open_session(out)) as session:
        yield Predictor(session, 0.3)


@pytest.fixture(scope="module")
def plain(original: Path) -> Plain:
    """The original file by ONNX Runtime, OpenCV's resize, numpy's decoding and suppression."""
    session = onnxruntime.InferenceSession(str(original), providers=["CPUExecutionProvider"])

    def detect(image: np.ndarray, low: float) -> Detections:
        tensor, place = foreign_reference.letterbox(image, SIZE, rgb=False, scale=1, centre=False)
        values = np.asarray(session.run(None, {"images": tensor})[0])[0]
        rows = foreign_reference.decode("yolox", values, SIZE, 80, low, False)
        boxes, scores, labels = (a[foreign_reference.nms(rows, 0.45, 300)] for a in rows)
        boxes = foreign_reference.to_source(boxes, place, image).astype(np.float32)
        return Detections(boxes, scores, labels.astype(np.int32))

    return detect


def _coco(data_root: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    folder = data_root / "detection_coco256"
    listed = json.loads((folder / "instances_val.json").read_text(encoding="utf-8"))
    for image in listed["images"]:
        picture = cv2.imread(str(folder / "images" / "val2017" / image["file_name"]))
        assert picture is not None
        yield image, picture


def _video(data_root: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(data_root / "mot" / "PETS09-S2L1" / "vtest.avi"))
    for index in range(400, 600):
        if index % 20 == 0:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            yield capture.read()[1]
    capture.release()


def _agreement(pairs: Iterator[tuple[Detections, Detections]]) -> tuple[int, float, float, float]:
    """Objects; the share found by both at IoU .9; median distance in pixels; largest of scores."""
    objects, hits, distances, gaps = 0, 0, [], []
    for want, got in pairs:
        objects += len(want) + len(got)
        overlap = ops.iou_matrix(want.boxes_src, got.boxes_src)
        overlap *= want.labels[:, None] == got.labels[None]
        i, j = np.nonzero(overlap == overlap.max(1, initial=0.9, keepdims=True))
        hits += 2 * len(i)
        distances += np.abs(want.boxes_src[i] - got.boxes_src[j]).max(1).tolist()
        gaps += np.abs(want.scores[i] - got.scores[j]).tolist()
    return objects, hits / objects, float(np.median(distances)), max(gaps)


def test_coco_pictures_as_the_plain_pipeline(
    data_root: Path, predictor: Predictor, plain: Plain
) -> None:
    """Resizing rounds a level here and there, so a score at the threshold may fall either way."""
    pairs = ((plain(p, 0.3), predictor.predict(p)[1]) for _, p in _coco(data_root))
    objects, share, distance, gap = _agreement(pairs)
    assert objects > 500
    assert share > 0.985
    assert distance < 0.2
    assert gap < 0.02


def test_video_frames_as_the_plain_pipeline(
    data_root: Path, predictor: Predictor, plain: Plain
) -> None:
    pairs = ((plain(p, 0.3), predictor.predict(p)[1]) for p in _video(data_root))
    objects, share, distance, gap = _agreement(pairs)
    assert objects > 100
    assert share > 0.985
    assert distance < 0.2
    assert gap < 0.02


def test_the_same_values_are_decoded_exactly(data_root: Path, predictor: Predictor) -> None:
    for _, picture in list(_coco(data_root))[::4]:
        outputs, geometry = predictor.outputs(picture)
        assert isinstance(outputs, RawOutputs)
        rows = foreign_reference.decode("yolox", outputs.values[0], SIZE, 80, 0.01, False)
        keep = foreign_reference.nms(rows, 0.45, 300)
        got = ops.decode(outputs, 0, geometry, 0.01)
        place = (*geometry.scale_xy, 0, 0)
        boxes = foreign_reference.to_source(rows[0][keep], place, picture)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        assert got.scores == pytest.approx(rows[1][keep][inside], rel=1e-6)
        assert got.labels.tolist() == rows[2][keep][inside].tolist()
        assert got.boxes_src == pytest.approx(boxes[inside], abs=0.01)


def test_average_precision_is_what_pycocotools_says(
    data_root: Path, predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truth = coco_module.COCO(str(data_root / "detection_coco256" / "instances_val.json"))
    meter, rows = DetectionMeter(), []
    for image, picture in _coco(data_root):
        outputs, geometry = predictor.outputs(picture)
        found = ops.decode(outputs, 0, geometry, 0.01)
        marks = truth.loadAnns(truth.getAnnIds(imgIds=[image["id"]]))
        boxes = np.array([m["bbox"] for m in marks], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([m["category_id"] for m in marks], np.int32)
        meter.add(
            boxes, labels, np.zeros(len(marks), np.bool_), found.boxes_src, found.scores,
            found.labels, np.ones(80, np.bool_),
        )  # fmt: skip
        for box, score, label in zip(
            found.boxes_src.astype(float), found.scores, found.labels, strict=True
        ):
            xywh = [*box[:2], *(box[2:] - box[:2])]
            row = {"image_id": image["id"], "category_id": int(label)}
            rows.append({**row, "bbox": [float(v) for v in xywh], "score": float(score)})
    judge = evaluation.COCOeval(truth, truth.loadRes(rows), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    capsys.readouterr()
    scores = meter.result()
    assert [scores.map, scores.map50, scores.map75] == pytest.approx(judge.stats[:3], abs=1e-6)
    assert scores.map50 > 0.5
    recorded = json.loads(FIGURES.read_text(encoding="utf-8"))["scores"]
    assert [scores.map, scores.map50] == pytest.approx(
        [recorded["map"], recorded["map50"]], abs=0.005
    )
