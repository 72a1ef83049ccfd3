"""YOLO text: per picture a file of ``class centre_x centre_y width height``, all from 0 to 1."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from edgemtl.data.base import Task
from edgemtl.data.imageset import ImageSet, RawBox, TruthBuilder, picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import Store, open_store
from edgemtl.errors import DataError

_TEXT = frozenset({".txt"})


def read_yolo(
    spec: SetSpec, images: Path, labels: Path, names: tuple[str, ...], log: ProblemLog
) -> ImageSet:
    """Read pictures and their label files, both from a folder or a zip.

    The label file of ``a/b.jpg`` is the ``b.txt`` whose folders fit best; a picture without one has
    no objects. ``names`` says what each class number is. Raises DataError if there are no pictures,
    or no label file for any of them.
    """
    store, texts = open_store(images), open_store(labels)
    available: list[Task] = ["detect"]
    if spec.scene == "largest_box":
        available.append("classify")
    builder = TruthBuilder(spec, log, names, available)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for text in texts.names(_TEXT):
        by_stem[PurePosixPath(text).stem].append(text)
    items, labelled = [], 0
    for name in store.names():
        size = picture_size(store, name, log)
        if size is None:
            continue
        candidates = _fitting(f"{store.where}/{name}", by_stem[PurePosixPath(name).stem])
        if len(candidates) > 1:
            shown = " and ".join(candidates[:2])
            log.add(store.label(name), None, f"label files {shown} fit equally well")
            continue
        raw = _parse(texts, candidates[0], size, names, log) if candidates else []
        if raw is not None:
            items.append((name, builder.truth(raw, size)))
            labelled += bool(candidates)
    if items and not labelled:
        raise DataError(
            f"data set '{spec.name}': '{texts.where}' has no label file for any of the "
            f"{len(items)} pictures of '{store.where}'",
            "annotations = the folder or zip of NAME.txt files, beside pictures called NAME.jpg",
        )
    return ImageSet(spec, store, items, builder)


def _fitting(picture: str, texts: list[str]) -> list[str]:
    """Those of the label files whose folders agree best with the picture's, from the end."""
    own = PurePosixPath(picture.replace("\\", "/")).parent.parts[::-1]

    def fit(text: str) -> tuple[int, int]:
        folders = PurePosixPath(text).parent.parts[::-1]
        same = 0
        for ours, theirs in zip(own, folders, strict=False):
            if ours != theirs:
                break
            same += 1
        return same, same - len(folders)

    best = max((fit(text) for text in texts), default=None)
    return [text for text in texts if fit(text) == best]


def _parse(
    store: Store, name: str, size_hw: tuple[int, int], names: tuple[str, ...], log: ProblemLog
) -> list[RawBox] | None:
    """Raw boxes of one file; None, and a note in the log, if it cannot be read."""
    where = store.label(name)
    try:
        lines = store.read(name).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        log.add(where, None, "not UTF-8 text")
        return None
    except DataError as error:
        log.add(where, None, error.message)
        return None
    boxes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            words = line.split()
            index = int(words[0])
            x, y, w, h = (float(v) for v in words[1:5])
            if len(words) > 6:  # with a confidence it has six; a polygon is no box
                raise ValueError("too many numbers")
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
