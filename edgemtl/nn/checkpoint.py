"""Checkpoints: safetensors with the manifest and the network's shape in their header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edgemtl.errors import ModelError
from edgemtl.files import atomic_path
from edgemtl.manifest import METADATA_KEY, Manifest, manifest_from_metadata
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig, network_of

NETWORK_KEY = "edgemtl.network"


def save_checkpoint(
    path: Path,
    network: MultiTaskNetwork,
    manifest: Manifest,
    *,
    half: bool = False,
    extra: Mapping[str, Tensor] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the network's tensors (float16 if ``half``), whole or not at all.

    ``extra`` tensors and ``metadata`` ride along, for a training state.
    """
    tensors = {f"network.{k}": _storable(v, half) for k, v in network.state_dict().items()}
    tensors.update({k: v.detach().cpu().contiguous() for k, v in (extra or {}).items()})
    config = network.config.model_copy(update={"weights": None, "pretrained": False})
    header = {METADATA_KEY: manifest.to_json(), NETWORK_KEY: config.model_dump_json()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {**header, **(metadata or {})})


def _storable(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.is_floating_point() else value


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the header of a checkpoint. Raises ModelError if it is not one."""
    if not path.is_file():
        raise ModelError(f"checkpoint: no file '{path}'")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"checkpoint: '{path}' is not a safetensors file ({error})",
            "name the best.safetensors or last.safetensors that 'edgemtl train' wrote",
        ) from error


def load_network(path: Path) -> tuple[MultiTaskNetwork, Manifest]:
    """The network of a checkpoint, in eval mode and float32, and its manifest.

    Raises ModelError if the file is no checkpoint of this package.
    """
    tensors, header = read_checkpoint(path)
    manifest = manifest_from_metadata(header, str(path))
    if NETWORK_KEY not in header:
        raise ModelError(f"checkpoint: '{path}' does not tell its network's shape")
    config = NetworkConfig.model_validate_json(header[NETWORK_KEY])
    network = network_of(config, manifest)
    state = {
        key.removeprefix("network."): value.float() if value.is_floating_point() else value
        for key, value in tensors.items()
        if key.startswith("network.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"checkpoint: '{path}' does not fit its own network shape") from error
    return network.eval(), manifest


@torch.no_grad()
def copy_weights(source: MultiTaskNetwork, target: MultiTaskNetwork) -> None:
    """Copy every parameter and buffer."""
    target.load_state_dict(source.state_dict())
