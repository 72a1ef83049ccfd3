"""Parity by matching: order does not matter, thresholds do not flicker, tasks may be absent."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgemtl.evaluate import Agreement, compare_outputs
from edgemtl.records import NetOutputs


def _outputs(seed=0, images=3, k=20, dim=4, classes=3):
    rng = np.random.default_rng(seed)
    corner = np.arange(k)[:, None] * 30 + rng.uniform(0, 4, (images, k, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(15, 25, (images, k, 2))], 2)
    emb = rng.normal(size=(images, k, dim))
    probs = rng.random((images, classes))
    red = rng.random((images, k, 1))
    return NetOutputs(
        boxes.astype(np.float32),
        -np.sort(-rng.random((images, k))).astype(np.float32),
        rng.integers(0, 5, (images, k)).astype(np.int32),
        (emb / np.linalg.norm(emb, axis=2, keepdims=True)).astype(np.float32),
        (probs / probs.sum(1, keepdims=True)).astype(np.float32),
        {"red": np.concatenate([red, 1 - red], 2).astype(np.float32)},
    )


def _changed(outputs, **fields):
    names = ("boxes_net", "scores", "labels", "embeddings", "image_probs", "attributes")
    return NetOutputs(*(fields.get(name, getattr(outputs, name)) for name in names))


def test_equal_outputs_agree_in_everything():
    a = _outputs()
    found = compare_outputs(a, a)
    assert found.match_rate == 1
    assert found.detections == 2 * int((a.scores >= 0.3).sum())
    assert (found.max_box_px, found.max_score, found.max_image_prob) == (0, 0, 0)
    assert found.min_cosine == pytest.approx(1)
    assert found.same_image_class == found.images == 3


def test_attributes_are_compared_at_partners_only():
    a = _outputs()
    red = a.attributes["red"].copy()
    red[1, 0] += (0.25, -0.25)
    red[a.scores < 0.2] = 5.0  # too weak to be looked at
    assert compare_outputs(a, _changed(a, attributes={"red": red})).max_attribute == (
        pytest.approx(0.25)
    )
    assert np.isnan(compare_outputs(a, _changed(a, attributes={})).max_attribute)
    red[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"b\.red: expected finite"):
        compare_outputs(a, _changed(a, attributes={"red": red}))


def test_order_does_not_matter():
    a = _outputs()
    order = np.random.default_rng(1).permutation(20)
    b = NetOutputs(
        a.boxes_net[:, order], a.scores[:, order], a.labels[:, order],
        a.embeddings[:, order], a.image_probs,
    )  # fmt: skip
    found = compare_outputs(a, b)
    assert found.match_rate == 1
    assert found.max_box_px == found.max_score == 0


def test_known_differences_are_measured():
    a = _outputs()
    b = _changed(
        a,
        boxes_net=a.boxes_net + np.float32(0.25),
        scores=a.scores + np.float32(0.0625),
        embeddings=-a.embeddings,
        image_probs=np.roll(a.image_probs, 1, 1),
    )
    found = compare_outputs(a, b)
    assert [found.max_box_px, found.mean_box_px] == pytest.approx([0.25, 0.25], abs=1e-4)
    assert [found.max_score, found.mean_score] == pytest.approx([0.0625, 0.0625], abs=1e-6)
    assert [found.min_cosine, found.mean_cosine] == pytest.approx([-1, -1])
    assert found.max_image_prob == pytest.approx(np.abs(a.image_probs - b.image_probs).max())
    assert found.match_rate == 1


def test_another_class_or_place_is_no_match():
    a = _outputs()
    assert compare_outputs(a, _changed(a, labels=a.labels + 1)).matched == 0
    assert compare_outputs(a, _changed(a, boxes_net=a.boxes_net + 500)).match_rate == 0


def test_a_detection_just_below_the_threshold_is_still_a_partner():
    a = _changed(_outputs(), scores=np.full((3, 20), 0.31, np.float32))
    near = compare_outputs(a, _changed(a, scores=a.scores - np.float32(0.02)))
    assert (near.detections, near.matched) == (60, 60)
    far = compare_outputs(a, _changed(a, scores=a.scores - np.float32(0.2)))
    assert (far.detections, far.matched) == (60, 0)


def test_nothing_detected_agrees():
    a = _changed(_outputs(), scores=np.zeros((3, 20), np.float32))
    found = compare_outputs(a, a)
    assert (found.detections, found.match_rate) == (0, 1)
    assert np.isnan(found.max_box_px)
    json.dumps(found.to_dict(), allow_nan=False)


def test_absent_tasks_leave_no_numbers():
    a = _outputs()
    found = compare_outputs(_changed(a, embeddings=None, image_probs=None), a)
    assert np.isnan(found.min_cosine)
    assert np.isnan(found.max_image_prob)
    classifier = NetOutputs(
        np.zeros((3, 0, 4), np.float32), np.zeros((3, 0), np.float32),
        np.zeros((3, 0), np.int32), None, a.image_probs,
    )  # fmt: skip
    found = compare_outputs(classifier, classifier)
    assert (found.images, found.same_image_class, found.detections) == (3, 3, 0)


def test_combining_parts_equals_the_whole():
    a, b = _outputs(0, images=6), _outputs(0, images=6)
    b = _changed(b, boxes_net=b.boxes_net + np.random.default_rng(2).normal(0, 0.2, (6, 20, 4)))

    def part(outputs, s):
        told = {name: probs[s] for name, probs in outputs.attributes.items()}
        return NetOutputs(*(getattr(outputs, f)[s] for f in outputs.__slots__[:5]), told)

    parts = [compare_outputs(part(a, s), part(b, s)) for s in (slice(0, 2), slice(2, 6))]
    whole, together = compare_outputs(a, b), Agreement.combine(parts)
    for name in Agreement.__slots__:
        assert getattr(together, name) == pytest.approx(getattr(whole, name))
    with pytest.raises(ValueError, match="at least one"):
        Agreement.combine([])


def test_refuses():
    a = _outputs()
    with pytest.raises(ValueError, match="expected a batch of 3, got 2"):
        compare_outputs(a, _outputs(images=2))
    with pytest.raises(ValueError, match=r"b\.scores: expected finite"):
        compare_outputs(a, _changed(a, scores=a.scores * np.nan))


def test_two_copies_of_an_object_are_partners_each_of_its_own_kind():
    """Crossed over, both of a pair would have a sure partner, at a slightly smaller overlap."""
    boxes = np.array([[[10, 10, 50, 90], [10.5, 10.5, 50.5, 91]]], np.float32)
    scores, labels = np.array([[0.76, 0.24]], np.float32), np.zeros((1, 2), np.int32)
    a = NetOutputs(boxes, scores, labels)
    found = compare_outputs(a, a)
    assert (found.detections, found.matched, found.pairs) == (2, 2, 1)
    assert found.max_score == found.max_box_px == 0
    same = np.repeat(boxes[:, :1], 2, 1)  # alike to the bit: the score tells
    twins = NetOutputs(same, scores, labels)
    assert compare_outputs(twins, twins).max_score == 0


def test_a_network_of_embeddings_alone_is_compared_place_by_place():
    a = _outputs()
    none = a.scores[:, :0]
    boxes, labels = a.boxes_net[:, :0], a.labels[:, :0]
    alone = NetOutputs(boxes, none, labels, a.embeddings)
    found = compare_outputs(alone, alone)
    assert (found.pairs, found.detections) == (60, 0)
    assert found.mean_cosine == pytest.approx(1)
    turned = NetOutputs(boxes, none, labels, np.roll(a.embeddings, 1, 1))
    assert compare_outputs(alone, turned).mean_cosine < 0.5
