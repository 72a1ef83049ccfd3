"""Retrieval over a data set: at detections and at true boxes, of people seen before and not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgemtl.errors import ConfigError
from edgemtl.evaluate import EvaluateOptions, evaluate_model
from edgemtl.manifest import IdentitySource

FRAMES, OBJECTS = 40, 3


def overlap(a, b) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def scene(fakes, seed: int = 0, **attributes):
    """Objects of random identity and candidates near some of them, sure and unsure ones."""
    rng = np.random.default_rng(seed)
    truths, answers = [], {}
    for n in range(FRAMES):
        corner = np.array([[2 + 30 * k, 4 + 3 * (n % 5)] for k in range(OBJECTS)], float)
        boxes = np.concatenate([corner, corner + np.array([24, 40])], 1)
        ids = rng.choice(8, OBJECTS, replace=False)
        truths.append(fakes.truth(boxes, labels=[0, 1, 0], ids=ids, ignore=[False, False, n == 3]))
        moved = np.concatenate([boxes, boxes[:2]]) + rng.uniform(-14, 14, (5, 1))
        vectors = rng.normal(size=(5, 2)) + np.concatenate([ids, ids[:2]])[:, None] * [0.3, -0.2]
        answers[n] = {
            "boxes": np.clip(moved, 0, [96, 64, 96, 64]).astype(np.float32),
            "scores": np.sort(rng.uniform(0.001, 1, 5))[::-1],
            "labels": rng.integers(0, 2, 5),
            "embeddings": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        }
    return fakes.data(truths, fps=10.0, **attributes), answers


def twin(data, answers, *, gap: int, seen=()):
    """(boxes, answered, rank-1 and mAP by group) at true boxes, by plain loops."""
    asked, boxes = [], 0
    for n, truth in enumerate(data.truths):
        for box, identity, ignored in zip(
            truth.boxes_src, truth.identities, truth.ignore, strict=True
        ):
            if ignored:
                continue
            boxes += 1
            ious = [overlap(box, candidate) for candidate in answers[n]["boxes"]]
            if max(ious) >= 0.3:
                vector = np.float32(answers[n]["embeddings"][int(np.argmax(ious))])
                asked.append((n, int(identity), vector.astype(float)))
    groups: dict[str, list[tuple[bool, float]]] = {"all": [], "seen": [], "unseen": []}
    for frame, identity, vector in asked:
        far = [(float(vector @ v), i == identity) for f, i, v in asked if abs(f - frame) >= gap]
        hits = [hit for _, hit in sorted(far, key=lambda pair: -pair[0])]
        if any(hits):
            ranks = [r + 1 for r, hit in enumerate(hits) if hit]
            score = (hits[0], float(np.mean([(k + 1) / r for k, r in enumerate(ranks)])))
            groups["all"].append(score)
            groups["seen" if identity in seen else "unseen"].append(score)
    return boxes, len(asked), groups


def known(session, source: str, first: int, last: int):
    """The session of a model that was trained on the identities ``first`` to ``last``."""
    trained = (IdentitySource(source=source, ranges=((first, last),)),)
    session.manifest = session.manifest.model_copy(update={"identities": trained})
    return session


@pytest.mark.parametrize("seed", [0, 1])
def test_at_true_boxes_against_plain_loops(fakes, seed: int) -> None:
    data, answers = scene(fakes, seed)
    data.identity_source = "sha256:00"
    session = known(fakes.session(answers), "sha256:00", 0, 3)
    options = EvaluateOptions(frame_gap=5, true_boxes=True, tasks=("embed",))
    found = evaluate_model(session, fakes.mix((data,)), options).sets[0].retrieval
    boxes, answered, groups = twin(data, answers, gap=5, seen=range(4))
    assert (found.boxes, found.answered) == (boxes, answered)
    assert boxes == FRAMES * OBJECTS - 1
    assert 40 < answered < boxes
    for part, name in ((found, "all"), (found.seen, "seen"), (found.unseen, "unseen")):
        assert part.queries == len(groups[name]) > 10
        assert part.rank1 == pytest.approx(np.mean([hit for hit, _ in groups[name]]))
        assert part.map == pytest.approx(np.mean([score for _, score in groups[name]]))


def test_the_detector_decides_where_it_is_asked_to(fakes) -> None:
    """A sure and an unsure candidate at each of two objects; a wrong class at the third."""
    boxes = [[4.0, 4, 24, 44], [40, 10, 80, 50], [70, 4, 90, 20]]
    truths = [fakes.truth(boxes, labels=[0, 1, 0], ids=[5, 6, 7]) for _ in range(3)]
    answer = {
        "boxes": boxes, "scores": [0.9, 0.01, 0.8], "labels": [0, 1, 2],
        "embeddings": [[1, 0], [0, 1], [-1, 0]],
    }  # fmt: skip
    data = fakes.data(truths, fps=10.0)
    mix, session = fakes.mix((data,)), fakes.session(dict.fromkeys(range(3), answer))
    plain = evaluate_model(session, mix, EvaluateOptions(frame_gap=1))
    every = evaluate_model(session, mix, EvaluateOptions(frame_gap=1, true_boxes=True))
    counts = [(e.sets[0].retrieval.answered, e.sets[0].retrieval.boxes) for e in (plain, every)]
    assert counts == [(3, 9), (9, 9)]
    assert every.sets[0].retrieval.rank1 == 1
    for task in ("detection", "tracking"):  # asking at true boxes changes nothing else
        assert repr(getattr(plain.sets[0], task)) == repr(getattr(every.sets[0], task))


def test_pictures_without_boxes_or_candidates(fakes) -> None:
    truths = [fakes.truth([]), fakes.truth([[4.0, 4, 24, 44]]), fakes.truth([])]
    data = fakes.data(truths, fps=5.0)
    options = EvaluateOptions(true_boxes=True)
    assert evaluate_model(fakes.session({}), fakes.mix((data,)), options).sets[0].retrieval is None


def test_what_was_trained_on_splits_the_report(fakes) -> None:
    data, answers = scene(fakes, identity_source="sha256:00")
    data.identity_source = "sha256:00"
    strangers, _ = scene(fakes, name="strangers")
    strangers.identity_source = "sha256:01"
    mix = fakes.mix((data, strangers))
    options = EvaluateOptions(frame_gap=2, true_boxes=True)
    result = evaluate_model(known(fakes.session(answers), "sha256:00", 0, 3), mix, options)
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    one, two, both = (
        found["sets"]["fake"]["retrieval"],
        found["sets"]["strangers"]["retrieval"],
        found["together"]["retrieval"],
    )
    assert one["queries"] == one["queries_seen"] + one["queries_unseen"]
    assert 0 < one["rank1_seen"] < 1
    assert (two["queries_seen"], two["rank1_seen"]) == (0, None)
    assert two["rank1_unseen"] == two["rank1"]
    assert both["queries_seen"] == one["queries_seen"]
    assert both["queries_unseen"] == one["queries_unseen"] + two["queries"]
    rows = result.identity_rows()
    assert [row[:2] for row in rows[1:]] == [
        [name, part]
        for name in ("fake", "strangers", "together")
        for part in ("all", "seen", "unseen")
    ]
    assert rows[2][3:5] == [one["queries_seen"], one["rank1_seen"]]


@pytest.mark.parametrize("missing", ["manifest", "data"])
def test_without_knowledge_there_is_only_the_total(fakes, missing: str) -> None:
    data, answers = scene(fakes)
    session = fakes.session(answers)
    if missing == "data":
        session = known(session, "sha256:00", 0, 3)
    else:
        data.identity_source = "sha256:00"
    result = evaluate_model(session, fakes.mix((data,)), EvaluateOptions(frame_gap=2))
    found = result.to_dict()["sets"]["fake"]["retrieval"]
    assert set(found) == {"rank1", "map", "queries", "boxes", "answered"}
    assert [row[1] for row in result.identity_rows()[1:]] == ["all"]


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("detect", {"detection"}),
        ("classify", {"classification", "box_class"}),
        ("track", {"tracking"}),
        ("embed", {"retrieval"}),
    ],
)
def test_a_task_alone_scores_what_it_scores_in_the_pass_of_all(fakes, task: str, keys) -> None:
    data, answers = scene(fakes)
    for n, truth in enumerate(data.truths):
        data.truths[n] = fakes.truth(
            truth.boxes_src, truth.labels, truth.identities, truth.ignore, scene=n % 3
        )
        answers[n]["probs"] = np.eye(3)[n * n % 3]
    mix, session = fakes.mix((data,)), fakes.session(answers)
    together = evaluate_model(session, mix).to_dict()["sets"]["fake"]
    alone = evaluate_model(session, mix, EvaluateOptions(tasks=(task,))).to_dict()["sets"]["fake"]
    assert set(alone) == {"images"} | keys
    assert alone == {key: together[key] for key in alone}


def test_precision_recall_and_f1_of_every_image_class(fakes) -> None:
    names = ("person", "car", "none", "bus")
    truths = [fakes.truth([], scene=s) for s in (0, 0, 1, 2)]
    data = fakes.data(truths, tasks=("classify",), image_classes=names)
    said = [np.eye(4)[k] for k in (0, 1, 1, 1)]
    session = fakes.session({n: {"probs": p} for n, p in enumerate(said)}, image_classes=names)
    rows = evaluate_model(session, fakes.mix((data,), image_classes=names)).image_class_rows()
    assert rows == [
        ["image class", "precision", "recall", "F1"],
        ["person", 1.0, 0.5, pytest.approx(2 / 3)],
        ["car", pytest.approx(1 / 3), 1.0, 0.5],
        ["none", 0.0, 0.0, 0.0],
        ["bus", None, None, None],  # neither there nor said
    ]
    detects = fakes.data([fakes.truth([[4.0, 4, 24, 44]])])
    assert evaluate_model(session, fakes.mix((detects,))).image_class_rows() == []


def test_a_task_that_is_none(fakes) -> None:
    with pytest.raises(ConfigError, match="no 'detections'"):
        EvaluateOptions(tasks=("detect", "detections"))
    data, answers = scene(fakes, tasks=("detect", "embed"))
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate_model(
            fakes.session(answers), fakes.mix((data,)), EvaluateOptions(tasks=("classify",))
        )
