"""Pascal VOC: per picture an XML file; corners count from 1 and include the last pixel."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from edgemtl.data.base import Task
from edgemtl.data.imageset import ImageSet, RawBox, TruthBuilder, picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import open_store
from edgemtl.errors import DataError


def read_voc(
    spec: SetSpec, images: Path, annotations: Path, image_list: Path | None, log: ProblemLog
) -> ImageSet:
    """Read ``annotations/*.xml``, or those named in ``image_list`` (ImageSets/Main/*.txt).

    A file with a document type is not read. Objects marked ``difficult`` become ignore regions.
    Raises DataError if a whole folder or list cannot be used, or no picture is left.
    """
    if not annotations.is_dir():
        raise DataError(f"annotation folder '{annotations}' does not exist", "check the path")
    store = open_store(images)
    found = sorted(p for p in annotations.iterdir() if p.suffix.lower() == ".xml")
    files = {p.stem: p for p in found}
    if image_list is not None:
        files = _listed(image_list, files, log)
    parsed = [one for one in (_parse(path, log) for path in files.values()) if one is not None]
    available: list[Task] = ["detect"]
    if spec.scene == "largest_box":
        available.append("classify")
    known = {box.name for one in parsed for box in one.boxes}
    builder = TruthBuilder(spec, log, sorted(known | set(spec.labels or ())), available)
    by_stem = {Path(n).stem: n for n in store.names()}
    items = []
    for one in parsed:
        name = one.picture
        name = name if store.has(name) else by_stem.get(Path(name).stem, name)
        size = picture_size(store, name, log, one.declared_hw)
        if size is not None:
            items.append((name, builder.truth(one.boxes, size)))
    return ImageSet(spec, store, items, builder)


@dataclass(frozen=True)
class _Annotation:
    """One file: the picture's name, its boxes, and the (height, width) they were made for."""

    picture: str
    boxes: list[RawBox]
    declared_hw: tuple[int, int] | None


def _listed(path: Path, files: dict[str, Path], log: ProblemLog) -> dict[str, Path]:
    """The files whose stem the list names, in its order."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text", "check image_list") from error
    chosen: dict[str, Path] = {}
    for number, line in enumerate(lines, start=1):
        stem = line.split()[0] if line.strip() else None
        if stem in chosen:
            log.add(path, number, f"'{stem}' is listed twice")
        elif stem in files:
            chosen[stem] = files[stem]
        elif stem is not None:
            log.add(path, number, f"no annotation file for '{stem}'")
    return chosen


def _load(path: Path, log: ProblemLog) -> ElementTree.Element | None:
    """The root of one file; None, and a note in the log, if it is no XML or may be a bomb."""
    try:
        data = path.read_bytes()
        # Entities, which can grow to gigabytes, need a document type; annotations need neither.
        # Without its zeros, UTF-16 text shows it too.
        if b"<!DOCTYPE" in data.replace(b"\0", b""):
            log.add(path, None, "has a document type declaration, which is refused")
            return None
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        log.add(path, error.position[0], f"not XML ({error.msg})")
    except OSError as error:
        log.add(path, None, f"cannot be read: {error.strerror}")
    except (LookupError, ValueError) as error:
        log.add(path, 1, f"not XML in an encoding that can be read ({error})")
    return None


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """The (height, width) that the file gives; some tools leave it out or write 0."""
    try:
        height, width = (int(root.findtext(f"size/{key}") or 0) for key in ("height", "width"))
    except ValueError:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _parse(path: Path, log: ProblemLog) -> _Annotation | None:
    """What one file says; None, and a note in the log, if it is broken."""
    root = _load(path, log)
    if root is None:
        return None
    boxes = []
    for number, entry in enumerate(root.iter("object")):
        name = (entry.findtext("name") or "").strip()
        try:
            x1, y1, x2, y2 = (
                float(entry.findtext(f"bndbox/{key}") or "none")
                for key in ("xmin", "ymin", "xmax", "ymax")
            )
        except ValueError:
            log.add(path, None, f"object {number} has no bndbox of four numbers")
            continue
        if not name:
            log.add(path, None, f"object {number} has no name")
            continue
        hard = (entry.findtext("difficult") or "0").strip() == "1"
        corners = (x1 - 1, y1 - 1, x2, y2)
        boxes.append(RawBox(name, corners, str(path), None, f"object {number}", hard))
    # some tools write a wrong <filename>; the annotation's own name is the better guide
    stem = Path((root.findtext("filename") or "").strip() or path.name)
    suffix = ".jpg" if stem.suffix.lower() == ".xml" else stem.suffix
    return _Annotation(f"{path.stem}{suffix}", boxes, _size(root))
