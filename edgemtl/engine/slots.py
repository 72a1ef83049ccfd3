"""What the sessions share: who owns which buffer."""

from __future__ import annotations

import queue

from edgemtl.engine.session import Session, Slot

SLOTS = 2


class SlotRing:
    """Hands out slots in turn. A slot is free again when its outputs were collected.

    The outputs of the last collected slot stay valid until that slot comes round again, which is
    the longest way off.
    """

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(count):
            self._free.put(number)

    def acquire(self) -> Slot:
        """The slot that has been free for longest; waits if none is."""
        return Slot(self._free.get())

    def release(self, slot: Slot) -> None:
        self._free.put(int(slot))


def give_back(session: Session, slot: Slot) -> None:
    """Free a slot that was acquired and could not be filled, so that no one waits for it for ever.

    The network runs once on whatever lies there: this is for errors, which are rare.
    """
    session.collect(session.submit(slot, 1))
