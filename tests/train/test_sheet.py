"""The contact sheet: boxes judged as they should be, drawn where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from shapes_set import Shapes

from edgemtl import drawing
from edgemtl.data.base import UNKNOWN, Truth
from edgemtl.engine.session import Slot, Ticket
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.records import Detections, NetOutputs
from edgemtl.train import sheet
from edgemtl.train.sheet import draw_predictions, judge_boxes

TEAL, ORANGE, GREY = drawing.RIGHT, drawing.WRONG, drawing.QUIET


def truth(*boxes: tuple[tuple[float, ...], int, bool]) -> Truth:
    n = len(boxes)
    return Truth(
        np.array([b for b, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([label for _, label, _ in boxes], np.int32),
        np.full(n, UNKNOWN, np.int64),
        np.array([ignore for *_, ignore in boxes], bool),
    )


def found(*boxes: tuple[tuple[float, ...], int, float]) -> Detections:
    return Detections(
        np.array([b for b, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([score for *_, score in boxes], np.float32),
        np.array([label for _, label, _ in boxes], np.int32),
    )


A, NEAR_A, B, CROWD = (0, 0, 10, 10), (0, 0, 10, 12), (20, 20, 40, 40), (60, 60, 90, 90)


@pytest.mark.parametrize(
    ("true", "said", "caught", "right", "free"),
    [
        ([], [], [], [], []),
        ([(A, 0, False)], [], [False], [], []),
        ([], [(A, 0, 0.9)], [], [False], [False]),
        ([(A, 0, False)], [(NEAR_A, 0, 0.9)], [True], [True], [False]),
        ([(A, 0, False)], [(A, 1, 0.9)], [False], [False], [False]),  # another class
        ([(A, 0, False)], [(A, 2, 0.9)], [False], [False], [True]),  # one that is not labelled
        # the surer of two takes the box, the other is a duplicate
        ([(A, 0, False)], [(A, 0, 0.4), (NEAR_A, 0, 0.9)], [True], [False, True], [False, False]),
        # two boxes close by: each detection takes the one that fits it
        (
            [(A, 0, False), ((0, 2, 10, 12), 0, False)],
            [((0, 2, 10, 12), 0, 0.9), (A, 0, 0.8)],
            [True, True], [True, True], [False, False],
        ),
        ([(A, 0, False)], [((5, 0, 15, 10), 0, 0.9)], [False], [False], [False]),  # IoU 1/3
        # regions: never found, never missed; half within one is not judged
        ([(CROWD, 0, True)], [((60, 60, 70, 70), 0, 0.9)], [False], [False], [True]),
        ([(CROWD, 0, True)], [(CROWD, 0, 0.9)], [False], [False], [True]),
        ([(CROWD, 0, True)], [((50, 60, 62, 70), 0, 0.9)], [False], [False], [False]),
        ([(B, 0, False), (CROWD, 0, True)], [(B, 0, 0.5)], [True, False], [True], [False]),
        ([((5, 5, 5, 5), 0, False)], [((5, 5, 5, 5), 0, 0.5)], [False], [False], [False]),
    ],
)  # fmt: skip
def test_what_became_of_the_boxes(
    true: list[Any], said: list[Any], caught: list[bool], right: list[bool], free: list[bool]
) -> None:
    labelled = np.array([True, True, False])
    results = judge_boxes(truth(*true), found(*said), labelled)
    assert [r.tolist() for r in results] == [caught, right, free]


class Oracle:
    """A session that says what it was told to, of every picture; 48 x 80 in, as the shapes are."""

    batch, backend = 1, "oracle"

    def __init__(self, said: Detections, scene: int | None = 0) -> None:
        classes = ("a", "b")
        self.manifest = Manifest(
            name="oracle", input=InputSpec(size_hw=(64, 96)), classes=classes,
            image_classes=() if scene is None else ("dark", "light"), min_score=0.3,
        )  # fmt: skip
        self._said, self._scene = said, scene

    def acquire(self) -> Slot:
        return Slot(0)

    def input(self, slot: Slot) -> np.ndarray:
        return np.zeros((1, 3, 64, 96), np.int8)

    def submit(self, slot: Slot, n_valid: int) -> Ticket:
        return Ticket(0)

    def collect(self, ticket: Ticket) -> NetOutputs:
        probs = None
        if self._scene is not None:
            probs = np.array([[0.1, 0.1]], np.float32)
            probs[0, self._scene] = 0.9
        scale, dy = 96 / 80, (64 - 48 * 96 / 80) / 2
        boxes = self._said.boxes_src * scale + np.array([0, dy, 0, dy], np.float32)
        said = self._said
        return NetOutputs(boxes[None], said.scores[None], said.labels[None], None, probs)


def drawn(tmp_path: Path, oracle: Oracle, *sets: Shapes) -> np.ndarray:
    draw_predictions(tmp_path / "p.png", lambda _: oracle, sets)
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert picture is not None
    return picture


def colours(picture: np.ndarray) -> list[int]:
    """Pixels near teal, orange and grey: text has soft edges."""
    away = [np.abs(picture.astype(int) - np.array(c)).max(-1) for c in (TEAL, ORANGE, GREY)]
    return [int((distance < 30).sum()) for distance in away]


HEAD = drawing.caption([], 1, 0.9).shape[0] + 8  # of the set, in pixels
LINE = drawing.caption([], 1).shape[0]  # of a picture


def test_right_and_wrong_are_seen_on_both_sides(tmp_path: Path) -> None:
    data = Shapes(1)
    boxes = data.truth(0).boxes_src
    good = drawn(
        tmp_path, Oracle(found((tuple(boxes[0]), 0, 0.9), (tuple(boxes[1]), 1, 0.8))), data
    )
    teal, orange, _ = colours(good[HEAD + LINE :])
    assert teal > 1000
    assert orange == 0
    bad = drawn(tmp_path, Oracle(found((tuple(boxes[1]), 0, 0.8)), 1), data)
    left, right = bad[HEAD:, :400], bad[HEAD:, 402:802]
    assert colours(left[LINE:])[0] == colours(right[LINE:])[0] == 0
    assert colours(left[LINE:])[1] > 500
    assert colours(right[LINE:])[1] > 500
    assert colours(right[:LINE])[1] > 20, "the image class is wrong too"


def test_the_pictures_are_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, oracle = Shapes(12), Oracle(found())
    first = drawn(tmp_path, oracle, data)
    np.testing.assert_array_equal(first, drawn(tmp_path, oracle, data))
    asked: list[int] = []
    real = sheet.predict
    monkeypatch.setattr(sheet, "predict", lambda s, d, i, m: asked.extend(i) or real(s, d, i, m))
    drawn(tmp_path, oracle, data)
    assert asked == [1, 4, 7, 10]


def test_sets_of_image_classes_alone_and_sets_of_nothing(tmp_path: Path) -> None:
    scenes, nothing, empty = Shapes(30), Shapes(3), Shapes(0)
    scenes.tasks, nothing.tasks = frozenset(("classify",)), frozenset(())
    picture = drawn(tmp_path, Oracle(found()), scenes, nothing, empty)
    assert picture.shape[0] < 300, "one row of small pictures"
    assert colours(picture)[0] > 0
    assert colours(picture)[1] > 0
    (tmp_path / "p.png").unlink()
    draw_predictions(tmp_path / "p.png", lambda _: Oracle(found()), [nothing, empty])
    assert not (tmp_path / "p.png").exists()
