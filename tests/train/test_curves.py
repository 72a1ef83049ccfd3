"""The curves of a run: whatever is in the log can be drawn, and is."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

pytest.importorskip("matplotlib")

from edgemtl.errors import OutputError
from edgemtl.train.curves import draw_curves, smooth
from edgemtl.train.runlog import Row


def means(step: int, **losses: float) -> Row:
    head = {"step": step, "images": 8 * step, "time_s": 1.0, "rate": 1e-3, "gradient": 2.0}
    return {**head, "loss": losses}


def scores(step: int, score: float, **parts: float) -> Row:
    return {"step": step, "images": 8 * step, "score": score, "scores": parts}


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [means(50, detect=1.0)],
        [scores(7, 0.0)],
        [means(50), {**means(100, detect=0.0, embed=-1.0), "gradient": None}],
        [means(50, detect=1.0), means(100, detect=0.5, distil=3.0), {"step": 1, "stopped": "x"}],
        [scores(7, 0.2, **{"pets.map50": 0.2}), scores(9, 0.1, **{"cars.new_score": 0.3})],
        [means(k, detect=1.0 / k) for k in range(50, 5000, 50)],
    ],
    ids=["nothing", "one", "no parts", "not positive", "new loss", "new score", "many"],
)
def test_whatever_the_log_holds(tmp_path: Path, rows: list[Row]) -> None:
    draw_curves(tmp_path / "curves.png", "a run, with $ and _", rows)
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None
    assert picture.shape == (1050, 1100, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_more_rows_draw_more(tmp_path: Path) -> None:
    inks = []
    for count in (2, 40):
        draw_curves(
            tmp_path / "c.png", "run", [means(50 * k, detect=1.0 / k) for k in range(1, count)]
        )
        picture = cv2.imread(str(tmp_path / "c.png"))
        assert picture is not None
        blue = (picture[:360, :, 0] > 140) & (picture[:360, :, 2] < 90)
        inks.append(int(blue.sum()))
    assert inks[1] > 3 * inks[0]


def test_the_last_judgement_is_in_the_picture(tmp_path: Path) -> None:
    rows = [means(50, detect=1.0), scores(10, 0.1), scores(400, 0.5)]
    draw_curves(tmp_path / "c.png", "run", rows)
    picture = cv2.imread(str(tmp_path / "c.png"))
    assert picture is not None
    star = (picture[390:480, 780:870] < 40).all(-1).sum()
    assert star > 60


def test_smoothing_is_a_mean_of_the_last_tenth() -> None:
    values = [float(v * v % 17) for v in range(45)]
    wanted = []
    for end in range(1, 46):
        part = values[:end][-max(1, end // 10) :]
        wanted.append(sum(part) / len(part))
    assert smooth(values) == pytest.approx(wanted)
    assert smooth([]) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        draw_curves(tmp_path / "no" / "curves.png", "run", [])
