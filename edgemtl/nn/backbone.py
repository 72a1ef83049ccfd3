"""Backbones as five stages of stride 2, so that neck, freezing and cost are one thing for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgemtl.errors import ConfigError
from edgemtl.nn.blocks import InvertedResidual, conv_bn_act, fold_batch_norm

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# EfficientNet-Lite: (expansion, kernel, stride, channels, repeats) of arXiv 1905.11946, table 1,
# without squeeze-excite and with ReLU6; the seventh row is left out, detection does not need it.
_LITE0 = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
_LITE0_LAST = (6, 5, 2, 192, 3)
_LITE0_TOP, _TOP_CHANNELS = ((6, 5, 1, 192, 1), (6, 3, 1, 320, 1)), 1280
_STAGES = 5
_LITE_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}
"""Width and depth, as published; stem and first block stay as they are."""


class Backbone(nn.Module):
    """Five stages; ``forward`` returns the features at strides 4, 8, 16 and 32.

    ``channels`` are their widths. The first ``frozen_stages`` stages get no gradient and keep
    their batch-norm statistics. ``top``: what classified the picture on the last features, if that
    is kept; see :meth:`deepest`.
    """

    def __init__(
        self, stages: list[nn.Module], frozen_stages: int = 0, top: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not 0 <= frozen_stages <= len(stages):
            raise ValueError(f"frozen_stages: expected 0 to {len(stages)}, got {frozen_stages}")
        self.stages = nn.ModuleList(stages)
        self.frozen_stages = frozen_stages
        self.top = top
        for stage in stages[:frozen_stages]:
            stage.requires_grad_(False)
        self.channels = self._measure()

    def _measure(self) -> tuple[int, int, int, int]:
        with torch.no_grad():
            was_training = self.training
            self.eval()
            widths = [int(f.shape[1]) for f in self(torch.zeros(1, 3, 64, 64))]
            self.train(was_training)
        return (widths[0], widths[1], widths[2], widths[3])

    def deepest(self, last: Tensor) -> Tensor:
        """What an image class is told from: ``last``, the features of stride 32, or the top's."""
        out: Tensor = last if self.top is None else self.top(last)
        return out

    @property
    def deepest_channels(self) -> int:
        """Width of :meth:`deepest`."""
        if self.top is None:
            return self.channels[3]
        return [m for m in self.top.modules() if isinstance(m, nn.Conv2d)][-1].out_channels

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        for stage in list(self.stages)[: self.frozen_stages]:
            stage.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number >= 1:
                features.append(x)
        return features


def build_backbone(
    name: str,
    *,
    weights: Path | None = None,
    pretrained: bool = False,
    frozen_stages: int = 0,
    fold: bool = False,
    width: float = 1.0,
    top: bool = False,
) -> Backbone:
    """``efficientnet_lite0`` or ``_lite2``, ``mobilenet_v2``, ``resnet18``, ``regnet_x_400mf``.

    ``weights`` is a local file (a state dict of that network), ``pretrained`` downloads
    torchvision's own. ImageNet mean and std are folded into the first convolution, so that the
    input is (p - 128) / 128 for all. ``fold`` folds batch norm into the convolutions before
    training: faster, and right for small batches of a pretrained network. ``top`` keeps the layers
    behind the features that classified pictures, for backbones that have some.
    Raises ConfigError for an unknown name or a file that does not fit.
    """
    makers: dict[str, Callable[[], list[nn.Module]]] = {
        "efficientnet_lite0": lambda: _lite(name, weights, top),
        "efficientnet_lite2": lambda: _lite(name, weights, top),
        "mobilenet_v2": lambda: _mobilenet_v2(weights, pretrained, width),
        "resnet18": lambda: _resnet18(weights, pretrained),
        "regnet_x_400mf": lambda: _regnet(weights, pretrained),
    }
    if name not in makers:
        raise ConfigError(f"backbone: expected one of {sorted(makers)}, got '{name}'")
    if pretrained and (name in _LITE_SCALES or width != 1.0):
        what = name if width == 1.0 else f"{name} of width {width:g}"
        raise ConfigError(
            f"backbone: torchvision has no pretrained {what}",
            "give a local file as network.weights",
        )
    stages = makers[name]()
    if top and len(stages) == _STAGES:
        raise ConfigError(
            f"network.image_top: {name} has no layers behind its features",
            "leave it out, or take another backbone",
        )
    if fold:
        for stage in stages:
            fold_batch_norm(stage.eval())
    last = stages[_STAGES] if top else None
    return Backbone(stages[:_STAGES], frozen_stages, last)


