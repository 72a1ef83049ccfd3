"""Cameras and network streams: the newest frame wins, and a lost connection is tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Literal

from edgemtl.errors import SourceError
from edgemtl.records import U8, Frame
from edgemtl.runtime.capture import Capture

_RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0)
_WHOLE = 0.95
"""Containers announce their frames by duration and rate, and are a few off."""


class LiveSource:
    """A reader thread that keeps one frame ready.

    Policy ``latest``: a frame that nobody took is replaced and counted in ``dropped``. Policy
    ``all``: the reader waits. None: ``all`` where the stream announces its length, as a file on a
    server does, else ``latest``. Time stamps are the arrival times, because cameras seldom have
    others. A stream that ends is opened again after 0.5, 1, 2, 4 and 8 s, then given up; one that
    has given the frames that it announces has ended.
    """

    live = True

    def __init__(
        self,
        target: str | int,
        name: str,
        policy: Literal["all", "latest"] | None,
        retry_s: tuple[float, ...] = _RETRY_S,
    ) -> None:
        self._target, self._name = target, name
        remote = isinstance(target, str) and "://" in target
        self._retry_s = retry_s if remote else ()
        self._capture = Capture(target)
        if not self._capture.opened:
            raise SourceError(
                f"source: cannot open '{name}'",
                "check that the camera is plugged in and free, or that the address is right",
            )
        self.fps = self._capture.fps or 25.0
        self.length = self._capture.frames if remote else None
        self._policy = policy or ("latest" if self.length is None else "all")
        self.dropped = 0
        self.warning: str | None = None
        self._ready = threading.Condition()
        self._next: tuple[U8, int] | None = None
        self._ended = self._closed = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="edgemtl-live", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._next is not None or self._ended)
                found, self._next = self._next, None
                self._ready.notify_all()
            if found is None:
                if self._error is not None:
                    raise self._error
                return
            pixels, captured_ns = found
            yield Frame(pixels, index, captured_ns, captured_ns)
            index += 1

    def close(self) -> None:
        with self._ready:
            self._closed = self._ended = True
            self._ready.notify_all()
        self._thread.join(timeout=5)  # it may hang in the device; it releases that when it returns

    def _read(self) -> None:
        try:
            self._follow()
        except Exception as error:  # raised again by the iterator, in its reader's thread
            self._error = error
        finally:
            self._capture.release()
            with self._ready:
                if not self._closed:
                    self.warning = f"'{self._name}' ended"
                self._ended = True
                self._ready.notify_all()

    def _follow(self) -> None:
        attempts, given = iter(self._retry_s), 0
        while not self._closed:
            found = self._capture.read()
            if found is not None:
                attempts, given = iter(self._retry_s), given + 1
                self._offer(found[0])
                continue
            if self.length is not None and given >= _WHOLE * self.length:
                return
            wait = next(attempts, None)
            if wait is None:
                return
            self._reopen(wait)

    def _reopen(self, wait_s: float) -> None:
        with self._ready:
            self._ready.wait_for(lambda: self._closed, timeout=wait_s)
            if self._closed:
                return
        self._capture.release()
        self._capture = Capture(self._target)

    def _offer(self, pixels: U8) -> None:
        with self._ready:
            if self._policy == "all":
                self._ready.wait_for(lambda: self._next is None or self._closed)
            elif self._next is not None:
                self.dropped += 1
            self._next = (pixels, time.monotonic_ns())
            self._ready.notify_all()
