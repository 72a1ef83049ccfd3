"""The session protocol: one way to run a network, whatever runs it.

Made for double buffering and for batches that hold frames of several streams:

    slot = session.acquire()
    session.input(slot)[n] = ...            # written in place by ops.letterbox
    ticket = session.submit(slot, n_valid)
    outputs = session.collect(ticket)       # views, valid until the slot is acquired again
"""

from __future__ import annotations

from typing import Any, NewType, Protocol

from numpy.typing import NDArray

from edgemtl.manifest import Manifest
from edgemtl.records import NetOutputs

Slot = NewType("Slot", int)
Ticket = NewType("Ticket", int)


class Session(Protocol):
    """A loaded network with its own input and output buffers."""

    @property
    def manifest(self) -> Manifest:
        """The contract that the file carries."""
        ...

    @property
    def backend(self) -> str:
        """What runs it, for reports: for example ``onnxruntime 1.23 (CPU, 2 threads)``."""
        ...

    @property
    def batch(self) -> int:
        """The largest number of frames in one submit."""
        ...

    def acquire(self) -> Slot:
        """A free slot; waits for the oldest ticket's outputs to be collected if all are taken."""
        ...

    def input(self, slot: Slot) -> NDArray[Any]:
        """The slot's input buffer [batch, 3, h, w] in the manifest's dtype, to be written."""
        ...

    def submit(self, slot: Slot, n_valid: int) -> Ticket:
        """Start the network on the first ``n_valid`` frames of the slot, of one stream or several.

        If it raises, the slot stays the caller's, who may submit it again.
        """
        ...

    def collect(self, ticket: Ticket) -> NetOutputs:
        """Wait for a ticket; its outputs, cut to ``n_valid`` rows."""
        ...

    def infer(self, images: NDArray[Any]) -> NetOutputs:
        """One blocking run on images [n, 3, h, w], n <= batch; outputs are copies."""
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...
