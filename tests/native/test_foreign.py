"""Adopted detectors' raw outputs and suppression, against numpy twins and torchvision."""

from __future__ import annotations

from typing import Any

import foreign_reference
import numpy as np
import pytest

from edgemtl import _native, ops
from edgemtl.manifest import Adopted, InputSpec, Manifest
from edgemtl.ops import letterbox_geometry, nms
from edgemtl.records import Detections, RawOutputs

SIZE, CLASSES = (96, 160), 7
ANCHORS = 12 * 20 + 6 * 10 + 3 * 5
KINDS = ["yolox", "pixels", "yolov8", "n6"]
MOST = 4096


def _boxes(n: int, seed: int, side: float = 40) -> np.ndarray:
    random = np.random.default_rng(seed)
    low = random.uniform(-10, 150, (n, 2))
    return np.concatenate([low, low + random.uniform(1, side, (n, 2))], 1).astype(np.float32)


def _rows(n: int, seed: int, labels: int = 3) -> foreign_reference.Rows:
    random = np.random.default_rng(seed)
    scores = random.random(n).astype(np.float32)
    return _boxes(n, seed), scores, random.integers(0, labels, n).astype(np.int32)


def _raw(kind: str, seed: int, anchors: int = ANCHORS, classes: int = CLASSES) -> np.ndarray:
    """One picture's output; values are what a network could say."""
    random = np.random.default_rng(seed)
    boxes = _boxes(anchors, seed)
    if kind == "n6":
        more = [random.random(anchors), random.integers(-1, classes + 1, anchors)]
        return np.concatenate([boxes, np.stack(more, 1)], 1).astype(np.float32)
    xywh = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    if kind == "yolox":
        xywh = random.normal(0, 0.8, (anchors, 4))
    scores = random.random((anchors, classes + (kind != "yolov8"))) ** 2
    values = np.concatenate([xywh, scores], 1).astype(np.float32)
    return np.ascontiguousarray(values.T) if kind == "yolov8" else values


def _outputs(kind: str, values: np.ndarray, classes: int, size: Any, **adopted: Any) -> RawOutputs:
    """A batch [N, ...] of raw outputs with their manifest."""
    decode = "yolox" if kind == "pixels" else kind
    anchors = values.shape[2 if kind == "yolov8" else 1]
    manifest = Manifest(
        name="m",
        input=InputSpec(size_hw=size, dtype="float32"),
        decode=decode,
        adopted=Adopted(output="o", anchors=anchors, grid=kind == "yolox", **adopted),
        classes=tuple(f"c{i}" for i in range(classes)),
        top_k=300,
    )
    none = np.zeros((len(values), 0), np.float32)
    return RawOutputs(
        none[..., None].repeat(4, 2), none, none.astype(np.int32), values=values, manifest=manifest
    )


def _twin(
    kind: str, values: np.ndarray, low: float, iou: float, geometry: Any, most: int = 300
) -> Detections:
    decode = "yolox" if kind == "pixels" else kind
    rows = foreign_reference.decode(decode, values, SIZE, CLASSES, low, kind == "pixels")
    boxes, scores, labels = (a[foreign_reference.nms(rows, iou, most)] for a in rows)
    offset = np.array([*geometry.pad_xy, *geometry.pad_xy])
    scale = np.array([*geometry.scale_xy, *geometry.scale_xy])
    high = np.array([*geometry.src_hw[::-1]] * 2)
    moved = np.clip((boxes - offset) / scale, 0, high).astype(np.float32)
    inside = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
    return Detections(moved[inside], scores[inside], labels[inside].astype(np.int32))


