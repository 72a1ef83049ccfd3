"""The same network in torch, as it is and compiled: what an engine is measured against.

A call takes pictures in the host's memory and leaves results there, as a session does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study_separate import AtBoxes
from torch import nn

from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.network import PIXEL_ZERO, MultiTaskNetwork, network_of

Call = Callable[[], dict[str, Any]]
SINGLE: dict[str, dict[str, Any]] = {
    "detect": {"image_classes": (), "embedding_dim": None},
    "classify": {"classes": (), "embedding_dim": None},
    "embed": {"classes": (), "image_classes": ()},
}
"""Task -> what its network of its own lacks."""


def call_of(network: Any, images: torch.Tensor, device: str, half: bool = False) -> Call:
    """A blocking run of ``network.select`` on images i8 [n, 3, h, w] in the host's memory.

    ``half``: automatic float16 (bfloat16 on a CPU).
    """
    kind = torch.device(device).type

    def precision() -> AbstractContextManager[Any]:
        low = torch.float16 if kind == "cuda" else torch.bfloat16
        return torch.autocast(kind, low) if half else nullcontext()

    def call() -> dict[str, Any]:
        with torch.inference_mode(), precision():
            found = network.select(images.to(device, non_blocking=True).float() / PIXEL_ZERO)
            return {name: value.cpu() for name, value in found.items()}  # waits for the GPU

    return call


def pictures(manifest: Manifest, count: int, device: str) -> torch.Tensor:
    """Noise i8 [count, 3, h, w], in pinned memory where there is a GPU."""
    rng = np.random.default_rng(0)
    noise = rng.integers(-128, 128, (count, 3, *manifest.input.size_hw)).astype(np.int8)
    images = torch.from_numpy(noise)
    return images.pin_memory() if torch.device(device).type == "cuda" else images


class Compiled:
    """``select`` by torch.compile, with CUDA graphs where it can use them; compiled when first
    called."""

    def __init__(self, network: MultiTaskNetwork) -> None:
        self.select = torch.compile(network.select, mode="reduce-overhead", dynamic=False)


def forms(checkpoint: Path, batch: int, device: str, compiled: bool) -> dict[str, Call]:
    """Name of a way to run a checkpoint in torch -> a call of it."""
    network, manifest = load_network(checkpoint)
    network = network.to(device).eval()
    images = pictures(manifest, batch, device)
    calls = {
        "torch eager fp32": call_of(network, images, device),
        "torch eager fp16": call_of(network, images, device, half=True),
    }
    if compiled:
        calls["torch.compile fp16"] = call_of(Compiled(network), images, device, half=True)
    return calls


def one_or_three(checkpoint: Path, device: str) -> dict[str, Call]:
    """``shared``: all tasks in one pass; the tasks: a network for each, of the same shape with
    fresh weights, on which latency does not depend."""
    shared, manifest = load_network(checkpoint)
    images = pictures(manifest, 1, device)
    calls = {"shared": call_of(shared.to(device).eval(), images, device, half=True)}
    for task, lacks in SINGLE.items():
        width = lacks.get("embedding_dim", shared.config.embedding_dim)
        config = shared.config.model_copy(update={"embedding_dim": width})
        network: nn.Module = network_of(config, manifest.model_copy(update=lacks)).eval()
        if task == "embed":
            assert isinstance(network, MultiTaskNetwork)
            network = AtBoxes(network, manifest)
        calls[task] = call_of(network.to(device), images, device, half=True)
    return calls
