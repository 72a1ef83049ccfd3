"""Pascal VOC XML: corners from 1 that include the last pixel, lists, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_files import boxes_of, check_contract, count_boxes, set_spec, told, write_picture

from edgemtl.data.imageset import ImageSet
from edgemtl.data.problems import ProblemLog
from edgemtl.data.voc import read_voc
from edgemtl.errors import DataError

_OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin>"
    "<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
)


def _object(name: str = "person", corners: tuple[Any, ...] = (1, 1, 60, 40), hard: int = 0) -> str:
    x1, y1, x2, y2 = corners
    return _OBJECT.format(name=name, difficult=hard, x1=x1, y1=y1, x2=x2, y2=y2)


def _xml(*objects: str, filename: str = "a.png", size: tuple[int, int] | None = (60, 40)) -> str:
    shape = "" if size is None else (
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    )  # fmt: skip
    return f"<annotation><filename>{filename}</filename>{shape}{''.join(objects)}</annotation>"


def _read(
    folder: Path,
    files: dict[str, str | bytes],
    log: ProblemLog | None = None,
    chosen: str | bytes | None = None,
    **changes: Any,
) -> ImageSet:
    for seed, name in enumerate(("a.png", "b.PNG")):
        write_picture(folder / "images" / name, seed=seed)
    (folder / "xml").mkdir()
    for name, text in files.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / "xml" / name).write_bytes(data)
    listed = None
    if chosen is not None:
        listed = folder / "list.txt"
        listed.write_bytes(chosen if isinstance(chosen, bytes) else chosen.encode())
    log = log if log is not None else ProblemLog()
    return read_voc(set_spec(**changes), folder / "images", folder / "xml", listed, log)


def test_truth_by_construction(tmp_path: Path) -> None:
    """A box from the first to the last pixel, both counted from 1, is the whole picture."""
    log = ProblemLog()
    files: dict[str, str | bytes] = {
        "a.xml": _xml(_object(), _object("Car", (11, 21, 20.5, 30)), _object("dog", hard=1)),
        "b.XML": _xml(_object("cat"), filename="b.png"),
    }
    data = _read(tmp_path, files, log, scene="largest_box")
    assert told(log) == []
    assert boxes_of(data.truth(0)) == [(0, 0, 0, 60, 40), (1, 10, 20, 20.5, 30), (2, 0, 0, 60, 40)]
    assert data.truth(0).ignore.tolist() == [False, False, True]
    assert boxes_of(data.truth(1)) == []
    assert [data.truth(i).scene for i in range(2)] == [0, 2]
    assert data.dropped == {"cat": 1}
    assert [Path(data.file(i)).name for i in range(2)] == ["a.png", "b.PNG"]
    check_contract(data)


@pytest.mark.parametrize("filename", ["a.png", "", "other.png", "a", "C:/pictures/a.jpg", "a.xml"])
def test_the_annotations_name_finds_the_picture(tmp_path: Path, filename: str) -> None:
    data = _read(tmp_path, {"a.xml": _xml(_object(), filename=filename)})
    assert Path(data.file(0)).name == "a.png"


def test_classes_are_those_that_the_files_have(tmp_path: Path) -> None:
    data = _read(tmp_path, {"a.xml": _xml(_object("car"))})
    assert data.labelled.tolist() == [False, True, False]


def test_labels_may_name_what_no_file_has(tmp_path: Path) -> None:
    """VOC files declare no classes; a class without an object may still be annotated."""
    data = _read(tmp_path, {"a.xml": _xml(_object("car"))}, labels=("person",))
    assert data.labelled.tolist() == [True, False, False]
    assert count_boxes(data) == 0


def test_lists_choose_and_order(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"a.xml": _xml(_object()), "b.xml": _xml(filename="b.png")}
    log = ProblemLog()
    data = _read(tmp_path, files, log, chosen="\ufeffb  1\n\na -1\ngone\nb\n")
    assert [Path(data.file(i)).name for i in range(len(data))] == ["b.PNG", "a.png"]
    assert told(log) == [
        "list.txt:4: no annotation file for 'gone' (skipped)",
        "list.txt:5: 'b' is listed twice (skipped)",
    ]


_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12)
    )
    + "]>"
    + _xml("<object><name>&m;</name></object>")
)  # fmt: skip
_OUTSIDE = (
    '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/hostname">]>' + _xml(_object("&secret;"))
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_xml(_object()).replace("</annotation>", ""), "bad.xml:1: not XML"),
        ("<a>\n\n<b></a>", "bad.xml:3: not XML"),
        ("", "bad.xml:1: not XML"),
        (b"\x89PNG\r\n\x1a\n", "bad.xml:1: not XML"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "not XML in an encoding"),
        ('<?xml version="1.0" encoding="utf-7"?><a/>', "not XML in an encoding"),
        (_BOMB, "bad.xml: has a document type declaration, which is refused"),
        (_BOMB.replace('<?xml version="1.0"?>', "").encode("utf-16"), "document type"),
        (_OUTSIDE, "bad.xml: has a document type declaration, which is refused"),
        (_xml(_object("&lol;")), "bad.xml:1: not XML (undefined entity"),
        (_xml(filename="a.png", size=(40, 60)), "annotated as a picture of 40x60, it is 60x40"),
        (_xml(filename="no.png"), "bad.png: missing image"),
    ],
)
def test_files_that_are_told_and_skipped(tmp_path: Path, text: str | bytes, words: str) -> None:
    """An entity that were expanded would be gigabytes of 'ha', or the content of another file."""
    files: dict[str, str | bytes] = {"b.xml": _xml(_object(), filename="b.png"), "bad.xml": text}
    if "40x60" in words:
        write_picture(tmp_path / "images" / "bad.png")
    log = ProblemLog()
    data = _read(tmp_path, files, log)
    assert len(told(log)) == 1
    assert words in told(log)[0]
    assert count_boxes(data) == len(data) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_object(corners=(1, 1, "wide", 40)), "object 0 has no bndbox of four numbers"),
        ("<object><name>person</name></object>", "object 0 has no bndbox of four numbers"),
        (_object(name=" "), "object 0 has no name"),
        (_object(corners=(1, 1, "nan", 40)), "is not finite"),
        (_object(corners=(30, 1, 10, 40)), "object 0 [29, 0, 10, 40] has no positive size"),
        (_object(corners=(100, 1, 110, 40)), "lies outside the picture of 60x40"),
        (_object(corners=(1, 1, 70, 40)), "sticks 10 px out of the picture of 60x40 (clipped)"),
    ],
)
def test_broken_objects(tmp_path: Path, text: str, words: str) -> None:
    log = ProblemLog()
    data = _read(tmp_path, {"a.xml": _xml(text, _object("car"))}, log)
    assert len(told(log)) == 1
    assert told(log)[0].startswith("a.xml: ")
    assert words in told(log)[0]
    assert count_boxes(data) == (2 if "clipped" in words else 1)
    with pytest.raises(DataError, match=r"xml/a\.xml"):
        log.settle("refuse")


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_size_that_is_not_given_is_not_compared(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    log = ProblemLog()
    assert count_boxes(_read(tmp_path, {"a.xml": _xml(_object(), size=size)}, log)) == 1
    assert told(log) == []


def test_what_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        _read(tmp_path, {})
    with pytest.raises(DataError, match="gone"):
        read_voc(set_spec(), tmp_path / "images", tmp_path / "gone", None, ProblemLog())
    for chosen in (tmp_path / "gone.txt", tmp_path / "images" / "a.png"):
        with pytest.raises(DataError, match="cannot be read as text") as refused:
            read_voc(set_spec(), tmp_path / "images", tmp_path / "xml", chosen, ProblemLog())
        assert refused.value.hint


@pytest.mark.parametrize(("split", "pictures"), [("train", 205), ("val", 87)])
def test_real_cells(data_root: Path, split: str, pictures: int) -> None:
    """Counts as recorded; boxes against a plain reading of the text."""
    import re

    root, log = data_root / "detection_bccd", ProblemLog()
    classes = ("RBC", "WBC", "Platelets")
    data = read_voc(
        set_spec(classes=classes, image_classes=()), root / "JPEGImages", root / "Annotations",
        root / "ImageSets" / "Main" / f"{split}.txt", log,
    )  # fmt: skip
    assert len(data) == pictures
    assert data.labelled.all()
    pattern = re.compile(
        r"<name>(\w+)</name>.*?<xmin>(\d+)</xmin>\s*<ymin>(\d+)</ymin>"
        r"\s*<xmax>(\d+)</xmax>\s*<ymax>(\d+)</ymax>", re.DOTALL,
    )  # fmt: skip
    refused = 0
    for i in range(pictures):
        text = (root / "Annotations" / Path(data.file(i)).with_suffix(".xml").name).read_text()
        wanted = []
        for name, *corners in pattern.findall(text):
            x1, y1, x2, y2 = (int(v) for v in corners)
            box = (max(x1 - 1, 0), max(y1 - 1, 0), min(x2, 640), min(y2, 480))
            if x2 > x1 - 1 and y2 > y1 - 1:
                wanted.append((classes.index(name), *box))
            else:
                refused += 1
        assert boxes_of(data.truth(i)) == wanted
    assert len([t for t in told(log) if "no positive size" in t]) == refused
