"""The checks of a run's data: counts by hand, and every finding where it belongs and only there."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from memory_set import MemorySet, scenery, truth
from rich.console import Console

from edgemtl.data.checks import (
    CheckOptions,
    DataReport,
    check_data,
    print_report,
    read_report,
)
from edgemtl.data.config import DataMix, load_data
from edgemtl.data.problems import Problem
from edgemtl.errors import DataError

OPTIONS = CheckOptions((64, 96), min_boxes=1)


def mix(*sets: MemorySet) -> DataMix:
    return DataMix(sets[0].classes, sets[0].image_classes, sets)


def labelled(name: str, seeds: Sequence[int], **settings: Any) -> MemorySet:
    """Pictures of 60 x 80, each with a box of both classes."""
    both = truth(((0, 0, 30, 30), 0), ((40, 10, 60, 50), 1))
    return MemorySet(name, [scenery(k) for k in seeds], [both] * len(seeds), **settings)


def found(
    train: Sequence[MemorySet], val: Sequence[MemorySet], options: CheckOptions = OPTIONS
) -> list[str]:
    report = check_data(mix(*train), mix(*val), options)
    return [f"{f.level}: {f.where}: {f.what}" for f in report.findings]


def test_data_without_a_fault_have_no_findings() -> None:
    assert found([labelled("t", range(5))], [labelled("v", range(10, 13))]) == []


def test_counts() -> None:
    truths = [
        truth(((0, 0, 30, 40), 0), ((10, 10, 14, 13), 1), ids=[4, -1], scene=1),
        truth(((0, 0, 80, 60), 0), ((0, 0, 9, 9), 0), ignore=[False, True], ids=[4, 8], scene=0),
        truth(((5, 5, 20, 20), 2), ignore=[True]),
        truth(scene=1),
    ]
    data = MemorySet(
        "t", [scenery(k) for k in range(4)], truths, classes=("a", "b", "c"),
        image_classes=("day", "night"), labelled=(True, True, False),
        tasks=("detect", "classify", "embed"), video=True,
        files=[f"t.avi#{k}" for k in range(4)],
    )  # fmt: skip
    options = replace(OPTIONS, zoom=1.2, sizes={"t": (120, 160)})
    report = check_data(mix(data), mix(data), replace(options, allow_overlap=True))
    train, val = report.sets
    assert (train.split, train.pictures, train.counted, train.looked_at) == ("train", 4, 4, 4)
    assert train.boxes == {"a": 2, "b": 1}
    assert (train.labelled, train.unlabelled) == (("a", "b"), ("c",))
    assert (train.ignored, train.without_boxes) == (2, 2)
    assert (train.identities, train.repeated_identities) == (1, 1)
    assert train.image_classes == {"day": 1, "night": 2}
    assert train.image_class_unknown == 1
    # the input is twice the picture: sides of 2 sqrt(w h)
    sides = 2 * np.sqrt([30 * 40, 4 * 3, 80 * 60])
    assert train.sides_px == pytest.approx(np.percentile(sides, [5, 25, 50, 75, 95]), abs=0.05)
    assert train.below_8px == pytest.approx(1 / 3)
    assert train.beyond_input == pytest.approx(1 / 3)
    assert val.beyond_input == 0, "validation is not augmented"
    assert report.boxes("train") == {"a": 2, "b": 1}


def test_a_set_without_boxes_by_its_tasks() -> None:
    data = MemorySet("t", [scenery(0)], [truth(scene=0)], image_classes=("x",), tasks=("classify",))
    (one, _) = check_data(mix(data), mix(labelled("v", [1])), OPTIONS).sets
    assert one.without_boxes is None
    assert (one.labelled, one.sides_px) == ((), ())


def test_the_same_file_in_both() -> None:
    train, val = labelled("t", range(5)), labelled("v", range(3, 8))
    train.files[3], val.files[0] = "x.jpg", "x.jpg"
    (error, copy) = found([train], [val])
    assert error == "error: train 't', val 'v': 1 pictures are in both: 'x.jpg'"
    assert (
        copy == "error: train 't', val 'v': 1 pictures have a copy in validation: 't/4' and 'v/1'"
    )


def test_overlap_is_refused_with_a_hint_or_allowed(tmp_path: Path) -> None:
    train, val = mix(labelled("t", range(5))), mix(labelled("v", [7, 2, 8]))
    report = check_data(train, val, OPTIONS)
    with pytest.raises(DataError, match="copy in validation: 't/2' and 'v/1'") as caught:
        report.refuse_errors()
    assert "allow_overlap = true" in str(caught.value.hint)
    allowed = check_data(train, val, replace(OPTIONS, allow_overlap=True))
    allowed.refuse_errors()
    assert [f.level for f in allowed.findings] == ["warning"]
    assert allowed.findings[0].pairs == (("t/2", "v/1"),)
    allowed.write(tmp_path / "data.json")
    assert read_report(tmp_path / "data.json") == allowed


def test_frames_of_one_video() -> None:
    names = [f"v.avi#{k}" for k in range(10)]
    train = labelled("t", range(5), video=True, files=names[:5])
    val = labelled("v", [4, 20, 21], video=True, files=names[5:8])
    assert found([train], [val]) == [
        "note: train 't', val 'v': both take frames of 'v.avi': train 0 to 4, val 5 to 7",
        "note: train 't', val 'v': 1 frames equal another frame of the same video in validation: "
        "'v.avi#4' and 'v.avi#5'",
    ]
    other = labelled("v", [4], video=True, files=["other.avi#9"])
    (error,) = found([train], [other])
    assert error.endswith("1 pictures have a copy in validation: 'v.avi#4' and 'other.avi#9'")
    val.files[0] = "v.avi#4"
    assert found([train], [val])[0].startswith("error: train 't', val 'v': 1 pictures are in both")


def test_frames_of_one_folder_are_one_video() -> None:
    train = labelled("t", range(3), video=True, files=[f"seq/00{k}.jpg" for k in range(3)])
    val = labelled("v", range(5, 7), video=True, files=[f"seq/00{k}.jpg" for k in (5, 6)])
    (note,) = found([train], [val])
    assert note.endswith(
        "both take frames of 'seq': train 000.jpg to 002.jpg, val 005.jpg to 006.jpg"
    )
    other = labelled("v", range(5, 7), video=True, files=["seq2/1.jpg", "seq2/2.jpg"])
    assert found([train], [other]) == []


def test_look_alikes_are_a_warning() -> None:
    train, val = labelled("t", range(5)), labelled("v", range(10, 13))
    val._pictures[1] = cv2.resize(scenery(3), (120, 90))
    (warning,) = found([train], [val])
    assert warning == (
        "warning: train 't', val 'v': 1 validation pictures look like training ones: "
        "'t/3' and 'v/1'"
    )


def test_copies_within_training() -> None:
    val = labelled("v", [50])
    assert found([labelled("t", [1, 2, 1]), labelled("u", [1, 9])], [val]) == [
        "warning: train: 2 pictures are copies of others: t/0 = t/2 = u/0"
    ]
    still = labelled("t", [1, 1, 2], video=True, files=[f"v.avi#{k}" for k in range(3)])
    assert found([still], [val]) == [
        "note: train: 1 frames equal an earlier one of their video, such as v.avi#1"
    ]


def test_classes_that_cannot_be_learned_or_judged() -> None:
    only_a = truth(((0, 0, 30, 30), 0))
    classes = ("a", "b", "c", "d")
    t = MemorySet(
        "t", [scenery(1)] * 1, [only_a], classes=classes, labelled=(True, True, True, False)
    )
    two = truth(((0, 0, 30, 30), 1), ((0, 0, 20, 20), 3))
    v = MemorySet("v", [scenery(2)], [two], classes=classes)
    assert "warning: train: only 1 boxes of the class 'a'" not in found([t], [v])
    assert found([t], [v], replace(OPTIONS, min_boxes=2)) == [
        "warning: train: only 1 boxes of the class 'a'",
        "warning: train: no box of the class 'b', which validation has 1 of",
        "warning: train: only 0 boxes of the class 'c'",
        "warning: train: no data set labels the class 'd'",
        "note: val: no box of the class 'a': it is not judged",
    ]


def test_image_classes_and_tasks_that_one_side_lacks() -> None:
    names = ("day", "night", "fog")
    boxes = ((0, 0, 30, 30), 0), ((0, 0, 30, 30), 1)
    settings = {"image_classes": names, "tasks": ("detect", "classify", "embed")}
    days = [truth(*boxes, scene=0, ids=[1, 2])] * 2
    t = MemorySet("t", [scenery(1), scenery(2)], days, **settings)
    nights = [truth(*boxes, scene=1)]
    settings["tasks"] = ("detect", "classify")
    v = MemorySet("v", [scenery(3)], nights, **settings)
    assert found([t], [v]) == [
        "warning: train: no picture of the image class 'night', which validation has 1 of",
        "warning: train: no picture of the image class 'fog'",
        "warning: val: no data set labels the task 'embed', which is trained",
        "note: val: no picture of the image class 'day': it is not judged",
    ]


def test_what_is_not_trained_is_not_missed() -> None:
    names = ("day", "night")
    boxes = ((0, 0, 30, 30), 0), ((0, 0, 30, 30), 1)
    settings = {"image_classes": names, "tasks": ("detect", "classify", "embed")}
    t = MemorySet("t", [scenery(1)], [truth(*boxes, scene=0, ids=[1, 2])], **settings)
    v = MemorySet("v", [scenery(3)], [truth(scene=0)], image_classes=names, tasks=("classify",))
    only = [
        "warning: train: no picture of the image class 'night'",
    ]
    assert found([t], [v], replace(OPTIONS, min_boxes=9, tasks=("classify",))) == only
    everything = found([t], [v], replace(OPTIONS, min_boxes=9))
    assert len(everything) == 6
    assert set(only) < set(everything)


def test_what_a_teacher_labels_is_not_missed() -> None:
    only_a = truth(((0, 0, 30, 30), 0))
    t = MemorySet("t", [scenery(1)], [only_a], labelled=(True, False))
    bare = MemorySet("bare", [scenery(4)], labelled=(False, False), tasks=())
    v = labelled("v", [9])
    alone = found([t, bare], [v])
    assert alone == [
        "warning: train: no data set labels the class 'b'",
        "warning: train 'bare': it labels no task",
    ]
    taught = replace(OPTIONS, taught_sets=("bare",), taught_classes=("b",))
    assert found([t, bare], [v], taught) == ["note: train: only a teacher labels the class 'b'"]


def test_a_set_of_weight_0_overlaps_with_nothing() -> None:
    good, val, off = labelled("good", range(5, 9)), labelled("v", [30]), labelled("off", [30])
    off.weight = 0
    assert found([good, off], [val]) == ["note: train 'off': weight 0: it takes no part"]


def test_sets_that_teach_nothing() -> None:
    good, val = labelled("good", range(5, 9)), labelled("v", [30])
    bare = MemorySet("bare", [scenery(1), scenery(2)])
    bare.weight = 0
    alone = labelled("alone", [3], tasks=("detect", "embed"))
    idle = MemorySet("idle", [scenery(4)], tasks=())
    tiny = MemorySet("tiny", [scenery(15)], [truth(((0, 0, 6, 6), 0), ((5, 5, 11, 11), 1))])
    all_found = found([good, bare, alone, idle, tiny], [val])
    assert all_found == [
        "warning: val: no data set labels the task 'embed', which is trained",
        "warning: train 'alone': no identity is in two pictures: embeddings learn nothing",
        "warning: train 'idle': it labels no task",
        "warning: train 'tiny': 100% of the boxes are below 8 px at the network's input",
        "note: train 'bare': weight 0: it takes no part",
    ]


def test_problems_of_reading_are_one_finding() -> None:
    problems = (Problem("x.json", 7, "box is not finite", "skipped"),) * 3
    train = replace(mix(labelled("t", range(3))), problems=problems)
    (finding,) = check_data(train, mix(labelled("v", [9])), OPTIONS).findings
    assert finding.where == "train x.json:7"
    assert finding.what == "3 problems of reading; the first: box is not finite (skipped)"


def test_without_time_nothing_is_claimed() -> None:
    train, val = labelled("t", range(5)), labelled("v", range(5))
    assert found([train], [val], replace(OPTIONS, seconds=0.0)) == [
        f"note: {where}: {what}: 0 of 5, evenly spread"
        for where in ("train 't'", "val 'v'")
        for what in ("annotations counted", "pictures looked at")
    ]


def test_an_earlier_report_is_used_while_nothing_changed(tmp_path: Path) -> None:
    picture = tmp_path / "0.jpg"
    picture.write_bytes(b"x")
    train = labelled("t", range(3), files=[str(picture), "b", "c"])
    val = labelled("v", [9])
    report = check_data(mix(train), mix(val), OPTIONS)
    path = tmp_path / "data.json"
    report.write(path)
    kept = read_report(path)
    assert kept == report
    assert check_data(mix(train), mix(val), OPTIONS, kept) is kept

    def changed(options: CheckOptions = OPTIONS) -> bool:
        return check_data(mix(train), mix(val), options, kept) is not kept

    assert changed(replace(OPTIONS, min_boxes=5))
    before = train.truths[1]
    train.truths[1] = truth(((0, 0, 31, 30), 0), ((40, 10, 60, 50), 1))
    assert changed()
    train.truths[1] = before
    assert not changed()
    picture.write_bytes(b"other")
    assert changed()
    picture.unlink()
    assert changed()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sets": 3}', "{not json"])
def test_a_report_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    assert read_report(path) is None
    path.write_text(text)
    assert read_report(path) is None


def printed(report: DataReport) -> str:
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    return out.getvalue()


def test_the_report_for_people() -> None:
    val = labelled("v[/red]", [1, 8])
    text = printed(check_data(mix(labelled("t", range(3))), mix(val), OPTIONS))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    # sides of 30 and sqrt(20 x 40), times 64 / 60
    assert "train t 3 1 D 6 0 0 30 / 31 / 32 0.0% 0.0%" in lines
    assert "a 3 2 3" in lines
    assert "error: train 't', val 'v[/red]': 1 pictures have a copy" in text
    assert "hint: remove them" in text


def test_real_pictures(data_root: Path, tmp_path: Path) -> None:
    sets = "\n".join(
        f'[[{split}]]\nname = "vehicles"\nformat = "coco"\n'
        f'images = "detection_vehicles/images/{split}"\n'
        f'annotations = "detection_vehicles/instances_{split}.json"\nscene = "largest_box"'
        for split in ("train", "val")
    )
    names = ["Ambulance", "Bus", "Car", "Motorcycle", "Truck"]
    path = tmp_path / "d.toml"
    path.write_text(f"classes = {json.dumps(names)}\nimage_classes = {json.dumps(names)}\n{sets}\n")
    train, val = (load_data(path, split, data_root) for split in ("train", "val"))
    report = check_data(train, val, CheckOptions((320, 416), seconds=300))
    ours, theirs = report.sets
    assert (ours.pictures, sum(ours.boxes.values())) == (439, 838)
    assert (theirs.pictures, sum(theirs.boxes.values())) == (125, 227)
    assert sum(ours.image_classes.values()) == 439
    assert report.of("error") == []
