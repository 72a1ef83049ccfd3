"""Accuracy of attributes over the objects that were found, by counting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.evaluate.attributes import AttributeTask
from edgemtl.evaluate.report import Evaluation, SetScores
from edgemtl.records import Detections

DATA = {"colour": ("red", "green", "blue"), "size": ("small", "large")}
MODEL = {"size": ("large", "small"), "colour": ("blue", "red")}  # another order, and no green


def found(boxes, labels, colour, size) -> Detections:
    """Detections whose likeliest values are those of the model's lists."""
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), 0.9, np.float32),
        np.array(labels, np.int32),
        None,
        {"colour": np.eye(2, dtype=np.float32)[colour], "size": np.eye(2, dtype=np.float32)[size]},
    )


def told(fakes, boxes, attributes, **more):
    return replace(fakes.truth(boxes, **more), attributes=np.array(attributes, np.int32))


BOXES = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)]


def test_values_are_matched_by_name(fakes) -> None:
    task = AttributeTask(MODEL, DATA)
    # red small, blue unknown, green (which the model cannot say) large
    truth = told(fakes, BOXES, [[0, 0], [2, -1], [1, 1]])
    task.add(truth, found(BOXES, [0, 0, 0], [1, 1, 0], [1, 0, 0]))
    scores = task.scores()
    assert task.truth == {"colour": [0, 2], "size": [0, 1]}
    assert task.said == {"colour": [0, 0], "size": [0, 1]}
    assert (scores["colour"].top1, scores["colour"].images) == (0.5, 2)
    assert (scores["size"].top1, scores["size"].images) == (1.0, 2)


@pytest.mark.parametrize(
    ("boxes", "labels", "ignore"),
    [
        ([], [], None),
        ([(100, 0, 110, 10)], [0], None),
        (BOXES[:1], [1], None),
        (BOXES[:1], [0], [True]),
    ],
)
def test_what_was_not_found_does_not_count(fakes, boxes, labels, ignore) -> None:
    task = AttributeTask(MODEL, DATA)
    truth = told(fakes, BOXES[:1], [[0, 0]], ignore=ignore)
    n = len(boxes)
    task.add(truth, found(boxes, labels, [0] * n, [0] * n))
    assert task.scores() is None


def test_no_attributes_at_all(fakes) -> None:
    task = AttributeTask({}, DATA)
    task.add(fakes.truth(BOXES), Detections.empty())
    task.add(told(fakes, BOXES, [[0, 0]] * 3), Detections.empty())
    assert task.scores() is None


def test_sets_together_and_the_report(fakes) -> None:
    one, other = AttributeTask(MODEL, DATA), AttributeTask(MODEL, DATA)
    one.add(told(fakes, BOXES[:1], [[0, 0]]), found(BOXES[:1], [0], [1], [0]))
    other.add(told(fakes, BOXES[:1], [[2, 0]]), found(BOXES[:1], [0], [0], [1]))
    both = AttributeTask({}, DATA)
    both.extend(one)
    both.extend(other)
    assert {n: s.top1 for n, s in both.scores().items()} == {"colour": 1.0, "size": 0.5}
    report = Evaluation(
        "m", "fp32", "fake", ("a",), (),
        (SetScores("s", 1, attributes=one.scores()),),
        SetScores("together", 2, attributes=both.scores()),
        attributes=DATA,
    )  # fmt: skip
    assert report.rows() == [["data set", "images", "colour", "size"], ["s", 1, 1.0, 0.0]]
    written = report.to_dict()["together"]["attributes"]
    assert (written["size"]["accuracy"], written["size"]["objects"]) == (0.5, 2)
    assert set(written["colour"]["per_class"]) == {"red", "green", "blue"}
