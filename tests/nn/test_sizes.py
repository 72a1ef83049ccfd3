"""Sizes by a letter: what they cost, that any input fits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from pydantic import ValidationError

from edgemtl.errors import ConfigError
from edgemtl.nn.backbone import build_backbone
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.nn.sizes import SIZES

RANGES = {"n": (0.5e9, 1.0e9), "s": (2.0e9, 3.0e9)}
CHOICES = [(size, backbone) for size, choices in SIZES.items() for backbone in choices]


def macs(network: torch.nn.Module, x: torch.Tensor) -> int:
    """Multiply-accumulates of one picture's inference, counted as it runs."""
    count = 0

    def add(module: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal count
        count += out.numel() * module.weight[0].numel()

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        network.eval().select(x)
    for hook in hooks:
        hook.remove()
    return count


@pytest.mark.parametrize(("size", "backbone"), CHOICES)
def test_a_size_is_in_its_range(size: str, backbone: str) -> None:
    network = MultiTaskNetwork(NetworkConfig(size=size, backbone=backbone), 20, 20)
    low, high = RANGES[size]
    assert low <= macs(network, torch.zeros(1, 3, 320, 320)) <= high
    bounded = (torch.nn.ReLU6, torch.nn.ReLU, torch.nn.Conv2d, torch.nn.BatchNorm2d)
    for name, module in network.named_modules():
        if name.startswith(("backbone", "neck", "detect")) and not list(module.children()):
            assert isinstance(module, (*bounded, torch.nn.Dropout, torch.nn.Identity)), name
            assert type(module) is not torch.nn.ReLU, name


def test_the_first_backbone_is_the_default_and_a_checkpoint_reads_back() -> None:
    for size, choices in SIZES.items():
        config = NetworkConfig(size=size)
        assert config.backbone == next(iter(choices))
        assert NetworkConfig.model_validate_json(config.model_dump_json()) == config
    assert NetworkConfig() == NetworkConfig(backbone="mobilenet_v2", neck_width=64)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": "xl"}, "expected one of"),
        ({"size": "n", "backbone": "resnet18"}, "has the backbones"),
        ({"size": "n", "neck_width": 128}, "sets neck_width = 64"),
        ({"size": "s", "backbone_width": 0.5}, "sets backbone_width = 2.0"),
    ],
)
def test_what_a_size_refuses(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NetworkConfig.model_validate(given)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_published_state_dicts_fit(name: str, tmp_path: Path) -> None:
    """Untrained networks of the published code: every tensor has its place, features agree."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    reference = package.EfficientNet.from_name(name.replace("_", "-")).eval()
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    ours = build_backbone(name, weights=tmp_path / "w.pth").eval()
    for layer in reference.modules():  # theirs pads as TensorFlow does, ours symmetrically
        if hasattr(layer, "static_padding"):
            layer.static_padding = torch.nn.ZeroPad2d(layer.kernel_size[0] // 2)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        y = reference._swish(reference._bn0(reference._conv_stem(x)))
        for block in reference._blocks[:-1]:  # the last row is left out
            y = block(y)
        torch.testing.assert_close(ours(x)[-1], y, rtol=1e-3, atol=1e-4)


def test_widths_that_nobody_trained() -> None:
    with pytest.raises(ConfigError, match="no pretrained mobilenet_v2 of width 2"):
        build_backbone("mobilenet_v2", pretrained=True, width=2.0)


@pytest.fixture(scope="module")
def small() -> MultiTaskNetwork:
    config = NetworkConfig(backbone_width=0.35, neck_width=16, embedding_dim=8, embedding_hidden=8)
    return MultiTaskNetwork(config, 2, 2).eval()


@pytest.mark.parametrize("size_hw", [(288, 512), (64, 32), (32, 32), (32, 160)])
def test_any_multiple_of_32(small: MultiTaskNetwork, size_hw: tuple[int, int]) -> None:
    h, w = size_hw
    points = sum((h // s) * (w // s) for s in (8, 16, 32))
    with torch.no_grad():
        dense, found = small(torch.zeros(1, 3, h, w)), small.select(torch.zeros(1, 3, h, w))
    assert dense.dense.box_raw.shape == (1, 4, points)
    assert dense.features.shape == (1, points, 16)
    assert found["boxes"].shape == (1, min(100, points), 4)
    assert found["embeddings"].shape == (1, min(100, points), 8)


@pytest.mark.parametrize("size_hw", [(33, 64), (64, 48), (16, 64), (0, 32), (288, 500)])
def test_other_sizes_are_refused(small: MultiTaskNetwork, size_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 32, got {size_hw[0]}x{size_hw[1]}"):
        small(torch.zeros(1, 3, *size_hw))
