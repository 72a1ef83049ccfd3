"""A torch network behind the session protocol: the first rung of the parity ladder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgemtl.engine.session import Slot, Ticket
from edgemtl.manifest import Manifest
from edgemtl.nn.network import PIXEL_ZERO, MultiTaskNetwork
from edgemtl.records import NetOutputs, named_outputs


class TorchSession:
    """Runs a network in eval mode on the manifest's int8 input; see ``engine.session.Session``."""

    def __init__(self, network: MultiTaskNetwork, manifest: Manifest, batch: int = 1) -> None:
        self.network = network.eval()
        self._manifest = manifest
        self._batch = batch
        self._input = np.zeros((batch, 3, *manifest.input.size_hw), manifest.input.dtype)
        self._valid = 0

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def backend(self) -> str:
        return f"torch {torch.__version__}"

    @property
    def batch(self) -> int:
        return self._batch

    def acquire(self) -> Slot:
        return Slot(0)

    def input(self, slot: Slot) -> NDArray[Any]:
        return self._input

    def submit(self, slot: Slot, n_valid: int) -> Ticket:
        self._valid = n_valid
        return Ticket(0)

    def collect(self, ticket: Ticket) -> NetOutputs:
        return self.infer(self._input[: self._valid])

    @torch.no_grad()
    def infer(self, images: NDArray[Any]) -> NetOutputs:
        device = next(self.network.parameters()).device
        x = torch.from_numpy(np.ascontiguousarray(images)).to(device).float() / PIXEL_ZERO
        found = self.network.select(x)
        return named_outputs({k: v.cpu().numpy() for k, v in found.items()}, self._manifest)

    def close(self) -> None:
        """Nothing to free."""
