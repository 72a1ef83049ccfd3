"""Before the first step: what the checks are told, what is printed, what the mix shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from memory_set import MemorySet, truth

from edgemtl.data.config import DataMix
from edgemtl.drawing import PAPER, colour_of
from edgemtl.errors import ConfigError
from edgemtl.records import Detections
from edgemtl.train import before
from edgemtl.train.batches import BatchMaker
from edgemtl.train.before import check_before, check_run, draw_mix, options_of
from edgemtl.train.config import TeacherConfig, TrainConfig
from edgemtl.train.teach import TaughtSet

PLAIN = {
    "scale": (1.0, 1.0), "shift": 0.0, "flip": 0.0, "gain": 0.0, "bias": 0.0, "saturation": 0.0,
    "mosaic": 0.0,
}  # fmt: skip


def config(**changes: object) -> TrainConfig:
    values = {"name": "t", "data": Path("d"), "size_hw": (64, 96), "images": 64, "augment": PLAIN}
    return TrainConfig.model_validate({**values, **changes})


def flat(name: str, count: int, value: int) -> MemorySet:
    """Flat pictures, each with one box of class a and an ignore region of class b."""
    labels = truth(((20, 10, 60, 50), 0), ((66, 10, 90, 50), 1), ignore=[False, True])
    return MemorySet(name, [np.full((64, 96, 3), value, np.uint8)] * count, [labels] * count)


def mix(*sets: MemorySet) -> DataMix:
    return DataMix(sets[0].classes, sets[0].image_classes, sets)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sizes": {"nope": (32, 32)}}, "sizes: there is no data set 'nope'"),
        ({"tasks": ("classify",)}, "no data set labels 'classify'"),
    ],
)
def test_the_checks_alone_refuse_what_the_run_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    sets = {"train": mix(flat("t", 2, 90)), "val": mix(flat("v", 2, 40))}
    monkeypatch.setattr(before, "load_data", lambda path, split, root: sets[split])
    with pytest.raises(ConfigError, match=said):
        check_run(config(**changes), tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_the_options_are_those_of_the_config() -> None:
    own = {"allow_overlap": True, "min_boxes": 3, "near_bits": 2, "seconds": 7}
    options = options_of(
        config(
            augment={"scale": (0.5, 1.7)},
            data_checks=own,
            tasks=("classify",),
            sizes={"small": (32, 32)},
        )
    )
    assert options.sizes == {"small": (32, 32)}
    assert options.tasks == ("classify",)
    assert (options.size_hw, options.zoom) == ((64, 96), 1.7)
    assert (options.allow_overlap, options.min_boxes) == (True, 3)
    assert (options.near_bits, options.seconds) == (2, 7)


def test_the_mix_shows_pixels_boxes_and_ignored_regions(tmp_path: Path) -> None:
    data = flat("t", 3, 90)
    draw_mix(tmp_path / "mix.png", BatchMaker([data], config()), mix(data))
    picture = cv2.imread(str(tmp_path / "mix.png"))
    assert picture is not None
    scale = 320 / 96
    tile_width, line = 320, (picture.shape[1] - 5 * 6) // 6
    assert line == tile_width
    # the last tile, from the lower right corner of the sheet
    height = round(64 * scale)
    tile = picture[-height:, -tile_width:]
    assert (tile[-5, 5] == 90).all()
    middle = tuple(int(v) for v in tile[int(30 * scale), int(20 * scale)])
    assert middle == colour_of(0), "the left side of the box"
    inside = tile[int(20 * scale) : int(40 * scale), int(30 * scale) : int(50 * scale)]
    assert (inside == 90).all()
    region = tile[int(14 * scale) : int(46 * scale), int(70 * scale) : int(86 * scale)]
    assert 0.05 < (region != 90).any(-1).mean() < 0.5
    assert not (tile == np.array(colour_of(1))).all(-1).any(), "a region has no class colour"
    assert (picture[0, 0] == PAPER).all()


def test_people_are_counted_and_teachers_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Teacher:
        """Knows class b, and says so once for each picture."""

        known = np.array([False, True])
        config = TeacherConfig(model=Path("t.onnx"))

        def look(self, image: np.ndarray) -> Detections:
            asked.append(1)
            return Detections(
                np.array([[30, 20, 50, 40]], np.float32),
                np.array([0.9], np.float32),
                np.array([1], np.int32),
            )

    box = truth(((20, 10, 60, 50), 0))
    pictures = [np.full((64, 96, 3), value, np.uint8) for value in range(60, 100)]
    people = MemorySet("t", pictures, [box] * 40, labelled=(True, False))
    bare = MemorySet("bare", pictures, [truth()] * 40, labelled=(False, False), tasks=())
    bare.weight = 0.5
    sets = tuple(TaughtSet(data, Teacher(), None) for data in (people, bare))  # type: ignore[arg-type]
    report = check_before(config(), replace(mix(people), sets=sets), mix(flat("v", 2, 9)), tmp_path)
    assert report.boxes("train") == {"a": 40}
    found = [finding.what for finding in report.findings]
    assert "only a teacher labels the class 'b'" in found
    assert not any("labels no task" in what for what in found)
    assert 1 <= len(asked) <= 24, "only what the mix shows is looked at"


def test_a_second_start_says_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, val = mix(flat("t", 3, 90)), mix(flat("v", 2, 120))
    first = check_before(config(), train, val, tmp_path)
    assert "data sets; sides of boxes" in capsys.readouterr().err
    assert check_before(config(), train, val, tmp_path) == first
    said = capsys.readouterr().err
    assert said.startswith("data: as checked before (0 errors, ")
    assert len(said.splitlines()) == 1
    check_before(config(), train, val, tmp_path, again=True)
    assert "data sets; sides of boxes" in capsys.readouterr().err
