"""Batches that mix data sets: augmented, sorted by input size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgemtl.data.base import UNKNOWN, DataSet
from edgemtl.data.imageset import empty_truth
from edgemtl.nn.network import PIXEL_ZERO
from edgemtl.records import F32, I64, U8
from edgemtl.train.augment import PAD, Sample, augment, mosaic, paste
from edgemtl.train.config import TrainConfig
from edgemtl.train.draw import Draw, Pick


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures of one size and the G objects in them, as torch tensors.

    images f32 [B, 3, h, w]; labelled bool [B, C]: the classes whose absence means something;
    detect and embed bool [B]; scenes i64 [B], -1 unknown; pasted i64 [B], the image class of what
    covers part of it, -1 nothing, and share f32 [B], how much of the picture is its own; source
    i64 [B], the data set by its place in the maker's ``sets``; and for the objects, in any order:
    frame i64 [G],
    boxes_net f32 [G, 4], labels i64 [G], identities i64 [G] (-1 unknown, else unique over all
    sets), ignore bool [G], confidence f32 [G] and appearance f32 [G, D], NaN where unknown, of
    teachers (see Truth), attributes i64 [G, M] (-1 unknown).
    ``objects``: whether any picture may have some, in the shares of other processes, too;
    ``blank``: the one picture is of nothing, there was none for this process.
    """

    images: Tensor
    labelled: Tensor
    detect: Tensor
    embed: Tensor
    scenes: Tensor
    pasted: Tensor
    share: Tensor
    source: Tensor
    frame: Tensor
    boxes_net: Tensor
    labels: Tensor
    identities: Tensor
    ignore: Tensor
    confidence: Tensor
    appearance: Tensor
    attributes: Tensor
    objects: bool = True
    blank: bool = False

    def to(self, device: torch.device) -> Batch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        there: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **there)


class PictureCache:
    """Decoded pictures, kept until the budget is full; then the rest is decoded every time."""

    def __init__(self, budget_bytes: int) -> None:
        self._left = budget_bytes
        self._kept: dict[tuple[int, int], U8] = {}

    def get(self, data: DataSet, index: int) -> U8:
        key = (id(data), index)
        found = self._kept.get(key)
        if found is None:
            found = data.image(index)
            if found.nbytes <= self._left:
                self._left -= found.nbytes
                self._kept[key] = found
        return found