def _load(network: nn.Module, weights: Path | None, rename: Callable[[str], str] = str) -> None:
    """Load a local state dict; what the cut network lacks (its classifier) is left aside."""
    if weights is None:
        return
    if not weights.is_file():
        raise ConfigError(f"network.weights: no file '{weights}'")
    try:
        state = _read_weights(weights)
        result = network.load_state_dict({rename(k): v for k, v in state.items()}, strict=False)
    except Exception as error:  # of pickle, zip, safetensors; and of torch for another shape
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"network.weights: '{weights.name}' does not fit: {' '.join(said[:2])[:200]}",
            "the file must be a state dict of the named backbone, in the named width",
        ) from error
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(
            f"network.weights: '{weights.name}' lacks {len(missing)} tensors, first '{missing[0]}'",
            "the file must be a state dict of the named backbone",
        )


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def _fold_imagenet_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Make a first convolution that expects (p/255 - mean) / std accept (p - 128) / 128.

    (p/255 - mean)/std = a x + b with x = (p - 128)/128, a = 128/255/std, b = (128/255 - mean)/std.
    """
    mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
    with torch.no_grad():
        shift = (conv.weight * ((128 / 255 - mean) / std).view(1, 3, 1, 1)).sum((1, 2, 3))
        conv.weight.mul_((128 / 255 / std).view(1, 3, 1, 1))
        assert norm.running_mean is not None
        norm.running_mean.sub_(shift)


def _lite(name: str, weights: Path | None, top: bool) -> list[nn.Module]:
    """EfficientNet-Lite; with ``top``, what else it has but its classifier is a sixth stage.

    Its own training used (p - 127) / 128.
    """
    wide, deep = _LITE_SCALES[name]
    blocks: list[nn.Module] = []
    ends = []
    channels = 32
    rows = (*_LITE0, _LITE0_LAST, *(_LITE0_TOP if top else ()))
    for row, (ratio, kernel, stride, out, repeats) in enumerate(rows):
        width = _rounded(out * wide)
        # the first row and the top's are not deepened by a scale
        for repeat in range(repeats if row in {0, 6, 7} else math.ceil(repeats * deep)):
            step = stride if repeat == 0 else 1
            blocks.append(InvertedResidual(channels, width, kernel, step, ratio))
            channels = width
        ends.append(len(blocks))
    stem = conv_bn_act(3, 32, 3, 2)
    parts = nn.ModuleDict({"stem": stem, "blocks": nn.ModuleList(blocks)})
    if top:
        parts["head"] = conv_bn_act(channels, _TOP_CHANNELS)
    _load(parts, weights, _lite0_key)
    for module in parts.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # as it was trained
    return [
        nn.Sequential(stem, *blocks[: ends[0]]),
        nn.Sequential(*blocks[ends[0] : ends[1]]),
        nn.Sequential(*blocks[ends[1] : ends[2]]),
        nn.Sequential(*blocks[ends[2] : ends[4]]),
        nn.Sequential(*blocks[ends[4] : ends[5]]),
        *([nn.Sequential(*blocks[ends[5] :], parts["head"])] if top else []),
    ]


def _rounded(channels: float) -> int:
    """To a multiple of 8, and not below nine tenths (MobileNetV2's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _lite0_key(key: str) -> str:
    """Our name of a tensor of the efficientnet-lite-pytorch packages."""
    part = key.split(".")
    if part[0] in {"_conv_stem", "_bn0"}:
        return f"stem.{0 if part[0] == '_conv_stem' else 1}.{part[-1]}"
    if part[0] in {"_conv_head", "_bn1"}:
        return f"head.{0 if part[0] == '_conv_head' else 1}.{part[-1]}"
    if part[0] != "_blocks":
        return f"unused.{key}"
    first = 0 if part[1] == "0" else 1  # block 0 has no expansion
    slot = {
        "_expand_conv": "0.0", "_bn0": "0.1",
        "_depthwise_conv": f"{first}.0", "_bn1": f"{first}.1",
        "_project_conv": f"{first + 1}.0", "_bn2": f"{first + 1}.1",
    }[part[2]]  # fmt: skip
    return f"blocks.{part[1]}.body.{slot}.{part[-1]}"


def _torchvision(name: str, weights: Path | None, pretrained: bool, **options: Any) -> nn.Module:
    from torchvision import models

    network: nn.Module = getattr(models, name)(weights="DEFAULT" if pretrained else None, **options)
    _load(network, weights)
    if pretrained or weights is not None:
        convs = (m for m in network.modules() if isinstance(m, nn.Conv2d))
        norms = (m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
        _fold_imagenet_norm(next(convs), next(norms))
    return network


def _mobilenet_v2(weights: Path | None, pretrained: bool, width: float) -> list[nn.Module]:
    f: Any = _torchvision("mobilenet_v2", weights, pretrained, width_mult=width).features
    return [f[0:2], f[2:4], f[4:7], f[7:14], f[14:18], f[18:]]


def _resnet18(weights: Path | None, pretrained: bool) -> list[nn.Module]:
    n: Any = _torchvision("resnet18", weights, pretrained)
    stem = nn.Sequential(n.conv1, n.bn1, n.relu)
    return [stem, nn.Sequential(n.maxpool, n.layer1), n.layer2, n.layer3, n.layer4]


def _regnet(weights: Path | None, pretrained: bool) -> list[nn.Module]:
    n: Any = _torchvision("regnet_x_400mf", weights, pretrained)
    t = n.trunk_output
    return [n.stem, t.block1, t.block2, t.block3, t.block4]
