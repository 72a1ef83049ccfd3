"""How fast sessions are on this host: they take turns, so that all see the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import TypeVar

import numpy as np

from edgemtl.engine.session import Session
from edgemtl.records import NetOutputs

Name = TypeVar("Name", bound=str)

_WARM_UP = 5


def time_sessions(sessions: Mapping[Name, Session], rounds: int) -> dict[Name, list[float]]:
    """Milliseconds of one picture through each network, as :func:`take_turns`."""
    return take_turns({name: call_of(session) for name, session in sessions.items()}, rounds)


def time_loads(
    makers: Mapping[Name, Callable[[], Session]], rounds: int, loads: int
) -> dict[Name, list[list[float]]]:
    """As :func:`time_sessions`, ``loads`` times with sessions made anew; one list for each.

    A session's memory lies elsewhere each time, which alone makes the very same network some
    percent faster or slower: more rounds of one session do not average that out.
    """
    taken: dict[Name, list[list[float]]] = {name: [] for name in makers}
    for number in range(loads):
        with ExitStack() as stack:
            sessions = {
                name: stack.enter_context(closing(makers[name]()))
                for name in list(makers)[:: 1 if number % 2 else -1]
            }
            for name, times in time_sessions(sessions, rounds).items():
                taken[name].append(times)
    return taken


def call_of(session: Session, batch: int = 1) -> Callable[[], NetOutputs]:
    """A blocking run of ``batch`` pictures of noise."""
    spec = session.manifest.input
    low = 0 if spec.dtype == "uint8" else -128
    noise = np.random.default_rng(0).integers(low, low + 256, (batch, 3, *spec.size_hw))
    pictures = noise.astype(spec.dtype)
    return lambda: session.infer(pictures)


def take_turns(
    calls: Mapping[Name, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Milliseconds of each call in each round; who begins moves on by one from round to round.

    ``clock`` gives seconds. Of three and more none follows itself, which would find its memory
    still in the caches.
    """
    names = list(calls)
    taken: dict[Name, list[float]] = {name: [] for name in names}
    for number in range(_WARM_UP + rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            started = clock()
            calls[name]()
            if number >= _WARM_UP:
                taken[name].append(1e3 * (clock() - started))
    return taken
