"""YOLO text: per picture a file of ``class centre_x centre_y width height``, all from 0 to 1."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgemtl.data.base import Task
from edgemtl.data.imageset import ImageSet, RawBox, TruthBuilder, picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import Store, open_store


def read_yolo(
    spec: SetSpec, images: Path, labels: Path, names: tuple[str, ...], log: ProblemLog
) -> ImageSet:
    """Read pictures and their label files, both from a folder or a zip.

    The label file of ``a/b.jpg`` is the ``b.txt`` whose folders fit best; a picture without one has
    no objects. ``names`` says what each class number is. Raises DataError if there are no pictures.
    """
    store, texts = open_store(images), open_store(labels)
    available: list[Task] = ["detect"]
    if spec.scene == "largest_box":
        available.append("classify")
    builder = TruthBuilder(spec, log, names, available)
    by_stem = {PurePosixPath(n).stem: n for n in _text_files(texts, labels)}
    items = []
    for name in store.names():
        size = picture_size(store, name, log)
        if size is None:
            continue
        label_file = by_stem.get(PurePosixPath(name).stem)
        raw = [] if label_file is None else _parse(texts, label_file, size, names, log)
        items.append((name, builder.truth(raw, size)))
    return ImageSet(spec, store, items, builder)


def _text_files(store: Store, path: Path) -> list[str]:
    if path.is_dir():
        return sorted(p.relative_to(path).as_posix() for p in path.rglob("*.txt"))
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return sorted(n for n in archive.namelist() if n.endswith(".txt"))


def _parse(
    store: Store, name: str, size_hw: tuple[int, int], names: tuple[str, ...], log: ProblemLog
) -> list[RawBox]:
    where = store.label(name)
    try:
        lines = store.read(name).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        log.add(where, None, "not UTF-8 text")
        return []
    boxes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            words = line.split()
            index = int(words[0])
            x, y, w, h = (float(v) for v in words[1:5])
        except (ValueError, IndexError):
            log.add(where, number, f"expected class x y width height, got '{line[:60]}'")
            continue
        if not 0 <= index < len(names):
            log.add(where, number, f"unknown class {index}, names has {len(names)}")
            continue
        height, width = size_hw
        corners = (
            (x - w / 2) * width,
            (y - h / 2) * height,
            (x + w / 2) * width,
            (y + h / 2) * height,
        )
        boxes.append(RawBox(names[index], corners, where, number))
    return boxes
