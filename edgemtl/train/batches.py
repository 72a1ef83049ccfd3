"""Batches that mix data sets: drawn by weight, augmented, prepared ahead by one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgemtl.data.base import UNKNOWN, DataSet, Truth
from edgemtl.errors import DataError
from edgemtl.nn.network import PIXEL_ZERO
from edgemtl.records import U8
from edgemtl.train.augment import Sample, augment, mosaic
from edgemtl.train.config import TrainConfig

_AHEAD = 4
_GROUP_SPAN_S = 8.0  # frames of a group come from this much of their sequence


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures and the G objects in them, as torch tensors.

    images f32 [B, 3, h, w]; labelled bool [B, C]: the classes whose absence means something;
    detect bool [B]; scenes i64 [B], -1 unknown; source i64 [B], the data set by its place in the
    maker's ``sets``; and for the objects, in any order: frame i64 [G], boxes_net f32 [G, 4],
    labels i64 [G], identities i64 [G] (-1 unknown, else unique over all sets), ignore bool [G].
    """

    images: Tensor
    labelled: Tensor
    detect: Tensor
    scenes: Tensor
    source: Tensor
    frame: Tensor
    boxes_net: Tensor
    labels: Tensor
    identities: Tensor
    ignore: Tensor

    def to(self, device: torch.device) -> Batch:
        fields = (getattr(self, name).to(device, non_blocking=True) for name in self.__slots__)
        return Batch(*fields)


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
    """Draws and augments batches. The n-th batch depends on the seed and n alone (resumable)."""

    def __init__(self, sets: Sequence[DataSet], config: TrainConfig) -> None:
        if not any(len(s) for s in sets):
            raise DataError("train: the data sets hold no pictures")
        self.sets = [s for s in sets if len(s) and s.weight > 0]
        self._config = config
        self._cache = PictureCache(config.cache_mb * 2**20)
        grouped = ["embed" in s.tasks and bool(s.sequences) for s in self.sets]
        self._units = [config.group if g else 1 for g in grouped]
        share = np.array([s.weight / u for s, u in zip(self.sets, self._units, strict=True)])
        self._share = share / share.sum()
        self._mosaics = config.augment.mosaic_until * (config.images // config.batch)

    def batch(self, number: int) -> Batch:
        """Batch ``number``, from 0."""
        rng = np.random.default_rng((self._config.seed, number))
        samples: list[tuple[int, Sample]] = []
        while len(samples) < self._config.batch:
            which = int(rng.choice(len(self.sets), p=self._share))
            room = self._config.batch - len(samples)
            size = min(self._units[which], room)
            samples += [(which, s) for s in self._unit(which, size, rng, number < self._mosaics)]
        return self._collate(samples)

    def _unit(self, which: int, size: int, rng: np.random.Generator, mosaics: bool) -> list[Sample]:
        data = self.sets[which]
        if self._units[which] > 1:
            return [self._view(data, i, rng) for i in self._group(data, size, rng)]
        part = self._config.augment.mosaic if mosaics else 0.0
        if not data.sequences and rng.random() < part and len(data) >= 4:
            chosen = rng.integers(0, len(data), 4)
            pictures = [self._picture(data, int(i)) for i in chosen]
            return [mosaic(pictures, self._config.size_hw, self._config.augment, rng)]
        return [self._view(data, int(rng.integers(len(data))), rng)]

    def _group(self, data: DataSet, size: int, rng: np.random.Generator) -> list[int]:
        lengths = np.array([s.stop - s.start for s in data.sequences], np.float64)
        sequence = data.sequences[int(rng.choice(len(lengths), p=lengths / lengths.sum()))]
        span = min(int(_GROUP_SPAN_S * sequence.fps) + 1, sequence.stop - sequence.start)
        first = int(rng.integers(sequence.start, sequence.stop - span + 1))
        return [int(i) for i in rng.integers(first, first + span, size)]

    def _picture(self, data: DataSet, index: int) -> tuple[U8, Truth]:
        return self._cache.get(data, index), data.truth(index)

    def _view(self, data: DataSet, index: int, rng: np.random.Generator) -> Sample:
        image, truth = self._picture(data, index)
        return augment(image, truth, self._config.size_hw, self._config.augment, rng)

    def _collate(self, samples: list[tuple[int, Sample]]) -> Batch:
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
            torch.tensor([s.scene for s in objects]),
            torch.tensor([which for which, _ in samples]),
            torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
            torch.from_numpy(np.concatenate([s.boxes_net for s in objects])),
            torch.from_numpy(np.concatenate([s.labels for s in objects]).astype(np.int64)),
            torch.from_numpy(np.concatenate(identities)),
            torch.from_numpy(np.concatenate([s.ignore for s in objects])),
        )


def _unique(identities: np.ndarray, which: int) -> np.ndarray:
    """Identities are unique within a set; make them so over all."""
    moved: np.ndarray = np.where(identities == UNKNOWN, UNKNOWN, identities + (which << 32))
    return moved.astype(np.int64)


def prefetch(maker: BatchMaker, first: int, last: int) -> Iterator[Batch]:
    """Batches ``first`` to ``last`` (exclusive), made ahead by a thread that ends with it."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: Batch | BaseException) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for number in range(first, last):
                if not put(maker.batch(number)):
                    return
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, name="edgemtl-batches", daemon=True)
    thread.start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
