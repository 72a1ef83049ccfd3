"""Everything that a run needs to go on where it stopped, as one safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edgemtl.errors import ConfigError, OutputError
from edgemtl.files import make_folder
from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import read_checkpoint, save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.train.distributed import from_first

STEP_KEY, BEST_KEY, CONFIG_KEY = "edgemtl.step", "edgemtl.best", "edgemtl.train"
LOG_KEY, SCALER_KEY = "edgemtl.log", "edgemtl.scaler"


def prepare_folder(out: Path, resume: bool) -> None:
    """Make the folder of a run.

    Raises OutputError if it holds a run already, and ConfigError if there is none to resume.
    """
    last = out / "last.safetensors"
    if last.exists() and not resume:
        raise OutputError(
            f"out: '{out}' holds a run already", "go on with --resume, or name another folder"
        )
    if resume and not last.exists():
        raise ConfigError(f"resume: no '{last}'", "start without --resume")
    make_folder(out)


def save_state(
    path: Path,
    network: MultiTaskNetwork,
    average: MultiTaskNetwork,
    optimiser: torch.optim.Optimizer,
    manifest: Manifest,
    header: dict[str, str],
) -> None:
    """The trained weights, their average, and the optimiser's moments."""
    extra: dict[str, Tensor] = {f"average.{k}": v for k, v in average.state_dict().items()}
    for number, parameter in enumerate(_parameters(optimiser)):
        for key, value in optimiser.state.get(parameter, {}).items():
            extra[f"optimiser.{number}.{key}"] = value
    extra.update({f"extra.{i}": p for i, p in enumerate(_outside(optimiser, network))})
    save_checkpoint(path, network, manifest, extra=extra, metadata=header)


def load_state(
    path: Path,
    network: MultiTaskNetwork,
    average: MultiTaskNetwork,
    optimiser: torch.optim.Optimizer,
) -> dict[str, str]:
    """Restore what :func:`save_state` wrote, in place; returns the header.

    Of several processes only the first one reads the file. Raises ConfigError if it holds another
    network than the config names.
    """
    tensors, header = from_first(lambda: read_checkpoint(path))
    try:
        network.load_state_dict(_part(tensors, "network."))
        average.load_state_dict(_part(tensors, "average."))
    except RuntimeError as error:
        raise ConfigError(
            f"resume: '{path}' holds another network than the config describes",
            "use the config that the run was started with, or start anew without --resume",
        ) from error
    for number, parameter in enumerate(_parameters(optimiser)):
        moments = _part(tensors, f"optimiser.{number}.")
        if moments:
            optimiser.state[parameter] = dict(moments)
    with torch.no_grad():
        for number, parameter in enumerate(_outside(optimiser, network)):
            parameter.copy_(tensors[f"extra.{number}"])
    return header


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimiser.param_groups for p in group["params"]]


def _outside(optimiser: torch.optim.Optimizer, network: MultiTaskNetwork) -> list[Tensor]:
    """What is trained but is no part of the network: the balance's own parameters."""
    inside = {id(p) for p in network.parameters()}
    return [p for p in _parameters(optimiser) if id(p) not in inside]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