def _same(got: Detections, want: Detections) -> None:
    assert got.labels.tolist() == want.labels.tolist()
    assert got.scores == pytest.approx(want.scores, rel=1e-6)
    assert got.boxes_src == pytest.approx(want.boxes_src, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("low", [0.0, 0.05, 0.4, 0.9, 1.1])
@pytest.mark.parametrize("kind", KINDS)
def test_decode_equals_the_twin(kind: str, low: float) -> None:
    geometry = letterbox_geometry((300, 417), SIZE)
    values = np.stack([_raw(kind, seed) for seed in range(4)])
    outputs = _outputs(kind, values, CLASSES, SIZE, nms_iou=0.5)
    for n in range(4):
        got = ops.decode(outputs, n, geometry, low)
        _same(got, _twin(kind, values[n], low, 0.5, geometry))
        assert len(got) or low >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_without_suppression_and_across_classes(kind: str) -> None:
    geometry, values = letterbox_geometry(SIZE, SIZE), _raw(kind, 9)
    everything = ops.decode(_outputs(kind, values[None], CLASSES, SIZE), 0, geometry, 0.3)
    _same(everything, _twin(kind, values, 0.3, 1.0, geometry))
    across = _outputs(kind, values[None], CLASSES, SIZE, nms_iou=0.3, class_agnostic=True)
    by_class = _outputs(kind, values[None], CLASSES, SIZE, nms_iou=0.3)
    few, some = (len(ops.decode(o, 0, geometry, 0.3)) for o in (across, by_class))
    assert 0 < few < some < len(everything)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite(kind: str) -> None:
    """A tenth of the numbers spoiled: never an error, never a box that is not finite."""
    geometry = letterbox_geometry((200, 90), SIZE)
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9], np.float32)
    for seed in range(6):
        values, random = _raw(kind, seed), np.random.default_rng(seed)
        spoil = random.random(values.shape) < 0.1
        spoil |= (values == values.max()) & (kind != "n6")
        values[spoil] = random.choice(wild, spoil.sum())
        if kind != "n6":  # scores above 1 are not what the kinds promise
            part = values[4:] if kind == "yolov8" else values[:, 4:]
            part[part > 1] = np.nan
        outputs = _outputs(kind, values[None], CLASSES, SIZE, nms_iou=0.5)
        got = ops.decode(outputs, 0, geometry, 0.2)
        _same(got, _twin(kind, values, 0.2, 0.5, geometry))
        assert np.isfinite(got.boxes_src).all()


def test_one_anchor_and_one_class() -> None:
    geometry = letterbox_geometry((100, 100), (100, 100))
    rows = {
        "pixels": [[50, 40, 20, 10, 0.8, 0.5]],
        "yolov8": [[50], [40], [20], [10], [0.4]],
        "n6": [[40, 35, 60, 45, 0.4, 0]],
    }
    for kind, values in rows.items():
        outputs = _outputs(kind, np.array([values], np.float32), 1, (100, 100), nms_iou=0.5)
        got = ops.decode(outputs, 0, geometry, 0.4)
        assert got.boxes_src[0] == pytest.approx([40, 35, 60, 45])
        assert got.scores.tolist() == [pytest.approx(0.4)]
        assert len(ops.decode(outputs, 0, geometry, 0.41)) == 0


def test_the_threshold_belongs_to_what_is_kept() -> None:
    values = np.array([[[50, 40, 20, 10, 0.5, 1.0]]], np.float32)
    geometry = letterbox_geometry((100, 100), (100, 100))
    outputs = _outputs("pixels", values, 1, (100, 100), nms_iou=0.5)
    assert len(ops.decode(outputs, 0, geometry, 0.5)) == 1
    assert len(ops.decode(outputs, 0, geometry, float(np.nextafter(np.float32(0.5), 1)))) == 0


def test_yolox_cells_in_order() -> None:
    """Log sides 0 and offsets 1/2: every box is its own cell, moved to nobody else's."""
    cells, strides = foreign_reference.grid((64, 96))
    values = np.zeros((len(cells), 6), np.float32)
    values[:, :2], values[:, 4:] = 0.5, 1
    outputs = _outputs("yolox", values[None], 1, (64, 96))
    got = ops.decode(outputs, 0, letterbox_geometry((64, 96), (64, 96)), 0.5)
    low = cells * strides[:, None]
    want = np.concatenate([low, low + strides[:, None]], 1)
    assert np.array_equal(got.boxes_src, want)


