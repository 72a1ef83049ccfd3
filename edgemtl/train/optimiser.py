"""The optimiser, its rate over a run, and the scale of losses in half precision."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import nn

from edgemtl.errors import ConfigError
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.train.config import OptimiserConfig

_FINAL_RATE = 0.01


def rate_at(step: int, steps: int, config: OptimiserConfig) -> float:
    """Learning rate, as a part of the full one: linear warm-up, then a cosine."""
    warmup = max(1, int(config.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def make_optimiser(
    network: MultiTaskNetwork, extra: list[nn.Parameter], config: OptimiserConfig
) -> torch.optim.Optimizer:
    """AdamW; the backbone learns slower, and vectors (biases, norms) are not decayed."""
    backbone = {id(p) for p in network.backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups[id(parameter) in backbone, parameter.ndim > 1].append(parameter)
    if extra:
        groups[False, False] += extra
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "rate": config.rate * (config.backbone_rate if slow else 1.0),
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (slow, decayed), parameters in groups.items()
        ],
        lr=config.rate,
    )


def make_scaler(config: OptimiserConfig, device: torch.device) -> torch.amp.GradScaler:
    """Scales the losses of float16 so that small gradients survive; does nothing otherwise.

    Raises ConfigError for float16 without a GPU.
    """
    if config.amp == "fp16" and device.type != "cuda":
        raise ConfigError(
            "optimiser.amp: 'fp16' needs a GPU, and there is none here",
            "on the CPU, amp = 'off' is the fastest; 'bf16' works, too",
        )
    return torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
