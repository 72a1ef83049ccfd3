"""Folders and zip files of pictures: names, threads, damage; image classes; plain pictures."""

from __future__ import annotations

import os
import threading
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    check_contract,
    encoded,
    pixels,
    set_spec,
    told,
    write_picture,
    write_zip,
)

from edgemtl.data.folder import read_folder
from edgemtl.data.images import open_images
from edgemtl.data.problems import ProblemLog
from edgemtl.data.store import ZipStore, open_store
from edgemtl.errors import ConfigError, DataError

UNICODE = ("bär/größe.png", "猫/一.JPG", "שלום/a b.PnG", "😀.bmp")


def _tree(folder: Path, kind: str) -> Path:
    """The same files as a folder or as a zip: pictures, other files, and a folder like one."""
    for seed, name in enumerate(UNICODE):
        write_picture(folder / "tree" / name, (8, 9), seed)
    (folder / "tree" / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "tree" / "folder.jpg").mkdir()
    if kind == "folder":
        return folder / "tree"
    files = {n: (folder / "tree" / n).read_bytes() for n in (*UNICODE, "notes.txt")}
    return write_zip(
        folder / "tree.ZIP",
        {**files, "folder.jpg/": b"", "__MACOSX/._a.jpg": b"resource fork"},
    )


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_names_and_pixels(tmp_path: Path, kind: str) -> None:
    store = open_store(_tree(tmp_path, kind))
    assert store.names() == sorted(UNICODE)
    assert store.names(frozenset({".txt"})) == ["notes.txt"]
    for seed, name in enumerate(UNICODE):
        assert store.has(name)
        if not name.endswith("JPG"):
            np.testing.assert_array_equal(store.image(name), pixels((8, 9), seed))
        assert store.label(name) == f"{store.where}/{name}"
    assert not store.has("gone.png")
    assert not store.has("bär")
    assert not store.has("x" * 5000)
    assert not store.has("a\0b")
    with pytest.raises(DataError, match=r"gone\.png: ") as refused:
        store.image("gone.png")
    assert refused.value.hint


