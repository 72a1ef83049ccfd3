"""COCO JSON: ``images``, ``annotations`` with bbox = [left, top, width, height], ``categories``."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgemtl.data.base import UNKNOWN, Task
from edgemtl.data.imageset import ImageSet, RawBox, TruthBuilder, picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import open_store
from edgemtl.errors import DataError


def read_coco(spec: SetSpec, images: Path, annotations: Path, log: ProblemLog) -> ImageSet:
    """Read a COCO detection file. ``iscrowd`` regions become ignored ones.

    Attributes come from an annotation's object ``attributes``: {"colour": "red"}; what the mix
    does not know there is left aside.

    Raises DataError if the file as a whole cannot be used, or no image is left.
    """
    document = _load(annotations)
    categories = _categories(document["categories"], annotations, log)
    store = open_store(images)
    available: list[Task] = ["detect"]
    if spec.scene == "largest_box":
        available.append("classify")
    if any(isinstance(a, dict) and _told(a, spec) for a in document["annotations"]):
        available.append("attributes")
    builder = TruthBuilder(spec, log, categories.values(), available)
    entries = _images(document["images"], annotations, log)
    boxes = _boxes(document["annotations"], categories, set(entries), (annotations, spec, log))
    items = []
    for image_id, (name, declared_hw) in entries.items():
        size = picture_size(store, name, log, declared_hw)
        if size is not None:
            items.append((name, builder.truth(boxes[image_id], size)))
    return ImageSet(spec, store, items, builder)


def _load(path: Path) -> dict[str, list[Any]]:
    hint = "annotations must be a COCO JSON file with images, annotations and categories"
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text", hint) from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg})", hint) from error
    except (RecursionError, ValueError) as error:  # nested too deep, a number too long
        raise DataError(f"{path}: not JSON that can be read ({error})", hint) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DataError(f"{path}: no list '{key}'", hint)
    lists: dict[str, list[Any]] = document
    return lists


_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What comes of reading numbers where the file has something else; infinity is no integer."""


def _categories(entries: list[Any], path: Path, log: ProblemLog) -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        for position, entry in enumerate(entries):
            number, name = int(entry["id"]), str(entry["name"])
            if names.setdefault(number, name) != name:
                log.add(path, None, f"categories[{position}]: duplicate category id {number}")
    except _MALFORMED as error:
        raise DataError(f"{path}: a category without id and name", "repair the file") from error
    return names


def _declared_hw(entry: dict[str, Any]) -> tuple[int, int] | None:
    """The size that the file gives; some tools leave it out or write 0."""
    height, width = entry.get("height"), entry.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _images(
    entries: list[Any], path: Path, log: ProblemLog
) -> dict[int, tuple[str, tuple[int, int] | None]]:
    """File name and declared (height, width) by image id."""
    images: dict[int, tuple[str, tuple[int, int] | None]] = {}
    seen: set[str] = set()
    for position, entry in enumerate(entries):
        try:
            image_id, name = int(entry["id"]), str(entry["file_name"])
            declared_hw = _declared_hw(entry)
        except _MALFORMED:
            log.add(path, None, f"images[{position}] has no id or file_name")
            continue
        if image_id in images:
            log.add(path, None, f"images[{position}]: duplicate image id {image_id}")
        elif name in seen:
            log.add(path, None, f"images[{position}]: duplicate file_name '{name}'")
        else:
            images[image_id] = (name, declared_hw)
            seen.add(name)
    return images


def _boxes(
    entries: list[Any],
    categories: dict[int, str],
    images: set[int],
    source: tuple[Path, SetSpec, ProblemLog],
) -> dict[int, list[RawBox]]:
    """Raw boxes by image id."""
    path, spec, log = source
    boxes: dict[int, list[RawBox]] = defaultdict(list)
    seen: set[int] = set()
    for position, entry in enumerate(entries):
        what = f"annotations[{position}]"
        try:
            number = int(entry.get("id", -1 - position))
            image_id, category = int(entry["image_id"]), int(entry["category_id"])
            left, top, width, height = (float(v) for v in entry["bbox"])
        except _MALFORMED:
            log.add(path, None, f"{what} has no image_id, category_id or bbox of four numbers")
            continue
        if number in seen:
            log.add(path, None, f"{what}: duplicate annotation id {number}")
        elif image_id not in images:
            log.add(path, None, f"{what}: unknown image id {image_id}")
        elif category not in categories:
            log.add(path, None, f"{what}: unknown category id {category}")
        else:
            corners = (left, top, left + width, top + height)
            crowd = bool(entry.get("iscrowd", 0))
            name = f"{what}.bbox"
            box = RawBox(categories[category], corners, str(path), None, name, crowd)
            told = _attributes(entry, spec, what, path, log)
            boxes[image_id].append(replace(box, attributes=told))
        seen.add(number)
    return boxes


def _told(entry: dict[str, Any], spec: SetSpec) -> dict[str, str]:
    """What an annotation says of the mix's attributes, as text: numbers and truth values too."""
    found = entry.get("attributes")
    if not isinstance(found, dict):
        return {}
    return {name: str(found[name]) for name in spec.attributes if found.get(name) is not None}


def _attributes(
    entry: dict[str, Any], spec: SetSpec, what: str, path: Path, log: ProblemLog
) -> tuple[int, ...] | None:
    """The values' places; one that the mix does not list is unknown, and noted in the log."""
    told = _told(entry, spec)
    places = []
    for name, values in spec.attributes.items():
        place = spec.value(name, told[name]) if name in told else UNKNOWN
        if place is None:
            listed = f"of the attribute '{name}' is none of {list(values)}"
            log.add(path, None, f"{what}: the value '{told[name]}' {listed}", "unknown")
        places.append(UNKNOWN if place is None else place)
    return tuple(places) if told else None
