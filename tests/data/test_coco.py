"""COCO JSON: truth by construction, pycocotools as the oracle, and what is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import boxes_of, check_contract, count_boxes, set_spec, told, write_picture

from edgemtl.data.coco import read_coco
from edgemtl.data.imageset import ImageSet
from edgemtl.data.problems import ProblemLog
from edgemtl.errors import DataError

Document = dict[str, Any]


def _document() -> Document:
    """Two pictures of 40x60; the first has a person and a car, the second a dog."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 3, "file_name": "sub/b.png", "height": 40, "width": 60},
        ],
        "categories": [{"id": 1, "name": "Person"}, {"id": 4, "name": "car"},
                       {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [2, 3, 10, 20]},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [20.5, 5.25, 30, 30], "iscrowd": 0},
            {"id": 3, "image_id": 3, "category_id": 9, "bbox": [0, 0, 60, 40]},
        ],
    }  # fmt: skip


def _read(
    folder: Path, document: Document | bytes, log: ProblemLog | None = None, **changes: Any
) -> ImageSet:
    write_picture(folder / "images" / "a.png", seed=1)
    write_picture(folder / "images" / "sub" / "b.png", seed=2)
    path = folder / "instances.json"
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    path.write_bytes(data)
    return read_coco(set_spec(**changes), folder / "images", path, log or ProblemLog())


def test_truth_by_construction(tmp_path: Path) -> None:
    log = ProblemLog()
    data = _read(tmp_path, _document(), log)
    assert told(log) == []
    assert len(data) == 2
    assert boxes_of(data.truth(0)) == [(0, 2, 3, 12, 23), (1, 20.5, 5.25, 50.5, 35.25)]
    assert boxes_of(data.truth(1)) == [(2, 0, 0, 60, 40)]
    assert data.truth(0).identities.tolist() == [-1, -1]
    assert data.truth(0).scene == -1
    assert data.labelled.tolist() == [True, True, True]
    assert data.tasks == {"detect"}
    np.testing.assert_array_equal(data.image(1), write_picture(tmp_path / "c.png", seed=2))
    assert data.file(1) == f"{tmp_path}/images/sub/b.png"
    check_contract(data)


def test_attributes_by_name(tmp_path: Path) -> None:
    document, log = _document(), ProblemLog()
    document["annotations"][0]["attributes"] = {"colour": "RED", "wheels": 4, "occluded": True}
    document["annotations"][1]["attributes"] = {"colour": "pink", "wheels": None}
    mix = {"colour": ("blue", "red"), "wheels": ("2", "4")}
    data = _read(tmp_path, document, log, attributes=mix)
    assert data.tasks == {"detect", "attributes"}
    assert data.attributes == mix
    assert data.truth(0).attributes.tolist() == [[1, 1], [-1, -1]]
    assert data.truth(1).attributes.tolist() == [[-1, -1]]
    assert data.truth(1).attributes.dtype == np.int32
    assert [(p.what, p.action) for p in log.problems] == [
        (
            "annotations[1]: the value 'pink' of the attribute 'colour' is none of ['blue', 'red']",
            "unknown",
        )
    ]


@pytest.mark.parametrize("found", [None, [], "red", {"size": "large"}])
def test_without_attributes_of_the_mix(tmp_path: Path, found: Any) -> None:
    document = _document()
    document["annotations"][0]["attributes"] = found
    data = _read(tmp_path, document, attributes={"colour": ("blue", "red")})
    assert data.tasks == {"detect"}
    assert data.truth(0).attributes is None


def test_attributes_that_are_not_asked_for(tmp_path: Path) -> None:
    document = _document()
    document["annotations"][0]["attributes"] = {"colour": "red"}
    mix = {"attributes": {"colour": ("blue", "red")}}
    assert _read(tmp_path, document, tasks=("detect",), **mix).truth(0).attributes is None


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    data = _read(tmp_path, b"\xef\xbb\xbf" + json.dumps(_document()).encode())
    assert count_boxes(data) == 3


