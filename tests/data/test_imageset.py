"""What all readers share: names to labels, partial labels, tasks, scenes, clipping, problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data_files import boxes_of, set_spec, told

from edgemtl.data.base import UNKNOWN
from edgemtl.data.imageset import TOLERANCE_PX, RawBox, TruthBuilder, empty_truth
from edgemtl.data.problems import Problem, ProblemLog
from edgemtl.errors import ConfigError, DataError

KNOWN = ("Person", "CAR", "boat")
"""Classes of the files; the mix has person, car and dog."""


def _builder(
    available: tuple[Any, ...] = ("detect", "classify", "embed"),
    known: tuple[str, ...] | None = KNOWN,
    amodal: bool = False,
    **changes: Any,
) -> tuple[TruthBuilder, ProblemLog]:
    log = ProblemLog()
    return TruthBuilder(set_spec(**changes), log, known, available, amodal), log


def _box(name: str = "person", *corners: float, **changes: Any) -> RawBox:
    x1, y1, x2, y2 = corners or (1, 2, 11, 12)
    return RawBox(name, (x1, y1, x2, y2), "a.txt", 4, **changes)


@pytest.mark.parametrize(
    ("changes", "name", "label", "image_label"),
    [
        ({}, "person", 0, 0),
        ({}, "PERSON", 0, 0),
        ({}, "dog", 2, None),
        ({}, "none", None, 2),
        ({}, "boat", None, None),
        ({"classes": ("Car", "car"), "image_classes": ()}, "car", 1, None),
        ({"classes": ("Car", "car"), "image_classes": ()}, "CAR", 0, None),
        ({"rename": {"Motorbike": "car"}}, "motorbike", 1, 1),
        ({"rename": {"person": "dog"}}, "person", 2, None),
        ({"rename": {"STRASSE": "car"}}, "straße", 1, 1),
    ],
)
def test_names(changes: Any, name: str, label: int | None, image_label: int | None) -> None:
    spec = set_spec(**changes)
    assert (spec.label(name), spec.image_label(name)) == (label, image_label)


@pytest.mark.parametrize(
    ("changes", "known", "mask"),
    [
        ({}, KNOWN, [1, 1, 0]),
        ({}, (), [0, 0, 0]),
        ({}, None, [1, 1, 1]),
        ({"labels": ("CAR",)}, KNOWN, [0, 1, 0]),
        ({"labels": ()}, KNOWN, [0, 0, 0]),
        ({"labels": ("dog",)}, None, [0, 0, 1]),
        ({"labels": ("dog",), "rename": {"boat": "dog"}}, KNOWN, [0, 0, 1]),
    ],
)
def test_which_classes_are_labelled(changes: Any, known: Any, mask: list[int]) -> None:
    assert set_spec(**changes).labelled(known).tolist() == [bool(v) for v in mask]


@pytest.mark.parametrize(
    ("changes", "known", "words"),
    [
        ({"labels": ("cat",)}, KNOWN, "labels names 'cat', the mix has"),
        ({"labels": ("boat",)}, KNOWN, "labels names 'boat', the mix has"),
        ({"labels": ("dog",)}, KNOWN, "labels names 'dog', which its annotation file does not"),
        ({"labels": ("dog",)}, (), "labels names 'dog', which its annotation file does not"),
    ],
)
def test_labels_that_cannot_be_meant(changes: Any, known: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        set_spec(**changes).labelled(known)
    assert "'set'" in refused.value.message
    assert refused.value.hint


def test_a_misspelt_target_of_rename_is_refused() -> None:
    """It would silently drop every box of that name."""
    with pytest.raises(ConfigError, match="rename maps 'automobile' to 'carr'") as refused:
        set_spec(rename={"automobile": "carr"})
    assert refused.value.hint
    set_spec(rename={"empty": "NONE"})


@pytest.mark.parametrize(
    ("tasks", "available", "wanted"),
    [
        (None, ("detect",), {"detect"}),
        (None, ("detect", "embed"), {"detect", "embed"}),
        (("detect",), ("detect", "embed"), {"detect"}),
        ((), ("detect", "embed"), set()),
    ],
)
def test_tasks(tasks: Any, available: Any, wanted: set[str]) -> None:
    assert set_spec(tasks=tasks).tasks_of(available) == wanted


@pytest.mark.parametrize(
    ("task", "hint"), [("classify", "scene = "), ("embed", "take the task out")]
)
def test_tasks_that_nobody_annotated(task: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"tasks asks for '{task}'") as refused:
        set_spec(tasks=("detect", task)).tasks_of(["detect"])
    assert hint in (refused.value.hint or "")


SMALL, LARGE = (0, 0, 5, 5), (0, 0, 30, 30)
SCENES: list[tuple[str, list[RawBox], dict[str, Any], int]] = [
    ("the larger box wins", [_box("person", *SMALL), _box("car", *LARGE)], {}, 1),
    ("whatever the order", [_box("car", *LARGE), _box("person", *SMALL)], {}, 1),
    ("no box at all", [], {}, 2),
    ("only other classes", [_box("boat", *LARGE)], {}, 2),
    ("a class that is no image class", [_box("dog", *LARGE)], {"known": None}, UNKNOWN),
    ("no image class 'none'", [], {"image_classes": ("person",)}, UNKNOWN),
    ("what counts is inside", [_box("car", 0, 0, 5, 900), _box("person", *LARGE)], {}, 0),
    ("a crowd is no object", [_box("car", *LARGE, ignore=True), _box("person", *SMALL)], {}, 0),
    ("only a crowd", [_box("car", *LARGE, ignore=True)], {}, UNKNOWN),
    ("only broken boxes", [_box("car", 90, 0, 99, 9)], {}, 2),
    ("the rule none", [_box("car", *LARGE)], {"scene": "none"}, UNKNOWN),
    ("not a task", [_box("car", *LARGE)], {"tasks": ("detect",)}, UNKNOWN),
    ("classes that do not count", [_box("car", *LARGE), _box("person", *SMALL)],
     {"labels": ("person",)}, 0),
    ("classify alone", [_box("car", *LARGE)], {"tasks": ("classify",)}, 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("boxes", "changes", "scene"), [row[1:] for row in SCENES], ids=[row[0] for row in SCENES]
)
def test_scene_of_the_largest_box(boxes: list[RawBox], changes: dict[str, Any], scene: int) -> None:
    builder, _ = _builder(**{"scene": "largest_box", **changes})
    assert builder.truth(boxes, (40, 60)).scene == scene


def test_without_a_box_task_there_are_no_boxes() -> None:
    builder, _ = _builder(tasks=("classify",), scene="largest_box")
    assert not builder.labelled.any()
    assert len(builder.truth([_box()], (40, 60))) == 0


def test_identities_only_where_they_are_a_task() -> None:
    for tasks, wanted in ((("detect",), UNKNOWN), (("embed",), 9), (None, 9)):
        builder, _ = _builder(tasks=tasks)
        truth = builder.truth([_box(identity=9)], (40, 60))
        assert truth.identities.tolist() == [wanted]


def test_what_the_mix_does_not_use_is_counted() -> None:
    builder, log = _builder(labels=("car",))
    builder.truth([_box("car"), _box("boat"), _box("person")], (40, 60))
    builder.truth([_box("boat")], (40, 60))
    assert builder.dropped == {"boat": 2, "person": 1}
    assert told(log) == []


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("corners", "inside", "words"),
    [
        ((0, 0, 60, 40), (0, 0, 60, 40), None),
        ((59, 39, 60, 40), (59, 39, 60, 40), None),
        ((-TOLERANCE_PX, 0, 10, 40 + TOLERANCE_PX), (0, 0, 10, 40), None),
        ((-2.6, 0, 10, 10), (0, 0, 10, 10), "sticks 3 px out of the picture of 60x40 (clipped)"),
        ((0, 0, 10, 1e300), (0, 0, 10, 40), "px out of the picture"),
        ((60, 0, 70, 10), None, "lies outside the picture of 60x40 (skipped)"),
        ((0, -10, 10, 0.0005), None, "lies outside"),
        ((5, 5, 5, 10), None, "has no positive size"),
        ((5, 10, 10, 5), None, "has no positive size"),
        ((NAN, 0, 10, 10), None, "is not finite"),
        ((0, 0, INF, 10), None, "is not finite"),
        ((-INF, 0, 10, 10), None, "is not finite"),
    ],
)
@pytest.mark.parametrize("amodal", [False, True])
def test_clipping(corners: Any, inside: Any, words: str | None, amodal: bool) -> None:
    builder, log = _builder(amodal=amodal)
    truth = builder.truth([_box("person", *corners, what="box 3"), _box("car")], (40, 60))
    wanted = [] if inside is None else [(0, *inside)]
    assert boxes_of(truth) == [*wanted, (1, 1, 2, 11, 12)]
    if words is None or (amodal and "px out" in words):
        assert told(log) == []
    else:
        assert len(told(log)) == 1
        assert told(log)[0].startswith("a.txt:4: box 3 [")
        assert words in told(log)[0]


def test_no_boxes() -> None:
    builder, _ = _builder()
    for truth in (builder.truth([], (1, 1)), empty_truth()):
        assert truth.boxes_src.shape == (0, 4)
        assert truth.boxes_src.dtype == np.float32
        assert (truth.labels.dtype, truth.identities.dtype) == (np.int32, np.int64)
        assert (truth.ignore.dtype, truth.scene) == (np.bool_, UNKNOWN)


def test_problems_are_kept_or_refused() -> None:
    log = ProblemLog()
    assert log.settle("skip") == log.settle("refuse") == ()
    log.add("a.txt", 3, "is odd")
    with pytest.raises(DataError, match=r"^a\.txt:3: is odd$") as refused:
        log.settle("refuse")
    assert "on_error" in (refused.value.hint or "")
    log.add("b.png", None, "is gone", "clipped")
    assert log.settle("skip") == (
        Problem("a.txt", 3, "is odd", "skipped"), Problem("b.png", None, "is gone", "clipped"),
    )  # fmt: skip
    assert [str(p) for p in log.problems] == [
        "a.txt:3: is odd (skipped)", "b.png: is gone (clipped)",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"and 1 more problems"):
        log.settle("refuse")
