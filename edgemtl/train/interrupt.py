"""Ctrl-C in a training: the step that runs is finished, so that what is saved is whole."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edgemtl.train.distributed import count, is_first


class Interrupts:
    """While entered, Ctrl-C sets ``asked`` instead of raising KeyboardInterrupt.

    A second one ends a process that trains alone at once (``forced``: within a step); of several
    processes, which get the signal from their launcher as well as from the terminal, all stop
    after the same step. A stop that the command line turns into Ctrl-C (SIGTERM) counts, too.
    """

    def __init__(self) -> None:
        self.asked = False
        self.forced = False
        self._raising = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if self._raising:
            raise KeyboardInterrupt
        if again and count() == 1:
            self.forced = True
            raise KeyboardInterrupt
        if is_first() and not again:
            print("stopping after this step", file=sys.stderr, flush=True)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Within this, Ctrl-C does raise: for work that may be broken off anywhere."""
        self._raising = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._raising = False