def test_crowds_are_ignored_regions_and_no_scene(tmp_path: Path) -> None:
    document = _document()
    document["annotations"][1]["iscrowd"] = document["annotations"][2]["iscrowd"] = 1
    data = _read(tmp_path, document, scene="largest_box")
    assert data.truth(0).ignore.tolist() == [False, True]
    assert data.truth(1).ignore.tolist() == [True]
    # the crowd is larger, but a crowd names no picture; and nothing but a crowd is not nothing
    assert [data.truth(i).scene for i in range(2)] == [0, -1]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"scene": "largest_box"}, [0, 1, -1]),
        ({"scene": "none"}, None),
        ({"scene": "largest_box", "tasks": ("detect",)}, None),
    ],
)
def test_the_image_class_that_each_class_names(
    tmp_path: Path, changes: dict[str, Any], wanted: list[int] | None
) -> None:
    found = _read(tmp_path, _document(), **changes).scene_of_class
    assert wanted == (None if found is None else found.tolist())


@pytest.mark.parametrize(
    ("changes", "labelled", "boxes", "dropped"),
    [
        ({}, [True, True, True], [0, 1, 2], {}),
        ({"labels": ("car",)}, [False, True, False], [1], {"Person": 1, "dog": 1}),
        ({"labels": ()}, [False] * 3, [], {"Person": 1, "car": 1, "dog": 1}),
        ({"classes": ("dog",)}, [True], [0], {"Person": 1, "car": 1}),
        ({"classes": ("dog", "cat")}, [True, False], [0], {"Person": 1, "car": 1}),
        ({"classes": ("dog", "man"), "rename": {"PERSON": "man"}}, [True] * 2, [1, 0], {"car": 1}),
        ({"rename": {"dog": "car"}}, [True, True, False], [0, 1, 1], {}),
    ],
)
def test_partial_labels(
    tmp_path: Path, changes: Any, labelled: list[bool], boxes: list[int], dropped: dict[str, int]
) -> None:
    data = _read(tmp_path, _document(), **changes)
    assert data.labelled.tolist() == labelled
    assert [int(v) for i in range(2) for v in data.truth(i).labels] == boxes
    if changes != {"labels": ()}:
        assert data.dropped == dropped


def _annotation(**changes: Any) -> Callable[[Document], None]:
    return lambda document: document["annotations"][0].update(changes)


def _entry(kind: str, entry: Any) -> Callable[[Document], None]:
    return lambda document: document[kind].append(entry)


