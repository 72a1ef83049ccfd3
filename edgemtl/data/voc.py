"""Pascal VOC: per picture an XML file; corners count from 1 and include the last pixel."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
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

    Objects marked ``difficult`` become ignore regions. Raises DataError if a whole folder or list
    cannot be used, or no picture is left.
    """
    if not annotations.is_dir():
        raise DataError(f"annotation folder '{annotations}' does not exist", "check the path")
    store = open_store(images)
    files = {p.stem: p for p in sorted(annotations.glob("*.xml"))}
    chosen = list(files) if image_list is None else _listed(image_list)
    parsed = []
    for stem in chosen:
        if stem not in files:
            log.add(image_list or annotations, None, f"no annotation file for '{stem}'")
            continue
        found = _parse(files[stem], log)
        if found is not None:
            parsed.append(found)
    available: list[Task] = ["detect"]
    if spec.scene == "largest_box":
        available.append("classify")
    known = {box.name for _, boxes in parsed for box in boxes}
    builder = TruthBuilder(spec, log, sorted(known | set(spec.labels or ())), available)
    by_stem = {Path(n).stem: n for n in store.names()}
    items = []
    for name, boxes in parsed:
        name = name if store.has(name) else by_stem.get(Path(name).stem, name)
        size = picture_size(store, name, log)
        if size is not None:
            items.append((name, builder.truth(boxes, size)))
    return ImageSet(spec, store, items, builder)


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text", "check image_list") from error
    return [line.split()[0] for line in lines if line.strip()]


def _parse(path: Path, log: ProblemLog) -> tuple[str, list[RawBox]] | None:
    """Picture name and boxes of one file; None, and a note in the log, if it is broken."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        line = error.position[0] if isinstance(error, ElementTree.ParseError) else None
        log.add(path, line, "not XML")
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
    return f"{path.stem}{stem.suffix if stem.suffix != '.xml' else '.jpg'}", boxes
