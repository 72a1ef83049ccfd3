"""An image folder or zip: the name of a picture's folder is its class."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgemtl.data.imageset import ImageSet, TruthBuilder, empty_truth, picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import open_store


def read_folder(spec: SetSpec, images: Path, log: ProblemLog) -> ImageSet:
    """Read ``class/picture.jpg`` below a folder or inside a zip, as image classes.

    Pictures of a class that the mix does not have are reported. Raises DataError if none is left.
    """
    store = open_store(images)
    builder = TruthBuilder(spec, log, [], ["classify"])
    items = []
    for name in store.names():
        kind = PurePosixPath(name).parent.name
        label = spec.image_label(kind)
        if label is None:
            log.add(store.label(name), None, f"unknown class '{kind}'")
        elif picture_size(store, name, log) is not None:
            items.append((name, empty_truth(label)))
    return ImageSet(spec, store, items, builder)