BROKEN: list[tuple[Callable[[Document], None], str, int, int]] = [
    # change, what is told, boxes left, pictures left
    (_annotation(bbox=[100, 3, 10, 20]),
     "annotations[0].bbox [100, 3, 110, 23] lies outside the picture of 60x40 (skipped)", 2, 2),
    (_annotation(bbox=[50, 3, 20, 20]),
     "annotations[0].bbox [50, 3, 70, 23] sticks 10 px out of the picture of 60x40", 3, 2),
    (_annotation(bbox=[2, 3, -10, 20]),
     "annotations[0].bbox [2, 3, -8, 23] has no positive size (skipped)", 2, 2),
    (_annotation(bbox=[2, 3, 0, 20]),
     "annotations[0].bbox [2, 3, 2, 23] has no positive size (skipped)", 2, 2),
    (_annotation(bbox=[2, float("nan"), 10, 20]),
     "annotations[0].bbox [2, nan, 12, nan] is not finite (skipped)", 2, 2),
    (_annotation(bbox=[2, 3, float("inf"), 20]),
     "annotations[0].bbox [2, 3, inf, 23] is not finite (skipped)", 2, 2),
    (_annotation(bbox=[1, 2, 3]),
     "annotations[0] has no image_id, category_id or bbox of four numbers (skipped)", 2, 2),
    (_annotation(bbox=[1, 2, 3, "wide"]),
     "annotations[0] has no image_id, category_id or bbox of four numbers (skipped)", 2, 2),
    (_annotation(bbox=[1, 2, 3, 10**400]),
     "annotations[0] has no image_id, category_id or bbox of four numbers (skipped)", 2, 2),
    (_annotation(image_id=float("inf")),
     "annotations[0] has no image_id, category_id or bbox of four numbers (skipped)", 2, 2),
    (_annotation(image_id=8), "annotations[0]: unknown image id 8 (skipped)", 2, 2),
    (_annotation(category_id=2), "annotations[0]: unknown category id 2 (skipped)", 2, 2),
    (_annotation(id=2), "annotations[1]: duplicate annotation id 2 (skipped)", 2, 2),
    (_entry("annotations", "no object"),
     "annotations[3] has no image_id, category_id or bbox of four numbers (skipped)", 3, 2),
    (_entry("images", {"id": 7, "file_name": "c.png"}),
     "images[2]: duplicate image id 7 (skipped)", 3, 2),
    (_entry("images", {"id": 8, "file_name": "a.png"}),
     "images[2]: duplicate file_name 'a.png' (skipped)", 3, 2),
    (_entry("images", {"id": 8}), "images[2] has no id or file_name (skipped)", 3, 2),
    (_entry("images", ["id", 8]), "images[2] has no id or file_name (skipped)", 3, 2),
    (_entry("categories", {"id": 1, "name": "car"}),
     "categories[3]: duplicate category id 1 (skipped)", 3, 2),
    (lambda d: d["images"][0].update(file_name="gone.png"), "gone.png: missing image", 1, 1),
    (lambda d: d["images"][0].update(file_name="x" * 400), "missing image", 1, 1),
    (lambda d: d["images"][0].update(height=60, width=40),
     "a.png: annotated as a picture of 40x60, it is 60x40 (skipped)", 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words", "boxes", "pictures"), BROKEN)
def test_what_is_broken_is_told_and_skipped(
    tmp_path: Path, change: Callable[[Document], None], words: str, boxes: int, pictures: int
) -> None:
    document, log = _document(), ProblemLog()
    change(document)
    data = _read(tmp_path, document, log)
    assert len(told(log)) == 1
    assert words in told(log)[0]
    assert (count_boxes(data), len(data)) == (boxes, pictures)
    check_contract(data)
    with pytest.raises(DataError) as refused:
        log.settle("refuse")
    assert words.split(" (")[0] in refused.value.message


def test_a_box_that_sticks_out_a_little_is_clipped_without_a_word(tmp_path: Path) -> None:
    document, log = _document(), ProblemLog()
    document["annotations"][0]["bbox"] = [-1.5, -1, 10, 20]
    assert boxes_of(_read(tmp_path, document, log).truth(0))[0] == (0, 0, 0, 8.5, 19)
    assert told(log) == []


@pytest.mark.parametrize("size", [{}, {"height": 0, "width": 0}, {"height": "40", "width": None}])
def test_a_size_that_is_not_given_is_not_compared(tmp_path: Path, size: dict[str, Any]) -> None:
    document, log = _document(), ProblemLog()
    document["images"][0] = {"id": 7, "file_name": "a.png", **size}
    assert count_boxes(_read(tmp_path, document, log)) == 3
    assert told(log) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"images": [],\n\n oops', "instances.json:3: not JSON"),
        (b"", "instances.json:1: not JSON"),
        (b'{"images": "\xff"}', "not UTF-8"),
        (b"[" * 200_000, "not JSON"),
        (b'{"images": ' + b"9" * 5000 + b"}", "instances.json: n"),
        (b"[]", "no list 'images'"),
        (b'{"images": [], "annotations": {}}', "no list 'annotations'"),
        (b'{"images": [], "annotations": []}', "no list 'categories'"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1}]}', "without id and name"),
        (b'{"images": [], "annotations": [], "categories": [7]}', "without id and name"),
        (b'{"images": [], "annotations": [], "categories": [{"id": Infinity, "name": "a"}]}',
         "without id and name"),
        (b'{"images": [], "annotations": [], "categories": []}', "no images in"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(DataError) as refused:
        _read(tmp_path, data)
    assert words in refused.value.message
    assert refused.value.hint


def test_no_such_file_or_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json: No such file"):
        read_coco(set_spec(), tmp_path, tmp_path / "gone.json", ProblemLog())
    (tmp_path / "a.json").write_text(json.dumps(_document()), encoding="utf-8")
    with pytest.raises(DataError, match="gone' does not exist"):
        read_coco(set_spec(), tmp_path / "gone", tmp_path / "a.json", ProblemLog())


def test_nothing_left_says_why(tmp_path: Path) -> None:
    document, log = _document(), ProblemLog()
    log.add("another set", None, "something else")
    for entry in document["images"]:
        entry["file_name"] = "gone/" + entry["file_name"]
    with pytest.raises(DataError, match=r"gone/sub/b\.png: missing image"):
        _read(tmp_path, document, log)


@pytest.mark.parametrize(
    ("folder", "split", "pictures", "boxes", "classes"),
    [
        ("detection_vehicles", "train", 439, 838, 5),
        ("detection_vehicles", "val", 125, 227, 5),
        ("detection_coco256", "train", 128, 929, 80),
        ("detection_coco256", "val", 64, 461, 80),
    ],
)
def test_real_data_against_pycocotools(
    data_root: Path, folder: str, split: str, pictures: int, boxes: int, classes: int
) -> None:
    """Every box of every picture, and the counts that were recorded with the data."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    path = data_root / folder / f"instances_{split}.json"
    oracle = COCO(str(path))
    names = tuple(c["name"] for c in oracle.loadCats(oracle.getCatIds()))
    suffix = "2017" if "coco" in folder else ""
    log = ProblemLog()
    images = data_root / folder / "images" / (split + suffix)
    data = read_coco(set_spec(classes=names, image_classes=()), images, path, log)
    assert told(log) == []
    assert (len(data), count_boxes(data), len(names)) == (pictures, boxes, classes)
    by_name = {Path(data.file(i)).name: i for i in range(len(data))}
    assert len(by_name) == pictures
    for image_id in oracle.getImgIds():
        entry = oracle.loadImgs(image_id)[0]
        truth = data.truth(by_name[entry["file_name"]])
        annotations = oracle.loadAnns(oracle.getAnnIds(image_id))
        corners = np.array([a["bbox"] for a in annotations], float).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        limit = [entry["width"], entry["height"]] * 2
        np.testing.assert_allclose(truth.boxes_src, corners.clip(0, limit), atol=1e-3)
        assert [names[v] for v in truth.labels] == [
            oracle.loadCats(a["category_id"])[0]["name"] for a in annotations
        ]
        assert not truth.ignore.any()


def test_people_of_the_real_sample(data_root: Path) -> None:
    """254 and 187 boxes of people, as recorded; the other 79 classes say nothing."""
    for split, people in (("train", 254), ("val", 187)):
        root = data_root / "detection_coco256"
        data = read_coco(
            set_spec(classes=("person", "unicorn"), image_classes=("person", "none"),
                     scene="largest_box", labels=("person",)),
            root / "images" / f"{split}2017", root / f"instances_{split}.json", ProblemLog(),
        )  # fmt: skip
        assert count_boxes(data) == people
        assert data.labelled.tolist() == [True, False]
        with_people = sum(len(data.truth(i)) > 0 for i in range(len(data)))
        scenes = [data.truth(i).scene for i in range(len(data))]
        assert (scenes.count(0), scenes.count(1)) == (with_people, len(data) - with_people)
