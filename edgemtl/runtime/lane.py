"""The bounded queue between two threads of a run."""

from __future__ import annotations

import queue
import threading
from typing import Any

END = object()
"""Comes out of a lane when nothing more will."""
_POLL_S = 0.1


class Lane:
    """A bounded queue between two threads that both stop when ``stop`` is set.

    ``drain``: what was put in before the stop still comes out.
    """

    def __init__(self, size: int, stop: threading.Event, *, drain: bool = False) -> None:
        if size < 1:
            raise ValueError(f"queue: expected at least 1, got {size}")
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stop, self._drain = stop, drain

    def put(self, item: Any) -> bool:
        """Wait for room; False if the run stopped first."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def get(self) -> Any:
        """Wait for the next item; END if the run stopped first."""
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
        return self.ready(END)

    def ready(self, otherwise: Any) -> Any:
        """The next item if there is one already; END if the run stopped first."""
        if self._stop.is_set() and not self._drain:
            return END
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return otherwise
