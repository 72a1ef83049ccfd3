"""Who is timed when: turns that favour nobody, and sessions that are made anew for each load."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgemtl.engine import timing


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_everybody_begins_and_follows_the_others_equally_often(count: int) -> None:
    names = [f"m{k}" for k in range(count)]
    said: list[str] = []
    warm_up, rounds = timing._WARM_UP, 4 * count
    taken = timing.take_turns({name: lambda n=name: said.append(n) for name in names}, rounds)
    assert all(len(times) == rounds for times in taken.values())
    assert all(min(times) >= 0 for times in taken.values())
    counted = said[warm_up * count :]
    assert Counter(counted[::count]) == dict.fromkeys(names, 4)
    after = Counter(pairwise(said))
    alone = [after[name, name] for name in names]
    assert max(alone) - min(alone) <= 1
    assert count <= 2 or not any(alone)


class Small:
    """A session that says when it is opened and closed."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log
        self.manifest = SimpleNamespace(input=SimpleNamespace(dtype="int8", size_hw=(2, 2)))
        log.append(f"+{name}")

    def infer(self, pictures: np.ndarray) -> np.ndarray:
        return pictures

    def close(self) -> None:
        self._log.append(f"-{self._name}")


def test_sessions_are_made_anew_for_each_load() -> None:
    log: list[str] = []
    makers: Any = {name: partial(Small, name, log) for name in ("a", "b")}
    taken = timing.time_loads(makers, 3, 3)
    assert " ".join(log) == "+b +a -a -b +a +b -b -a +b +a -a -b"
    assert {name: [len(load) for load in loads] for name, loads in taken.items()} == {
        "a": [3, 3, 3], "b": [3, 3, 3],
    }  # fmt: skip
