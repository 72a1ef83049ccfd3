"""Everything that a run needs to go on where it stopped, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgemtl.errors import ConfigError, OutputError
from edgemtl.files import make_folder
from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import read_checkpoint, save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.train.config import TrainConfig
from edgemtl.train.distributed import from_first

STEP_KEY, BEST_KEY, _CONFIG_KEY = "edgemtl.step", "edgemtl.best", "edgemtl.train"
LOG_KEY, SCALER_KEY = "edgemtl.log", "edgemtl.scaler"
_FREE = frozenset({
    "images", "validate", "data", "data_checks", "network.weights", "network.pretrained", "threads",
    "start.checkpoint", "cache_mb", "tensorboard", "name", "sources", "min_score",
    "weights_licence",
})  # fmt: skip
_WHOLE = frozenset({"sizes", "further", "loss.further"})
"""Keys of the user's own names: one more, or one less, is a difference."""
_AS_STARTED = "use the config that the run was started with, or start anew without --resume"


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
    config: TrainConfig,
) -> dict[str, str]:
    """Restore what :func:`save_state` wrote, in place; returns the header.

    Of several processes only the first one reads the file. Raises ConfigError if it holds another
    network, or another state of training, than the config names.
    """
    tensors, header = from_first(lambda: read_checkpoint(path))
    _require_config(header, config, path)
    try:
        network.load_state_dict(_part(tensors, "network."))
        average.load_state_dict(_part(tensors, "average."))
        for number, parameter in enumerate(_parameters(optimiser)):
            moments = _part(tensors, f"optimiser.{number}.")
            if moments:
                optimiser.state[parameter] = _moments(moments, parameter)
        with torch.no_grad():
            for number, parameter in enumerate(_outside(optimiser, network)):
                parameter.copy_(tensors[f"extra.{number}"])
    except (RuntimeError, KeyError) as error:
        raise ConfigError(
            f"resume: '{path}' holds another network than the config describes", _AS_STARTED
        ) from error
    return header


def _moments(found: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """What AdamW keeps of a parameter, where the parameter is; its count of steps stays outside,
    as torch has it. Raises RuntimeError for another parameter's."""
    if any(key != "step" and value.shape != parameter.shape for key, value in found.items()):
        raise RuntimeError("moments of another shape")
    return {k: v if k == "step" else v.to(parameter.device) for k, v in found.items()}


def config_header(config: TrainConfig) -> dict[str, str]:
    """What :func:`load_state` compares with the config of the run that goes on."""
    return {_CONFIG_KEY: config.model_dump_json(by_alias=True)}


def without_paths(config: TrainConfig) -> str:
    """What must be the same in all processes of a run, wherever their files lie."""
    paths: Any = {"data": True, "network": {"weights"}, "start": {"checkpoint"}}
    return config.model_dump_json(exclude=paths)


def _require_config(header: Mapping[str, str], config: TrainConfig, path: Path) -> None:
    """Raise ConfigError, naming the key, if the run in ``path`` was started with another config.

    Free to change is what does not touch the steps that are done: how long it trains and what it is
    judged on, where files lie, what the manifest says, and what only costs time or memory. Keys
    that an earlier version did not know are not compared.
    """
    known = json.loads(header.get(_CONFIG_KEY, "{}"))
    for key, then, now in _differences(known, json.loads(config_header(config)[_CONFIG_KEY])):
        raise ConfigError(
            f"resume: {key} is {now!r}, and the run in '{path.parent}' was started with {then!r}",
            _AS_STARTED,
        )


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any], owner: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for name in now:
        key = f"{owner}{name}"
        if name not in then or key in _FREE:
            continue
        before, after = then[name], now[name]
        if key == "teachers":  # wherever their files lie
            before, after = ([{**t, "model": None} for t in side] for side in (before, after))
        section = isinstance(before, Mapping) and isinstance(after, Mapping)
        if section and key not in _WHOLE:
            yield from _differences(before, after, f"{key}.")
        elif before != after:
            yield key, before, after


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimiser.param_groups for p in group["params"]]


def _outside(optimiser: torch.optim.Optimizer, network: MultiTaskNetwork) -> list[Tensor]:
    """What is trained but is no part of the network: the balance's own parameters."""
    inside = {id(p) for p in network.parameters()}
    return [p for p in _parameters(optimiser) if id(p) not in inside]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
