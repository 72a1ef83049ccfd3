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
from edgemtl.records import F32, I64, U8
from edgemtl.train.augment import Sample, augment, mosaic
from edgemtl.train.config import TrainConfig

_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures and the G objects in them, as torch tensors.

    images f32 [B, 3, h, w]; labelled bool [B, C]: the classes whose absence means something;
    detect bool [B]; scenes i64 [B], -1 unknown; source i64 [B], the data set by its place in the
    maker's ``sets``; and for the objects, in any order: frame i64 [G], boxes_net f32 [G, 4],
    labels i64 [G], identities i64 [G] (-1 unknown, else unique over all sets), ignore bool [G],
    confidence f32 [G] and appearance f32 [G, D], NaN where unknown, of teachers (see Truth),
    attributes i64 [G, M] (-1 unknown).
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
    confidence: Tensor
    appearance: Tensor
    attributes: Tensor

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


@dataclass(frozen=True, slots=True)
class _Draw:
    """One place of a batch: a picture of a data set, or the four of a mosaic."""

    which: int
    pictures: tuple[int, ...]


class BatchMaker:
    """Draws and augments batches. The n-th batch depends on the seed and n alone (resumable).

    ``share`` (number, count): of several processes, each makes its part of the very same batch.
    """

    def __init__(
        self, sets: Sequence[DataSet], config: TrainConfig, share: tuple[int, int] = (0, 1)
    ) -> None:
        if not any(len(s) for s in sets):
            raise DataError("train: the data sets hold no pictures")
        self.sets = [s for s in sets if len(s) and s.weight > 0]
        self._config = config
        self._cache = PictureCache(config.cache_mb * 2**20)
        grouped = ["embed" in s.tasks and bool(s.sequences) for s in self.sets]
        self._units = [config.group if g else 1 for g in grouped]
        often = np.array([s.weight / u for s, u in zip(self.sets, self._units, strict=True)])
        self._share = often / often.sum()
        self._mosaics = config.augment.mosaic_until * (config.images // config.batch)
        size = config.batch // share[1]
        self._n_attributes = max(len(s.attributes) for s in self.sets)
        self._mine = range(share[0] * size, (share[0] + 1) * size)

    def batch(self, number: int) -> Batch:
        """Batch ``number``, from 0; of several processes, the share of this one."""
        draws = self._plan(number)
        samples = []
        for place in self._mine:
            # each place has its own randomness: the others need not be made to know it
            rng = np.random.default_rng((self._config.seed, number, place))
            samples.append((draws[place].which, self._sample(draws[place], rng)))
        return self._collate(samples)

    def _plan(self, number: int) -> list[_Draw]:
        """Which pictures batch ``number`` shows: the same in every process."""
        rng = np.random.default_rng((self._config.seed, number))
        draws: list[_Draw] = []
        while len(draws) < self._config.batch:
            which = int(rng.choice(len(self.sets), p=self._share))
            size = min(self._units[which], self._config.batch - len(draws))
            draws += self._unit(which, size, rng, number < self._mosaics)
        return draws

    def _unit(self, which: int, size: int, rng: np.random.Generator, mosaics: bool) -> list[_Draw]:
        data = self.sets[which]
        if self._units[which] > 1:
            return [_Draw(which, (i,)) for i in self._group(data, size, rng)]
        part = self._config.augment.mosaic if mosaics else 0.0
        tiled = not data.sequences and rng.random() < part and len(data) >= 4
        chosen = rng.integers(0, len(data), 4 if tiled else 1)
        return [_Draw(which, tuple(int(i) for i in chosen))]

    def _sample(self, draw: _Draw, rng: np.random.Generator) -> Sample:
        config, data = self._config, self.sets[draw.which]
        pictures = [self._picture(data, index) for index in draw.pictures]
        if len(pictures) > 1:
            return mosaic(pictures, config.size_hw, config.augment, rng)
        known = self._units[draw.which] > 1
        how = config.augment.for_identities() if known else config.augment
        return augment(*pictures[0], config.size_hw, how, rng)

    def _group(self, data: DataSet, size: int, rng: np.random.Generator) -> list[int]:
        lengths = np.array([s.stop - s.start for s in data.sequences], np.float64)
        sequence = data.sequences[int(rng.choice(len(lengths), p=lengths / lengths.sum()))]
        span = min(
            int(self._config.group_span_s * sequence.fps) + 1, sequence.stop - sequence.start
        )
        first = int(rng.integers(sequence.start, sequence.stop - span + 1))
        return [int(i) for i in rng.integers(first, first + span, size)]

    def _picture(self, data: DataSet, index: int) -> tuple[U8, Truth]:
        return self._cache.get(data, index), data.truth(index)

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
            torch.from_numpy(np.concatenate([s.confidence for s in objects])),
            torch.from_numpy(_one_width([s.appearance for s in objects])),
            torch.from_numpy(np.concatenate([_told(s, self._n_attributes) for s in objects])),
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