@pytest.mark.parametrize("kind", ["pixels", "yolov8", "n6"])
def test_more_candidates_than_the_cap(kind: str) -> None:
    """9,000 anchors that do not touch: the best 4,096 by score go on, the rest are as if absent."""
    n = 9000
    at = np.stack([np.arange(n) % 100 * 10.0, np.arange(n) // 100 * 10.0], 1)
    scores = np.random.default_rng(0).permutation(n) / n
    if kind == "n6":
        values = np.concatenate([at, at + 4, scores[:, None], np.zeros((n, 1))], 1)
    else:
        values = np.concatenate([at + 2, np.full((n, 2), 4.0), scores[:, None]], 1)
        values = np.insert(values, 4, 1, 1) if kind == "pixels" else values.T
    values = np.ascontiguousarray(values, np.float32)
    out = [np.empty((n, 4), "f4"), np.empty(n, "f4"), np.empty(n, "i4")]
    number = {"pixels": 1, "yolov8": 2, "n6": 3}[kind]
    mapping = (1.0, 1.0, 0.0, 0.0, 1000.0, 1000.0)
    for most, want in ((n, MOST), (50, 50), (0, 0)):
        found = _native.detect(number, values, 1, 1000, 1000, mapping, 0.0, 0.5, False, most, *out)
        assert found == want
        order = np.argsort(-scores)[:found]
        assert np.array_equal(out[0][:found, :2], at[order].astype(np.float32))


def test_equal_scores_keep_the_order_of_the_anchors() -> None:
    values = np.zeros((1, 200, 6), np.float32)
    values[0, :, 0], values[0, :, 4] = np.arange(200), 0.5
    values[0, :, 2:4] = values[0, :, :1] + [1, 1]
    got = ops.decode(_outputs("n6", values, 1, SIZE), 0, letterbox_geometry((300, 300), SIZE), 0)
    assert (np.diff(got.boxes_src[:, 0]) > 0).all()
    classes = np.full((1, 6, 4), 0.25, np.float32)
    classes[0, :4] = np.array([[5], [5], [4], [4]])
    got = ops.decode(_outputs("yolov8", classes, 2, SIZE), 0, letterbox_geometry(SIZE, SIZE), 0)
    assert got.labels.tolist() == [0] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_select_pads_what_decode_finds(kind: str) -> None:
    values = np.stack([_raw(kind, seed) for seed in (1, 2)])
    outputs = _outputs(kind, values, CLASSES, SIZE, nms_iou=0.5)
    rows = ops.select(outputs, 0.5)
    assert rows.scores.shape == (2, 300)
    for n in range(2):
        want = ops.decode(outputs, n, letterbox_geometry(SIZE, SIZE), 0.5)
        assert np.array_equal(rows.boxes_net[n, : len(want)], want.boxes_src)
        assert np.array_equal(rows.labels[n, : len(want)], want.labels)
        assert not rows.scores[n, len(want) :].any()


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 47, 48, 49, 300, 2000])
def test_nms_equals_the_twin(n: int, across: bool) -> None:
    for seed in range(4):
        rows = _rows(n, seed)
        iou, most = (0.0, 0.3, 0.65, 1.0)[seed], (n, n, max(n // 3, 1), n)[seed]
        got = nms(rows[0], rows[1], None if across else rows[2], iou, most)
        assert got.dtype == np.int32
        assert got.tolist() == foreign_reference.nms(rows, iou, most, across).tolist()


@pytest.mark.parametrize("iou", [0.1, 0.45, 0.5, 0.65, 0.7, 0.9])
@pytest.mark.parametrize("n", [1, 100, 1500])
def test_nms_equals_torchvision(n: int, iou: float) -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    for seed in range(3):
        boxes, scores, labels = _rows(n, seed)
        boxes = np.rint(boxes)  # many overlaps that are exactly the limit
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        scores = np.random.default_rng(seed).permutation(n).astype(np.float32) / n
        tensors = [torch.from_numpy(a) for a in (boxes, scores, labels.astype(np.int64))]
        want = torchvision.ops.batched_nms(*tensors, iou).tolist()
        assert nms(boxes, scores, labels, iou).tolist() == want
        assert nms(boxes, scores, None, iou).tolist() == (
            torchvision.ops.nms(*tensors[:2], iou).tolist()
        )


def test_nms_ties_and_signs() -> None:
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32), (100, 1))
    boxes += np.arange(100, dtype=np.float32)[:, None] * 10
    scores = np.zeros(100, np.float32)
    scores[::2] = -0.0
    assert nms(boxes, scores, None, 0.5).tolist() == list(range(100))
    scores = np.linspace(-3, 3, 100).astype(np.float32)
    assert nms(boxes, scores, None, 0.5).tolist() == list(range(99, -1, -1))
    assert nms(boxes[:1].repeat(9, 0), np.zeros(9), None, 0.5).tolist() == [0]
    assert nms(boxes[:1].repeat(9, 0), np.zeros(9), np.arange(9), 0.5).tolist() == list(range(9))