def test_many_threads_read_one_zip(tmp_path: Path) -> None:
    wanted = {f"{n}.png": pixels((16, 16), n) for n in range(20)}
    path = write_zip(tmp_path / "a.zip", {n: encoded(p) for n, p in wanted.items()})
    store = open_store(path)
    barrier = threading.Barrier(8)

    def work(offset: int) -> bool:
        barrier.wait()
        names = list(wanted)[offset:] + list(wanted)[:offset]
        return all((store.image(n) == wanted[n]).all() for n in names * 3)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_another_process_opens_the_zip_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fork the file position would be shared, and both would read garbage."""
    store = ZipStore(write_zip(tmp_path / "a.zip", {"a.png": encoded(pixels((4, 4)))}))
    before = store._zip
    store.read("a.png")
    assert store._zip is before
    monkeypatch.setattr(os, "getpid", lambda: -7)
    assert store.read("a.png") == encoded(pixels((4, 4)))
    assert store._zip is not before


def test_entries_that_point_outside_stay_inside(tmp_path: Path) -> None:
    """Nothing is unpacked: such a name is a name and no path."""
    inner = tmp_path / "inner"
    inner.mkdir()
    path = write_zip(
        inner / "a.zip",
        {"../person/evil.png": encoded(pixels((4, 4))), "/car/root.png": encoded(pixels((4, 4)))},
    )
    data = read_folder(set_spec(), path, ProblemLog())
    assert [data.truth(i).scene for i in range(2)] == [0, 1]
    for i in range(2):
        assert data.image(i).shape == (4, 4, 3)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "inner"]


def test_damaged_zips(tmp_path: Path) -> None:
    good = write_zip(tmp_path / "good.zip", {"person/a.png": b"0123456789"})
    archive = good.read_bytes()
    cases = {
        "text.zip": b"no archive at all",
        "empty.zip": b"",
        "half.zip": archive[: len(archive) // 2],
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}: not a zip file") as refused:
            open_store(tmp_path / name)
        assert refused.value.hint
    with pytest.raises(DataError, match=r"gone\.zip: No such file"):
        open_store(tmp_path / "gone.zip")


@pytest.mark.parametrize("damage", ["checksum", "encrypted", "method", "stream"])
def test_a_damaged_entry_is_told_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    good, bad = encoded(pixels((4, 4))), encoded(pixels((40, 40), 1))
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("person/a.png", good)
        packed = zipfile.ZIP_STORED if damage == "checksum" else zipfile.ZIP_DEFLATED
        archive.writestr("person/b.png", bad, packed)
        entry = archive.getinfo("person/b.png")
    data = bytearray(path.read_bytes())
    local, central = entry.header_offset, data.rindex(b"PK\x01\x02")
    if damage == "checksum":
        data[local + 30 + len("person/b.png") + 60] ^= 0xFF
    elif damage == "stream":
        body = local + 30 + len("person/b.png")
        data[body : body + 20] = b"\xff" * 20
    elif damage == "encrypted":
        data[local + 6] |= 1
        data[central + 8] |= 1
    else:
        data[local + 8], data[central + 10] = 9, 9
    path.write_bytes(data)
    log = ProblemLog()
    found = read_folder(set_spec(), path, log)
    assert len(found) == 1
    assert len(told(log)) == 1
    assert told(log)[0].startswith("b.png: ")


def test_image_classes_of_folders(tmp_path: Path) -> None:
    for name in ("Person/1.png", "x/automobile/2.PNG", "none/3.jpg", "cat/4.png", "5.png"):
        write_picture(tmp_path / "a" / name, (4, 4))
    (tmp_path / "a" / "none" / "6.jpg").write_bytes(b"")
    log = ProblemLog()
    data = read_folder(set_spec(rename={"automobile": "car"}), tmp_path / "a", log)
    assert {Path(data.file(i)).name: data.truth(i).scene for i in range(len(data))} == {
        "1.png": 0, "2.PNG": 1, "3.jpg": 2,
    }  # fmt: skip
    assert told(log) == [
        "5.png: unknown class '' (skipped)",
        "4.png: unknown class 'cat' (skipped)",
        "6.jpg: empty file (skipped)",
    ]
    assert data.tasks == {"classify"}
    assert not data.labelled.any()
    check_contract(data)


def test_image_folders_that_cannot_be_used(tmp_path: Path) -> None:
    write_picture(tmp_path / "cat" / "a.png")
    with pytest.raises(DataError, match="unknown class 'cat'"):
        read_folder(set_spec(), tmp_path, ProblemLog())
    with pytest.raises(ConfigError, match="tasks asks for 'detect'"):
        read_folder(set_spec(tasks=("detect",)), tmp_path, ProblemLog())
    with pytest.raises(DataError, match=r"a\.png' is no folder and no \.zip"):
        open_store(tmp_path / "cat" / "a.png")
    with pytest.raises(DataError, match="gone' does not exist"):
        open_store(tmp_path / "gone")


def test_real_cifar_in_a_zip(data_root: Path) -> None:
    root = data_root / "classification_cifar10"
    classes = tuple((root / "classes.txt").read_text(encoding="utf-8").split())
    log = ProblemLog()
    data = read_folder(set_spec(classes=(), image_classes=classes), root / "val.zip", log)
    assert told(log) == []
    assert (len(data), len(classes)) == (2000, 10)
    assert Counter(data.truth(i).scene for i in range(2000)) == dict.fromkeys(range(10), 200)
    for i in range(0, 2000, 199):
        assert data.image(i).shape == (32, 32, 3)
        assert classes[data.truth(i).scene] in data.file(i)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_plain_pictures(tmp_path: Path, kind: str) -> None:
    images = open_images(_tree(tmp_path, kind))
    assert len(images) == 4
    for i, name in enumerate(sorted(UNICODE)):
        assert images.file(i).endswith(name)
        assert images.image(i).shape == (8, 9, 3)


def test_what_is_no_source_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    write_picture(tmp_path / "a.PNG")
    cases = {
        "gone": "does not exist", "none": "no pictures", "a.txt": "is a text file",
        "a.PNG": "is one picture",
    }  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(DataError, match=words) as refused:
            open_images(tmp_path / name)
        assert refused.value.hint
