"""Label scores against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.metrics import classification_scores
from edgemtl.metrics.classification import NO_ANSWER


def test_hand_computed_example():
    truth = np.array([0, 0, 0, 1, 1, 2])
    said = np.array([0, 0, 1, 1, 1, 0])
    scores = classification_scores(truth, said, 3)
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert scores.top1 == pytest.approx(4 / 6)
    assert scores.precision == pytest.approx([2 / 3, 2 / 3, 0])
    assert scores.recall == pytest.approx([2 / 3, 1, 0])
    assert scores.f1 == pytest.approx([2 / 3, 4 / 5, 0])
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)


def test_classes_that_never_occur_stay_out_of_the_mean():
    scores = classification_scores(np.array([0, 4]), np.array([0, 4]), 9)
    assert scores.macro_f1 == 1
    assert scores.f1.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0]


def test_no_answer_is_wrong_but_accuses_no_class():
    scores = classification_scores(np.array([0, 0]), np.array([0, NO_ANSWER]), 2)
    assert scores.top1 == 0.5
    assert scores.precision.tolist() == [1, 0]
    assert scores.recall.tolist() == [0.5, 0]
    assert scores.macro_f1 == pytest.approx(2 / 3)


def test_nothing_is_undefined():
    scores = classification_scores(np.zeros(0, np.int32), np.zeros(0, np.int32), 3)
    assert np.isnan(scores.top1)
    assert np.isnan(scores.macro_f1)
    assert scores.images == 0


@pytest.mark.parametrize(
    ("truth", "said", "message"),
    [
        ([0, 3], [0, 0], "truth: expected labels 0 to 2, got 0 to 3"),
        ([0, -1], [0, 0], "truth: expected labels"),
        ([0, 1], [0, 7], "predicted: expected labels -1 to 2"),
        ([0, 1], [0], r"predicted: expected \[2\]"),
        ([0.0, np.nan], [0, 0], "truth: expected labels int"),
    ],
)
def test_refuses(truth, said, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(np.array(truth), np.array(said), 3)
