"""The evaluation of whole models, on sessions whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

import edgemtl.evaluate.trackrun as trackrun
from edgemtl.data.base import SequenceInfo
from edgemtl.errors import ConfigError
from edgemtl.evaluate import EvaluateOptions, evaluate_model
from edgemtl.records import Tracks
from edgemtl.track import ByteTrackConfig

BOXES = [[4.0, 4, 24, 44], [40, 10, 80, 50]]


class OracleTracker:
    """Reads the identity out of the first value of the embedding."""

    made: list[OracleTracker] = []  # noqa: RUF012

    def __init__(self, config, *, embedding_dim=None):
        self.times = []
        OracleTracker.made.append(self)

    def step(self, detections, pts_ns, size_hw):
        self.times.append(pts_ns)
        ids = detections.embeddings[:, 0].astype(np.int64)
        index = np.arange(len(ids), dtype=np.int32)
        return Tracks(ids, detections.boxes_src, detections.scores, detections.labels, index)


@pytest.fixture
def oracle_tracker(monkeypatch):
    OracleTracker.made = []
    monkeypatch.setattr(trackrun, "make_tracker", OracleTracker)
    return OracleTracker


def _perfect(fakes, n=4, base=0, **more):
    """A video with two objects, and the answers that are right about it."""
    truths = [
        fakes.truth(np.array(BOXES) + i, labels=[0, 1], ids=[5, 6], scene=1) for i in range(n)
    ]
    answers = {
        base + i: {
            "boxes": np.array(BOXES) + i, "scores": [0.9, 0.8], "labels": [0, 1],
            "embeddings": [[5, 1], [6, 0]], "probs": [0.1, 0.8, 0.1],
        }
        for i in range(n)
    }  # fmt: skip
    return fakes.data(truths, base=base, fps=10.0, **more), answers


def test_a_model_that_is_always_right(fakes, oracle_tracker):
    data, answers = _perfect(fakes)
    result = evaluate_model(
        fakes.session(answers), fakes.mix((data,)), EvaluateOptions(frame_gap=1)
    )
    scores = result.sets[0]
    assert scores.detection.map == pytest.approx(1)
    assert list(scores.detection.per_class) == [0, 1]
    assert (scores.classification.top1, scores.box_class.top1) == (1, 1)
    assert (scores.tracking.hota, scores.tracking.mota, scores.tracking.idf1) == (1, 1, 1)
    assert scores.retrieval.queries == 8
    assert result.together.detection.map == scores.detection.map
    assert oracle_tracker.made[0].times == [0, 100_000_000, 200_000_000, 300_000_000]


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_batches_change_nothing(fakes, oracle_tracker, batch):
    data, answers = _perfect(fakes, n=5)
    session = fakes.session(answers, batch=batch)
    result = evaluate_model(session, fakes.mix((data,)))
    assert session.seen == [0, 1, 2, 3, 4]
    assert result.sets[0].tracking.idf1 == 1
    assert result.sets[0].detection.map50 == pytest.approx(1)


def test_report_is_json_and_a_table(fakes, oracle_tracker):
    data, answers = _perfect(fakes)
    other, _ = _perfect(fakes, base=50, name="other", tasks=("detect",))
    result = evaluate_model(fakes.session(answers), fakes.mix((data, other)))
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["sets"]["fake"]["detection"]["per_class"]["car"]["ap50"] == pytest.approx(1)
    assert "classification" not in found["sets"]["other"]
    assert found["sets"]["other"]["detection"]["map50"] == 0
    rows = result.rows()
    assert [row[0] for row in rows] == ["data set", "fake", "other", "together"]
    assert len({len(row) for row in rows}) == 1
    assert result.class_rows()[1][0] == "person"


def test_classes_are_matched_by_name(fakes, oracle_tracker):
    """The model has another order, a class of its own, and lacks one of the data's."""
    data, answers = _perfect(fakes)
    for answer in answers.values():
        answer["boxes"] = np.concatenate([answer["boxes"], [[0, 0, 90, 60]]])
        answer["scores"], answer["labels"] = [0.9, 0.8, 0.99], [2, 0, 1]
        answer["embeddings"] = [[5, 1], [6, 0], [7, 0]]
        answer["probs"] = [0.1, 0.9]
    session = fakes.session(
        answers, classes=("car", "cat", "person"), image_classes=("none", "car")
    )
    result = evaluate_model(session, fakes.mix((data,)))
    assert result.left_out == ("bus", "person")
    assert result.sets[0].detection.map == pytest.approx(1)
    assert result.sets[0].tracking.idf1 == 1
    assert result.sets[0].classification.top1 == 1


def test_each_set_is_judged_on_the_classes_that_it_labels(fakes, oracle_tracker):
    """People in pictures where only cars are annotated are not false."""
    cars = fakes.data(
        [fakes.truth([BOXES[1]], labels=[1])], labelled=(False, True, False), name="cars"
    )
    people = fakes.data(
        [fakes.truth([BOXES[0]], labels=[0])], base=9, labelled=(True, False, False), name="people"
    )
    both = {"boxes": BOXES, "scores": [0.9, 0.8], "labels": [0, 1], "embeddings": np.zeros((2, 2))}
    session = fakes.session({0: both, 9: both})
    result = evaluate_model(session, fakes.mix((cars, people)))
    assert result.together.detection.map == pytest.approx(1)
    assert result.together.detection.detections == 2
    assert [list(s.detection.per_class) for s in result.sets] == [[1], [0]]