def test_nms_leaves_out_what_is_no_box() -> None:
    boxes = _boxes(9, 0)
    scores = np.linspace(1, 0.1, 9).astype(np.float32)
    boxes[0, 0], boxes[1, 3], scores[2], scores[3] = np.nan, np.inf, np.nan, np.inf
    boxes[4, 2], boxes[5] = boxes[4, 0], boxes[5, [2, 3, 0, 1]]
    assert nms(boxes, scores, None, 1.0).tolist() == [6, 7, 8]
    huge = np.array([[-3e38, -3e38, 3e38, 3e38], [0, 0, 1e9, 1e9], [0, 0, 1e9, 9e8]], np.float32)
    assert nms(huge, np.array([0.9, 0.8, 0.7]), None, 0.5).tolist() == [0, 1]


def test_nms_takes_any_layout_and_refuses_nonsense() -> None:
    boxes, scores, labels = _rows(40, 1)
    want = nms(boxes, scores, labels, 0.4).tolist()
    views = (np.asfortranarray(boxes), scores.astype(np.float64), np.repeat(labels, 2)[::2])
    assert nms(*views, 0.4).tolist() == want
    for wrong in ((boxes[:3], scores, labels), (boxes, scores[:3], labels), (boxes, scores, [1])):
        with pytest.raises(ValueError, match="expected"):
            nms(*wrong, 0.4)
    for iou, most in ((np.nan, 3), (-0.1, 3), (0.5, -1)):
        with pytest.raises(ValueError, match=r"iou|max_out"):
            nms(boxes, scores, labels, iou, most)


@pytest.mark.parametrize(
    ("place", "value", "word"),
    [
        (0, 4, "kind"), (0, -1, "kind"), (2, 0, "classes"), (2, 8, "numbers per anchor"),
        (3, 64, "anchors for an input"), (3, 0, "net size"), (4, 70000, "net size"),
        (7, np.nan, "iou"), (9, -1, "max_out"),
    ],
)  # fmt: skip
def test_detect_refuses(place: int, value: Any, word: str) -> None:
    out = [np.empty((300, 4), "f4"), np.empty(300, "f4"), np.empty(300, "i4")]
    mapping = (1.0, 1.0, 0.0, 0.0, 160.0, 96.0)
    arguments = [0, _raw("yolox", 0), CLASSES, *SIZE, mapping, 0.3, 0.5, False, 300, *out]
    assert _native.detect(*arguments) > 0
    arguments[place] = value
    with pytest.raises(ValueError, match=word):
        _native.detect(*arguments)


def test_raw_outputs_of_nobody() -> None:
    outputs = _outputs("n6", np.zeros((1, 2, 6), np.float32), 1, SIZE)
    own = outputs.manifest.model_copy(update={"adopted": None})
    lost = RawOutputs(
        outputs.boxes_net, outputs.scores, outputs.labels, values=outputs.values, manifest=own
    )
    with pytest.raises(ValueError, match="adopted"):
        ops.decode(lost, 0, letterbox_geometry(SIZE, SIZE), 0.5)
