"""YOLO text: truth by construction, which label file belongs to which picture, broken lines."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import (
    boxes_of,
    check_contract,
    count_boxes,
    encoded,
    pixels,
    set_spec,
    told,
    write_picture,
    write_zip,
)

from edgemtl.data.coco import read_coco
from edgemtl.data.imageset import ImageSet
from edgemtl.data.problems import ProblemLog
from edgemtl.data.yolo import read_yolo
from edgemtl.errors import DataError

NAMES = ("Person", "car", "cat")


def _set(folder: Path, texts: dict[str, bytes], pictures: tuple[str, ...] = ("a.png",)) -> None:
    for seed, name in enumerate(pictures):
        write_picture(folder / "images" / name, seed=seed)
    (folder / "labels").mkdir()
    for name, text in texts.items():
        path = folder / "labels" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)


def _read(folder: Path, log: ProblemLog | None = None, **changes: Any) -> ImageSet:
    spec = set_spec(**changes)
    return read_yolo(spec, folder / "images", folder / "labels", NAMES, log or ProblemLog())


def test_truth_by_construction(tmp_path: Path) -> None:
    text = b"0 0.5 0.5 0.5 0.25\n\n1 0.25 0.5 0.5 1 0.87\r\n2 0.5 0.5 1 1\n"
    _set(tmp_path, {"a.txt": text, "b.txt": b""}, ("a.png", "b.JPG", "c.png"))
    log = ProblemLog()
    data = _read(tmp_path, log, scene="largest_box")
    assert told(log) == []
    assert [Path(data.file(i)).name for i in range(3)] == ["a.png", "b.JPG", "c.png"]
    # cat is not a class of the mix; a picture of 40x60 (height x width)
    assert boxes_of(data.truth(0)) == [(0, 15, 15, 45, 25), (1, 0, 0, 30, 40)]
    assert [data.truth(i).scene for i in range(3)] == [1, 2, 2]
    assert data.labelled.tolist() == [True, True, False]
    assert data.dropped == {"cat": 1}
    assert data.tasks == {"detect", "classify"}
    check_contract(data)


@pytest.mark.parametrize(
    ("line", "words", "boxes"),
    [
        ("0 0.5 0.5 0.5", "expected class x y width height, got '0 0.5 0.5 0.5'", 1),
        ("person 0.5 0.5 0.5 0.5", "expected class x y width height", 1),
        ("0.5 0.5 0.5 0.5 0.5", "expected class x y width height", 1),
        ("0 a b c d", "expected class x y width height", 1),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9", "expected class x y width height", 1),
        ("3 0.5 0.5 0.5 0.5", "unknown class 3, names has 3", 1),
        ("-1 0.5 0.5 0.5 0.5", "unknown class -1", 1),
        ("0 nan 0.5 0.5 0.5", "is not finite", 1),
        ("0 0.5 0.5 inf 0.5", "is not finite", 1),
        ("0 0.5 0.5 -0.5 0.5", "has no positive size", 1),
        ("0 0.5 0.5 0.5 0", "has no positive size", 1),
        ("0 1.5 0.5 0.5 0.5", "lies outside the picture of 60x40", 1),
        ("0 1.0 0.5 0.5 0.5", "sticks 15 px out of the picture of 60x40 (clipped)", 2),
    ],
)
def test_broken_lines(tmp_path: Path, line: str, words: str, boxes: int) -> None:
    _set(tmp_path, {"a.txt": f"1 0.5 0.5 0.5 0.5\n{line}\n".encode()})
    log = ProblemLog()
    data = _read(tmp_path, log)
    assert len(told(log)) == 1
    assert told(log)[0].startswith("a.txt:2: ")
    assert words in told(log)[0]
    assert count_boxes(data) == boxes
    check_contract(data)
    with pytest.raises(DataError, match=r"labels/a\.txt:2: "):
        log.settle("refuse")


def test_a_label_file_that_is_no_text_takes_its_picture_along(tmp_path: Path) -> None:
    """Were the picture kept, everything in it would be taught as background."""
    _set(tmp_path, {"a.txt": b"\xff\xfe0\0", "b.txt": b""}, ("a.png", "b.png"))
    log = ProblemLog()
    data = _read(tmp_path, log)
    assert told(log) == ["a.txt: not UTF-8 text (skipped)"]
    assert [Path(data.file(i)).name for i in range(len(data))] == ["b.png"]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    _set(tmp_path, {"a.TXT": b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5"})
    assert count_boxes(_read(tmp_path)) == 1


def test_equal_names_in_several_folders(tmp_path: Path) -> None:
    """Each picture gets the label file of the folder that is called like its own."""
    texts = {f"{folder}/1.txt": f"{n} 0.5 0.5 0.5 0.5".encode() for n, folder in enumerate("abc")}
    _set(tmp_path, texts, ("a/1.png", "b/1.png", "c/1.png"))
    log = ProblemLog()
    data = _read(tmp_path, log, classes=("person", "car", "cat"))
    assert told(log) == []
    assert [data.truth(i).labels.tolist() for i in range(3)] == [[0], [1], [2]]
    # the folder that is named as ``images`` counts too
    only = read_yolo(
        set_spec(), tmp_path / "images" / "b", tmp_path / "labels", NAMES, ProblemLog()
    )
    assert boxes_of(only.truth(0))[0][0] == 1


def test_label_files_that_fit_equally_well(tmp_path: Path) -> None:
    texts = {"x/1.txt": b"0 0.5 0.5 0.5 0.5", "y/1.txt": b"", "2.txt": b"", "x/2.txt": b"junk"}
    _set(tmp_path, texts, ("a/1.png", "a/2.png"))
    log = ProblemLog()
    data = _read(tmp_path, log)
    assert told(log) == ["1.png: label files x/1.txt and y/1.txt fit equally well (skipped)"]
    assert [Path(data.file(i)).name for i in range(len(data))] == ["2.png"]


@pytest.mark.parametrize("what", ["images", "labels", "both"])
def test_zip_files(tmp_path: Path, what: str) -> None:
    text = b"0 0.5 0.5 0.5 0.25"
    _set(tmp_path, {"a.txt": text})
    picture = encoded(pixels((40, 60)))
    both = write_zip(tmp_path / "Both.ZIP", {"p/a.png": picture, "p/a.txt": text})
    images = tmp_path / "images" if what == "labels" else both
    labels = tmp_path / "labels" if what == "images" else both
    data = read_yolo(set_spec(), images, labels, NAMES, ProblemLog())
    assert boxes_of(data.truth(0)) == [(0, 15, 15, 45, 25)]
    np.testing.assert_array_equal(data.image(0), pixels((40, 60)))


def test_a_damaged_label_file_in_a_zip(tmp_path: Path) -> None:
    _set(tmp_path, {}, ("a.png", "b.png"))
    path = write_zip(tmp_path / "l.zip", {"a.txt": b"0 0.5 0.5 0.5 0.25 0.77", "b.txt": b""})
    path.write_bytes(path.read_bytes().replace(b"0.77", b"0.78"))
    log = ProblemLog()
    data = read_yolo(set_spec(), tmp_path / "images", path, NAMES, log)
    assert len(data) == 1
    assert "CRC" in told(log)[0]


def test_what_cannot_be_used(tmp_path: Path) -> None:
    _set(tmp_path, {"z.txt": b""})
    with pytest.raises(DataError, match="no label file for any of the 1 pictures"):
        _read(tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(DataError, match="no images"):
        _read(tmp_path)
    (tmp_path / "text.zip").write_bytes(b"no archive")
    for images, labels in (("gone", "labels"), ("images", "gone"), ("images", "text.zip")):
        with pytest.raises(DataError, match=f"gone|{labels}") as refused:
            read_yolo(set_spec(), tmp_path / images, tmp_path / labels, NAMES, ProblemLog())
        assert refused.value.hint


def test_broken_pictures(tmp_path: Path) -> None:
    _set(tmp_path, {"a.txt": b"", "b.txt": b""}, ("a.png", "b.png"))
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    log = ProblemLog()
    assert len(_read(tmp_path, log)) == 1
    assert told(log) == ["b.png: not a picture that OpenCV can read (skipped)"]


@pytest.mark.parametrize(
    ("folder", "split", "boxes"),
    [
        ("detection_vehicles", "train", 838),
        ("detection_vehicles", "val", 227),
        ("detection_coco256", "train", 929),
        ("detection_coco256", "val", 461),
    ],
)
def test_real_labels_say_the_same_as_the_json(
    data_root: Path, folder: str, split: str, boxes: int
) -> None:
    """Two readers, two files, one truth. JSON keeps two decimals, or whole pixels' halves."""
    import json

    root = data_root / folder
    path = root / f"instances_{split}.json"
    categories = json.loads(path.read_text(encoding="utf-8"))["categories"]
    names = tuple(c["name"] for c in sorted(categories, key=lambda c: c["id"]))
    images = root / "images" / (split + ("2017" if "coco" in folder else ""))
    spec, log = set_spec(classes=names, image_classes=()), ProblemLog()
    texts = read_yolo(spec, images, root / "labels_yolo.zip", names, log)
    jsons = read_coco(spec, images, path, log)
    assert told(log) == []
    assert (len(texts), count_boxes(texts)) == (len(jsons), boxes)
    order = {jsons.file(i): i for i in range(len(jsons))}
    for i in range(len(texts)):
        one, two = texts.truth(i), jsons.truth(order[texts.file(i)])
        assert one.labels.tolist() == two.labels.tolist()
        np.testing.assert_allclose(one.boxes_src, two.boxes_src, atol=0.51)


def test_the_archive_of_real_labels_is_whole(data_root: Path) -> None:
    with zipfile.ZipFile(data_root / "detection_vehicles" / "labels_yolo.zip") as archive:
        assert archive.testzip() is None
