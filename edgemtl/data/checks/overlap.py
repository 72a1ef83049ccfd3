"""Pictures that training and validation share, and copies within training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from edgemtl.data.base import DataSet
from edgemtl.data.checks.pictures import Looks, look_alikes, same_pixels
from edgemtl.data.checks.report import Finding, Level

Looked = Sequence[tuple[DataSet, Looks]]
_EXAMPLES, _LISTED = 3, 1000
_SPLIT = (
    "split the data anew, so that no picture is in both; where it is meant, "
    "[data_checks] allow_overlap = true"
)


def find_overlap(train: Looked, val: Looked, near_bits: int, allow: bool) -> list[Finding]:
    """What each pair of a training and a validation set have in common.

    The same file or the same pixels are an error, or with ``allow`` a warning; look-alikes a
    warning; other frames of one video a note, whatever they look like.
    """
    level: Level = "warning" if allow else "error"
    found = []
    for ours in train:
        for theirs in val:
            found += _pair(ours, theirs, near_bits, level)
    return found


def _pair(
    ours: tuple[DataSet, Looks], theirs: tuple[DataSet, Looks], near_bits: int, level: Level
) -> list[Finding]:
    (train, a), (val, b) = ours, theirs
    where = f"train '{train.name}', val '{val.name}'"
    files = {val.file(k): k for k in range(len(val))}
    shared = [(k, files[train.file(k)]) for k in range(len(train)) if train.file(k) in files]
    found = []
    if shared:
        what = f"{len(shared)} pictures are in both: {_names(train, val, shared)}"
        found.append(Finding(level, where, what, _SPLIT, _files(train, val, shared)))
    found += _videos(train, val, where)
    known = set(shared)
    copies = [pair for pair in _pairs(same_pixels(a, b)) if pair not in known]
    apart, frames = _by_video(train, val, copies)
    if apart:
        what = f"{len(apart)} pictures have a copy in validation: {_names(train, val, apart)}"
        hint = f"remove them from one side; or {_SPLIT}"
        found.append(Finding(level, where, what, hint, _files(train, val, apart)))
    if frames:
        what = f"{len(frames)} frames equal another frame of the same video in validation: "
        found.append(Finding("note", where, what + _names(train, val, frames)))
    near, _ = _by_video(train, val, _pairs(look_alikes(a, b, near_bits)))
    if near:
        count = len({j for _, j in near})
        what = f"{count} validation pictures look like training ones: {_names(train, val, near)}"
        hint = "look at them (data.json lists all): scores on near-copies are too good"
        found.append(Finding("warning", where, what, hint, _files(train, val, near)))
    return found


def find_copies(train: Looked) -> list[Finding]:
    """Pictures that are in the training data more than once."""
    places: dict[int, list[tuple[DataSet, int]]] = defaultdict(list)
    for data, look in train:
        for k in np.flatnonzero(look.seen & ~look.flat).tolist():
            places[int(look.content[k])].append((data, k))
    groups = [group for group in places.values() if len(group) > 1]
    still = [g for g in groups if len({source_of(data, k) or (id(data), k) for data, k in g}) == 1]
    copies = [group for group in groups if group not in still]
    found = []
    if copies:
        extra = sum(len(group) - 1 for group in copies)
        names = " = ".join(data.file(k) for data, k in copies[0][:_EXAMPLES])
        found.append(
            Finding("warning", "train", f"{extra} pictures are copies of others: {names}",
                    "a copy counts twice; where its labels differ it teaches nothing")
        )  # fmt: skip
    if still:
        extra = sum(len(group) - 1 for group in still)
        data, k = still[0][1]
        found.append(
            Finding("note", "train", f"{extra} frames equal an earlier one of their video, "
                    f"such as {data.file(k)}")
        )  # fmt: skip
    return found


def source_of(data: DataSet, index: int) -> str | None:
    """The video or folder of frames that a picture is from; None for pictures on their own."""
    if not data.sequences:
        return None
    name = data.file(index)
    video, mark, _ = name.rpartition("#")
    return video if mark else str(PurePath(name).parent)


def _videos(train: DataSet, val: DataSet, where: str) -> list[Finding]:
    """One note for each video that both sets take frames from."""
    frames: list[dict[str, list[int]]] = []
    for data in (train, val):
        by_source: dict[str, list[int]] = defaultdict(list)
        for k in range(len(data)) if data.sequences else ():
            by_source[str(source_of(data, k))].append(k)
        frames.append(by_source)
    return [
        Finding("note", where, f"both take frames of '{source}': train "
                f"{_range(train, frames[0][source])}, val {_range(val, frames[1][source])}")
        for source in frames[0] if source in frames[1]
    ]  # fmt: skip


def _range(data: DataSet, indices: list[int]) -> str:
    first, last = (
        PurePath(data.file(k)).name.rpartition("#")[2] for k in (indices[0], indices[-1])
    )
    return f"{first} to {last}"


def _by_video(
    train: DataSet, val: DataSet, pairs: list[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The pairs of different origin, and those of one video."""
    apart: list[tuple[int, int]] = []
    together: list[tuple[int, int]] = []
    for i, j in pairs:
        source = source_of(train, i)
        same = source is not None and source == source_of(val, j)
        (together if same else apart).append((i, j))
    return apart, together


def _pairs(array: np.ndarray) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in array]


def _files(
    train: DataSet, val: DataSet, pairs: list[tuple[int, int]]
) -> tuple[tuple[str, str], ...]:
    return tuple((train.file(i), val.file(j)) for i, j in pairs[:_LISTED])


def _names(train: DataSet, val: DataSet, pairs: list[tuple[int, int]]) -> str:
    shown = [
        f"'{train.file(i)}'" + ("" if train.file(i) == val.file(j) else f" and '{val.file(j)}'")
        for i, j in pairs[:_EXAMPLES]
    ]
    return ", ".join(shown) + (", ..." if len(pairs) > _EXAMPLES else "")
