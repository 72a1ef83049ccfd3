"""Batches made ahead of the step that needs them: by a thread, or by processes of their own."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Generator
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset, get_worker_info

from edgemtl.train.batches import Batch, BatchMaker

_AHEAD = 4

Made = tuple[Batch, ...] | BaseException


def prefetch(
    maker: BatchMaker, first: int, last: int, workers: int = 0
) -> Generator[tuple[Batch, ...], None, None]:
    """Steps ``first`` to ``last`` (exclusive), in order; whoever makes them ends with it.

    A thread makes them, or ``workers`` processes: for a device that is faster than one thread.
    The batches are the same. What goes wrong in making one is raised here.
    """
    made = _by_processes(maker, first, last, workers) if workers else _by_thread(maker, first, last)
    try:
        for item in made:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        made.close()


def _make(maker: BatchMaker, number: int) -> Made:
    try:
        return maker.batch(number)
    except BaseException as error:  # handed to the consumer, which raises it
        return error


def _by_thread(maker: BatchMaker, first: int, last: int) -> Generator[Made, None, None]:
    ready: queue.Queue[Made] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: Made) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        for number in range(first, last):
            item = _make(maker, number)
            if not put(item) or isinstance(item, BaseException):
                return

    thread = threading.Thread(target=work, name="edgemtl-batches", daemon=True)
    thread.start()
    try:
        for _ in range(first, last):
            yield ready.get()
    finally:
        stop.set()
        thread.join()


class _Steps(Dataset[Made]):
    def __init__(self, maker: BatchMaker) -> None:
        self.maker = maker

    def __getitem__(self, number: int) -> Made:
        return _make(self.maker, number)


def _alone(_: int) -> None:
    """In a new process: one thread, its part of the memory, and no ear for Ctrl-C.

    The terminal sends that to all; the first process finishes its step, and for that needs batches.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, _Steps)
    info.dataset.maker.divide_memory(info.num_workers)


def _whole(item: Any) -> Any:
    return item


def _by_processes(
    maker: BatchMaker, first: int, last: int, workers: int
) -> Generator[Made, None, None]:
    yield from DataLoader(
        _Steps(maker),
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        multiprocessing_context="fork",  # the pictures' stores are open files and locks
        collate_fn=_whole,
        prefetch_factor=2,
        worker_init_fn=_alone,
    )
