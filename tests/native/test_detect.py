"""Boxes to and fro, decoding of a network's output, and IoU, against the plain twins."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference

from edgemtl.ops import boxes_to_net, boxes_to_src, decode, iou_matrix, letterbox_geometry
from edgemtl.records import NetOutputs

GEOMETRY = letterbox_geometry((480, 641), (320, 320))
MAPPING = (*GEOMETRY.scale_xy, *GEOMETRY.pad_xy, 641.0, 480.0)


def _boxes(n: int, low: float, high: float, seed: int = 0) -> np.ndarray:
    """f32 [n, 4], x1 < x2, y1 < y2."""
    corners = np.random.default_rng(seed).uniform(low, high, (n, 2, 2))
    return np.sort(corners, 1).reshape(n, 4).astype(np.float32)


@pytest.mark.parametrize("align", ["center", "top_left"])
@pytest.mark.parametrize("src", [(480, 641), (1, 1), (1080, 1920), (17, 900)])
def test_round_trip(src: tuple[int, int], align: str) -> None:
    geometry = letterbox_geometry(src, (320, 256), align)
    boxes = _boxes(200, 0, 1) * np.array([src[1], src[0]] * 2, np.float32)
    net = boxes_to_net(boxes, geometry)
    mapping = (*geometry.scale_xy, *geometry.pad_xy, float(src[1]), float(src[0]))
    assert net == pytest.approx(reference.boxes_to_net(boxes, mapping), rel=1e-5, abs=1e-4)
    assert boxes_to_src(net, geometry) == pytest.approx(boxes, rel=1e-5, abs=1e-3 * max(src) / 100)
    left, top = geometry.pad_xy
    right, bottom = left + geometry.scale_xy[0] * src[1], top + geometry.scale_xy[1] * src[0]
    whole = boxes_to_net(np.array([[0, 0, src[1], src[0]]], np.float32), geometry)
    assert whole[0] == pytest.approx([left, top, right, bottom], abs=1e-4)


def test_to_src_clips_and_keeps_nan() -> None:
    nan, inf = np.nan, np.inf
    boxes = np.array(
        [[-900, -900, 900, 900], [nan, 5, nan, 7], [-inf, -inf, inf, inf], [3e38, 3e38, -3e38, 0]],
        np.float32,
    )
    got = boxes_to_src(boxes, GEOMETRY)
    assert np.array_equal(np.isnan(got), np.isnan(boxes))
    assert got == pytest.approx(reference.boxes_to_src(boxes, MAPPING), nan_ok=True)
    assert got[0].tolist() == got[2].tolist() == [0, 0, 641, 480]
    assert np.isnan(boxes_to_net(boxes, GEOMETRY)[1, ::2]).all()


def test_mapping_accepts_no_boxes_and_views() -> None:
    assert boxes_to_net(np.zeros((0, 4), np.float32), GEOMETRY).shape == (0, 4)
    boxes = _boxes(20, 0, 300)
    for view in (boxes[::-2], np.asfortranarray(boxes), boxes.astype(np.float64)):
        assert np.array_equal(
            boxes_to_src(view, GEOMETRY),
            boxes_to_src(np.ascontiguousarray(view, np.float32), GEOMETRY),
        )
    for wrong in (np.zeros((3, 5)), np.zeros(4)):
        with pytest.raises((TypeError, ValueError), match="boxes: expected"):
            boxes_to_net(wrong, GEOMETRY)


def _outputs(k: int, seed: int, dim: int | None = 8, batch: int = 2) -> NetOutputs:
    """Sorted scores; a fifth of the rows are spoiled in one way or another."""
    random = np.random.default_rng(seed)
    boxes = _boxes(batch * k, -60, 380, seed).reshape(batch, k, 4)
    scores = -np.sort(-random.random((batch, k)).astype(np.float32), 1)
    embeddings = None
    if dim is not None:
        embeddings = random.standard_normal((batch, k, dim)).astype(np.float32)
        embeddings[random.random((batch, k, dim)) < 0.02] = np.nan
        embeddings[random.random((batch, k, dim)) < 0.01] = np.inf
    wild = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38], np.float32)
    spoil = random.random(boxes.shape) < 0.03
    boxes[spoil] = random.choice(wild, spoil.sum())
    scores[random.random(scores.shape) < 0.05] = np.nan
    scores[random.random(scores.shape) < 0.02] = np.inf
    labels = random.integers(-(2**31), 2**31, (batch, k)).astype(np.int32)
    return NetOutputs(boxes, scores, labels, embeddings)


@pytest.mark.parametrize("dim", [None, 1, 8])
@pytest.mark.parametrize("k", [0, 1, 2, 100, 3000])
def test_decode_equals_the_twin(k: int, dim: int | None) -> None:
    for seed in range(8):
        outputs = _outputs(k, seed, dim)
        n, low = seed % 2, (0.0, 0.3, 0.99)[seed % 3]
        rows = (outputs.boxes_net[n], outputs.scores[n], outputs.labels[n])
        embeddings = None if outputs.embeddings is None else outputs.embeddings[n]
        kept, boxes, vectors = reference.decode((*rows, embeddings), MAPPING, low)
        got = decode(outputs, n, GEOMETRY, low)
        assert got.scores.tolist() == rows[1][kept].tolist()
        assert got.labels.tolist() == rows[2][kept].tolist()
        assert got.boxes_src == pytest.approx(boxes, rel=1e-5, abs=1e-3)
        if vectors is None:
            assert got.embeddings is None
        else:
            assert np.array_equal(got.embeddings, vectors)


@pytest.mark.parametrize("dim", [None, 3])
def test_decode_takes_attributes_along(dim: int | None) -> None:
    for seed in range(6):
        outputs = _outputs(60, seed, dim)
        told = {
            "a": np.random.default_rng(seed).random((2, 60, 2), np.float32),
            "b": np.random.default_rng(seed + 9).random((2, 60, 5), np.float32),
        }
        outputs = dataclasses.replace(outputs, attributes=told)
        got = decode(outputs, 1, GEOMETRY, 0.2)
        rows = (outputs.boxes_net[1], outputs.scores[1], outputs.labels[1])
        kept, _, _ = reference.decode((*rows, None), MAPPING, 0.2)
        assert len(kept) > 5
        own = outputs.embeddings
        for place, row in enumerate(kept):
            whole = own is None or bool(np.isfinite(own[1, row]).all())
            for name, probs in told.items():
                expected = probs[1, row] if whole else np.zeros(probs.shape[2])
                assert got.attributes[name][place].tolist() == expected.tolist()
            if own is not None:
                vector = own[1, row] if whole else np.zeros(3)
                assert got.embeddings[place].tolist() == vector.tolist()
        some = got.where(np.arange(len(got)) % 2 == 0)
        assert some.attributes["b"].tolist() == got.attributes["b"][::2].tolist()


def test_decode_threshold_is_inclusive_and_results_are_copies() -> None:
    boxes = np.array([[[100, 100, 120, 120]] * 4], np.float32)
    scores = np.array([[0.9, 0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0.1]], np.float32)
    outputs = NetOutputs(boxes, scores, np.arange(4, dtype=np.int32)[None])
    got = decode(outputs, 0, GEOMETRY, 0.5)
    assert got.labels.tolist() == [0, 1]
    before = got.boxes_src.copy()
    boxes[:], scores[:] = 0, 0
    assert np.array_equal(got.boxes_src, before)
    assert got.scores.tolist() == [pytest.approx(0.9), 0.5]


def test_decode_drops_boxes_outside_the_picture() -> None:
    top, bottom = GEOMETRY.pad_xy[1], 320 - GEOMETRY.pad_xy[1]
    rows = [
        [10, 0, 50, top],  # only in the border above
        [10, bottom + 1, 50, 320],
        [-40, 100, 0, 150],
        [10, 100, 10, 150],  # no width
        [50, 100, 10, 150],  # turned round
        [10, 0, 50, top + 1],  # a pixel of it is inside
    ]
    labels = np.arange(6, dtype=np.int32)
    outputs = NetOutputs(
        np.array([rows], np.float32), np.full((1, 6), 0.5, np.float32), labels[None]
    )
    assert decode(outputs, 0, GEOMETRY, 0.1).labels.tolist() == [5]


def test_iou_equals_the_twin() -> None:
    a, b = _boxes(60, 0, 100, 1), _boxes(45, 0, 100, 2)
    b[:9] = a[:9]
    a[10, 2], a[11, 0], a[12, 3] = a[10, 0], np.nan, np.inf
    a[13] = a[13, [2, 3, 0, 1]]  # turned round
    b[10] = [-np.inf, -np.inf, np.inf, np.inf]
    got = iou_matrix(a, b)
    assert got.dtype == np.float32
    assert got == pytest.approx(reference.iou(a, b), abs=1e-6)
    assert np.diag(got)[:9].tolist() == [1] * 9
    assert not got[[10, 11, 12, 13]].any()
    assert not got[:, 10].any()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1, 1e6, 1e18, 1e30, 3e38])
def test_iou_of_tiny_and_huge_boxes(scale: float) -> None:
    one = np.array([[0, 0, 1, 1]], np.float64)
    two = np.array([[0.5, 0, 1, 1], [0, 0.5, 0.5, 1], [0, 0, 1, 1], [-1, -1, 0, 0]])
    got = iou_matrix((one * scale).astype(np.float32), (two * scale).astype(np.float32))
    assert got[0] == pytest.approx([0.5, 0.25, 1, 0], rel=1e-6)


def test_iou_far_from_the_origin_keeps_its_digits() -> None:
    a = np.array([[8000, 8000, 8001, 8001]], np.float32)
    assert iou_matrix(a, a + np.float32(0.5))[0, 0] == pytest.approx(0.25 / 1.75, rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_iou_of_few(n: int, m: int) -> None:
    assert iou_matrix(_boxes(n, 0, 9), _boxes(m, 0, 9)).shape == (n, m)