def test_the_box_class_is_that_of_the_largest_box_above_the_threshold(fakes):
    large_weak = {"boxes": [*BOXES, [0, 0, 90, 60]], "scores": [0.9, 0.8, 0.2], "labels": [0, 1, 0]}
    truths = [fakes.truth([], scene=scene) for scene in (1, 2, 2)]
    data = fakes.data(truths, tasks=("classify",))
    answers = {0: {**large_weak, "probs": [1, 0, 0]}, 1: {"probs": [1, 0, 0]}, 2: large_weak}
    session = fakes.session(answers, embedding_dim=None)
    scores = evaluate_model(session, fakes.mix((data,))).sets[0]
    assert scores.classification.top1 == 0
    assert scores.box_class.top1 == pytest.approx(2 / 3)
    assert scores.detection is None
    low = evaluate_model(session, fakes.mix((data,)), EvaluateOptions(min_score=0.1)).sets[0]
    assert low.box_class.top1 == pytest.approx(1 / 3)


def test_detector_only_and_classifier_only(fakes):
    data, answers = _perfect(fakes)
    detector = fakes.session(answers, image_classes=(), embedding_dim=None)
    scores = evaluate_model(detector, fakes.mix((data,))).sets[0]
    assert scores.detection.map == pytest.approx(1)
    assert scores.tracking is not None
    assert scores.classification is scores.box_class is scores.retrieval is None
    classifier = fakes.session(answers, classes=(), embedding_dim=None)
    scores = evaluate_model(classifier, fakes.mix((data,))).sets[0]
    assert scores.classification.top1 == 1
    assert scores.detection is scores.tracking is scores.box_class is None


def test_every_sequence_has_its_own_tracker(fakes, oracle_tracker):
    data, answers = _perfect(
        fakes, n=5, sequences=(SequenceInfo("a", 0, 2, 10.0), SequenceInfo("b", 2, 4, 20.0))
    )
    result = evaluate_model(fakes.session(answers), fakes.mix((data,)))
    assert [t.times for t in oracle_tracker.made] == [[0, 100_000_000], [0, 50_000_000]]
    assert result.sets[0].tracking.truths == 8  # the last picture belongs to no sequence


def test_empty_pictures_and_no_detections(fakes, oracle_tracker):
    truths = [fakes.truth([]), fakes.truth([BOXES[0]]), fakes.truth([])]
    data = fakes.data(truths, fps=5.0)
    result = evaluate_model(fakes.session({}), fakes.mix((data,)))
    scores = result.sets[0]
    assert scores.detection.map == 0
    assert (scores.tracking.fn, scores.tracking.fp) == (1, 0)
    assert scores.retrieval is None
    assert scores.classification is None
    json.dumps(result.to_dict(), allow_nan=False)


def test_limit_and_choice_of_sets(fakes, oracle_tracker):
    video, answers = _perfect(fakes, n=5, name="video")
    still = fakes.data([fakes.truth([BOXES[0]])] * 9, base=20, name="still")
    mix = fakes.mix((video, still))
    session = fakes.session(answers)
    evaluate_model(session, mix, EvaluateOptions(limit=3))
    assert session.seen == [0, 1, 2, 20, 24, 28]
    session.seen.clear()
    result = evaluate_model(session, mix, EvaluateOptions(sets=("still",)))
    assert session.seen == list(range(20, 29))
    assert [s.name for s in result.sets] == ["still"]


def test_refuses_what_cannot_be_meant(fakes):
    data, answers = _perfect(fakes)
    mix = fakes.mix((data,))
    with pytest.raises(ConfigError, match="no data set 'nobody'"):
        evaluate_model(fakes.session(answers), mix, EvaluateOptions(sets=("nobody",)))
    stranger = fakes.session(answers, classes=("cat",), image_classes=(), embedding_dim=None)
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate_model(stranger, mix)
    for wrong in ({"limit": 0}, {"ap_min_score": 1.5}, {"frame_gap": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            EvaluateOptions(**wrong)


def test_scores_that_are_nan_do_not_count(fakes, oracle_tracker):
    data, answers = _perfect(fakes)
    answers[0]["scores"] = [np.nan, 0.8]
    result = evaluate_model(fakes.session(answers), fakes.mix((data,)))
    assert result.sets[0].detection.detections == 7
    assert result.sets[0].tracking.fn == 1


def test_the_real_tracker_follows(fakes):
    data, answers = _perfect(fakes, n=12)
    for answer in answers.values():
        answer["embeddings"] = [[1, 0], [0, 1]]
    scores = evaluate_model(fakes.session(answers), fakes.mix((data,))).sets[0].tracking
    assert scores.idsw == 0
    assert scores.idf1 > 0.7


def test_bytetrack_may_follow_instead(fakes):
    """It reports the first frame at once, and does not ask for embeddings."""
    data, answers = _perfect(fakes, n=12)
    options = EvaluateOptions(tracker=ByteTrackConfig())
    scores = evaluate_model(fakes.session(answers), fakes.mix((data,)), options).sets[0].tracking
    assert (scores.idsw, scores.fn, scores.fp) == (0, 0, 0)
    assert scores.idf1 == 1
