"""The checks in their order, and the key under which their result is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgemtl.data.base import DataSet
from edgemtl.data.checks.census import count
from edgemtl.data.checks.judge import judge_counts
from edgemtl.data.checks.overlap import find_copies, find_overlap
from edgemtl.data.checks.pictures import look_at
from edgemtl.data.checks.report import LEVELS, CheckOptions, DataReport, Finding
from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld

_VERSION = "1"  # of the checks: a result of others is not used again
_WORLD_SAMPLES = 64


def check_data(
    train: DataMix, val: DataMix, options: CheckOptions, kept: DataReport | None = None
) -> DataReport:
    """Check the data of a run. Raises DataError for a picture that cannot be read.

    ``kept``: an earlier report; it is given back if data and options are those of now. What is
    wrong is in the report's findings, errors first: see :meth:`DataReport.refuse_errors`.
    """
    key = data_key(train, val, options)
    if kept is not None and kept.key == key:
        return kept
    sets: list[DataSet] = [*train.sets, *val.sets]
    looks = look_at(sets, options.seconds)
    sizes = [options.sizes.get(data.name, options.size_hw) for data in sets]
    splits = {"train": train.sets, "val": val.sets}
    census = count(splits, looks, sizes, options.zoom, options.seconds)
    report = DataReport(key, options.size_hw, census, ())
    looked = list(zip(sets, looks, strict=True))
    ours, theirs = looked[: len(train.sets)], looked[len(train.sets) :]
    ours = [(data, look) for data, look in ours if data.weight > 0]  # the others take no part
    findings = [
        *find_overlap(ours, theirs, options.near_bits, options.allow_overlap),
        *find_copies(ours),
        *judge_counts(report, train.classes, train.image_classes, options),
        *_problems("train", train),
        *_problems("val", val),
    ]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return replace(report, findings=tuple(findings))


def _problems(split: str, mix: DataMix) -> list[Finding]:
    """One finding for all that was skipped or clipped while reading."""
    if not mix.problems:
        return []
    first = mix.problems[0]
    what = f"{len(mix.problems)} problems of reading; the first: {first.what} ({first.action})"
    where = first.file if first.line is None else f"{first.file}:{first.line}"
    hint = 'repair the files; on_error = "refuse" makes them errors'
    return [Finding("warning", f"{split} {where}", what, hint)]


def data_key(train: DataMix, val: DataMix, options: CheckOptions) -> str:
    """A hash of options, files (name, size, time of change) and annotations."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((_VERSION, options, train.classes, train.image_classes)).encode())
    files: dict[str, tuple[int, int]] = {}
    for mix in (train, val):
        digest.update(repr([str(problem) for problem in mix.problems]).encode())
        for data in mix.sets:
            facts = (data.name, data.weight, sorted(data.tasks), data.labelled.tolist(), len(data))
            digest.update(repr((facts, data.sequences)).encode())
            for index in _telling(data):
                digest.update(repr(_stamp(data.file(index), files)).encode())
                truth = data.truth(index)
                for array in (truth.boxes_src, truth.labels, truth.identities, truth.ignore):
                    digest.update(array.tobytes())
                digest.update(str(truth.scene).encode())
    return digest.hexdigest()


def _telling(data: DataSet) -> Sequence[int]:
    """The pictures that tell one state of the data from another: of a rendered world, a few."""
    step = max(1, len(data) // _WORLD_SAMPLES) if isinstance(data, SyntheticWorld) else 1
    return range(0, len(data), step)


def _stamp(name: str, files: dict[str, tuple[int, int]]) -> tuple[str, tuple[int, int]]:
    """The name, and size and time of change of the file that holds it: itself, a zip or a video."""
    path = Path(name.rpartition("#")[0] or name)
    key = str(path)
    if key not in files:
        holder = next((p for p in (path, *path.parents) if p.is_file()), None)
        stat = holder.stat() if holder is not None else None
        files[key] = (stat.st_size, stat.st_mtime_ns) if stat is not None else (0, 0)
    return name, files[key]