class BatchMaker:
    """Makes the batches of a step; those of step n depend on the seed and n alone (resumable).

    ``share`` (number, count): of several processes, each makes its part of the very same batches.
    """

    def __init__(
        self, sets: Sequence[DataSet], config: TrainConfig, share: tuple[int, int] = (0, 1)
    ) -> None:
        self._draw = Draw(sets, config)
        self.sets = self._draw.sets
        self._config, self._share = config, share
        self._cache = PictureCache(config.cache_mb * 2**20)
        self._n_attributes = max(len(s.attributes) for s in self.sets)

    def divide_memory(self, count: int) -> None:
        """This is one of ``count`` copies: each may keep so many times fewer pictures."""
        self._cache = PictureCache(self._config.cache_mb * 2**20 // count)

    def batch(self, number: int) -> tuple[Batch, ...]:
        """What step ``number``, from 0, is made of: one batch for each input size in it.

        Every process has a share of each; one that gets no picture gets a blank one.
        """
        by_size: dict[tuple[int, int], list[Pick]] = {}
        for pick in self._draw.picks(number):
            by_size.setdefault(pick.size_hw, []).append(pick)
        return tuple(self._batch(size_hw, picks) for size_hw, picks in by_size.items())

    def _batch(self, size_hw: tuple[int, int], picks: Sequence[Pick]) -> Batch:
        number, count = self._share
        first, last = (len(picks) * n // count for n in (number, number + 1))
        samples = [(pick.which, self._sample(pick)) for pick in picks[first:last]]
        objects = any({"detect", "embed"} & self.sets[pick.which].tasks for pick in picks)
        return self._collate(samples, objects) if samples else self._blank(size_hw, objects)

    def _sample(self, pick: Pick) -> Sample:
        rng, config = np.random.default_rng(pick.seed), self._config.augment
        data = self.sets[pick.which]
        pictures = [(self._cache.get(data, i), data.truth(i)) for i in pick.indices]
        if len(pictures) > 1:
            return mosaic(pictures, pick.size_hw, config, rng, data.scene_of_class)
        how = config.for_identities() if pick.grouped else config
        made = augment(*pictures[0], pick.size_hw, how, rng)
        if data.tasks == {"classify"} and rng.random() < config.paste:
            other = int(rng.integers(len(data)))
            over = augment(
                self._cache.get(data, other), data.truth(other), pick.size_hw, config, rng
            )
            made = paste(made, over, rng)
        return made

    def _blank(self, size_hw: tuple[int, int], objects: bool) -> Batch:
        """A picture of nothing that labels nothing: it adds to no loss."""
        none, nothing = empty_truth(), np.zeros((0, 0), np.float32)
        sample = Sample(
            np.full((*size_hw, 3), PAD, np.uint8),
            none.boxes_src, none.labels, none.identities, none.ignore, UNKNOWN,
            np.zeros(0, np.float32), nothing,
        )  # fmt: skip
        batch = self._collate([(0, sample)], objects)
        nowhere = torch.zeros_like(batch.detect)
        unlabelled = torch.zeros_like(batch.labelled)
        return replace(batch, labelled=unlabelled, detect=nowhere, embed=nowhere, blank=True)

    def _collate(self, samples: list[tuple[int, Sample]], with_objects: bool) -> Batch:
        sets = [self.sets[which] for which, _ in samples]
        pixels = np.stack([s.pixels for _, s in samples])[..., ::-1]
        planar = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        images = (planar.float() - PIXEL_ZERO) / PIXEL_ZERO
        counts = [len(s.labels) for _, s in samples]
        objects = [s for _, s in samples]
        identities = [_unique(s.identities, which) for which, s in samples]
        return Batch(
            images.contiguous(memory_format=torch.channels_last),
            torch.from_numpy(np.stack([s.labelled for s in sets])),
            torch.tensor(["detect" in s.tasks for s in sets]),
            torch.tensor(["embed" in s.tasks for s in sets]),
            torch.tensor([s.scene for s in objects]),
            torch.tensor([s.pasted for s in objects]),
            torch.tensor([s.share for s in objects]),
            torch.tensor([which for which, _ in samples]),
            torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
            torch.from_numpy(np.concatenate([s.boxes_net for s in objects])),
            torch.from_numpy(np.concatenate([s.labels for s in objects]).astype(np.int64)),
            torch.from_numpy(np.concatenate(identities)),
            torch.from_numpy(np.concatenate([s.ignore for s in objects])),
            torch.from_numpy(np.concatenate([s.confidence for s in objects])),
            torch.from_numpy(_one_width([s.appearance for s in objects])),
            torch.from_numpy(np.concatenate([_told(s, self._n_attributes) for s in objects])),
            with_objects,
        )


def _told(sample: Sample, n_attributes: int) -> I64:
    """Attributes i64 [N, M] of a sample, unknown where its set has none."""
    if sample.attributes is None:
        return np.full((len(sample.labels), n_attributes), UNKNOWN, np.int64)
    return sample.attributes.astype(np.int64)


def _one_width(parts: list[F32]) -> F32:
    """Rows [N, D] of all; those of a part that knows nothing (D = 0) are NaN."""
    width = max(part.shape[1] for part in parts)
    whole = np.full((sum(map(len, parts)), width), np.nan, np.float32)
    at = 0
    for part in parts:
        whole[at : at + len(part), : part.shape[1]] = part
        at += len(part)
    return whole


def _unique(identities: np.ndarray, which: int) -> np.ndarray:
    """Identities are unique within a set; make them so over all."""
    moved: np.ndarray = np.where(identities == UNKNOWN, UNKNOWN, identities + (which << 32))
    return moved.astype(np.int64)
