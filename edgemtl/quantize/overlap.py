"""Calibration pictures that are also evaluation pictures: what they would be judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemtl.data.checks.pictures import Looks, look_alikes, look_at, same_pixels
from edgemtl.errors import CalibrationError, ConfigError
from edgemtl.progress import track
from edgemtl.quantize.images import ImageSource

if TYPE_CHECKING:
    from edgemtl.data.base import DataSet
    from edgemtl.data.config import DataMix


NEAR_BITS = 8
"""Of 64, in which the hashes of pictures that look alike may differ."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the calibration pictures have in common with one evaluation set.

    ``same``: of them, with the same pixels as one there; ``alike``: that look like one there.
    ``example``: files of the first pair.
    """

    name: str
    same: int
    alike: int
    example: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "set": self.name, "same": self.same, "alike": self.alike,
            "example": list(self.example),
        }  # fmt: skip


def find_shared(
    images: ImageSource, indices: Sequence[int], mix: DataMix
) -> tuple[tuple[Shared, ...], str]:
    """The evaluation sets that share pictures with the calibration, and a digest of all that the
    scores depend on: pixels, annotations, and what each set says of them.

    By the pixels' hash, and near-duplicates by a difference hash (see data.checks.pictures).
    """
    ours = _looks(images, indices)
    found = []
    looks = look_at(mix.sets, float("inf"))
    for data, theirs in zip(mix.sets, looks, strict=True):
        same, alike = same_pixels(ours, theirs), look_alikes(ours, theirs, NEAR_BITS)
        pairs = [*same.tolist(), *alike.tolist()]
        if pairs:
            i, j = pairs[0]
            example = (images.file(indices[i]), data.file(j))
            near = len(set(alike[:, 0].tolist()) - set(same[:, 0].tolist()))
            found.append(Shared(data.name, len(same), near, example))
    digest = hashlib.sha256()
    for data, theirs in zip(mix.sets, looks, strict=True):
        digest.update(_said(data).encode())
        digest.update(theirs.content.tobytes())
        for index in range(len(data)):
            truth = data.truth(index)
            digest.update(f"{len(truth)} ".encode())
            for part in (truth.boxes_src, truth.labels, truth.identities, truth.ignore):
                digest.update(part.tobytes())
            digest.update(str(truth.scene).encode())
    return tuple(found), digest.hexdigest()


def _said(data: DataSet) -> str:
    """What a data set is, beside its pictures and their annotation; which differs if any does."""
    videos = [(video.start, video.stop, video.fps) for video in data.sequences]
    names = (list(data.classes), list(data.image_classes), np.flatnonzero(data.labelled).tolist())
    return repr((len(data), names, sorted(data.tasks), videos, data.identity_source))


def require_names(allowed: Collection[str], names: Sequence[str]) -> None:
    """Raise ConfigError for an allowed name that no evaluation set has."""
    unknown = [name for name in allowed if name not in names]
    if unknown:
        raise ConfigError(
            f"allow-overlap: there is no evaluation set '{unknown[0]}'", f"there are {list(names)}"
        )


def require_apart(shared: Sequence[Shared], allowed: Collection[str], recipe: str = "") -> None:
    """Raise CalibrationError for a set that shares pictures and is not ``allowed`` by name.

    ``recipe``: the file that says which are allowed, if there is one.
    """
    for one in shared:
        if one.name not in allowed:
            option = f"--allow-overlap {one.name}"
            names = ", ".join(f'"{name}"' for name in (*allowed, one.name))
            key = f"allow_overlap = [{names}] in {recipe}"
            raise CalibrationError(
                f"images: {one.same} of the calibration pictures are in the evaluation set "
                f"'{one.name}', and {one.alike} look like one there, such as '{one.example[0]}' "
                f"and '{one.example[1]}'",
                "calibrate on other pictures; or, where it is meant (frames of one camera all look "
                f"alike), {key if recipe else option}",
            )


def _looks(images: ImageSource, indices: Sequence[int]) -> Looks:
    looks = Looks.empty(len(indices))
    for at, index in enumerate(track(indices, "looking at calibration pictures")):
        looks.put(at, images.image(index))
    return looks
