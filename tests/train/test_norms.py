"""Batch norm learns from pictures alone: not from blank ones, nor from a single value."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, STILL, train_on_shapes
from torch import nn

from edgemtl.train import distributed
from edgemtl.train.config import TrainConfig
from edgemtl.train.loop import run_training
from edgemtl.train.norms import norms_of, norms_still, too_small


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 3, 32, 32), True),
        ((2, 3, 32, 32), False),
        ((1, 3, 32, 64), False),
        ((1, 3, 320, 416), False),
    ],
)
def test_a_single_value_has_no_variance(shape: tuple[int, ...], expected: bool) -> None:
    assert too_small(torch.zeros(shape)) == expected


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).train()


def test_what_is_still_moves_nothing_and_has_the_gradients_of_eval() -> None:
    """Also where another batch of the step moves the statistics before the backward pass."""
    network, twin = _network(), _network().eval()
    (norm,) = norms_of(network)
    first, second = torch.randn(2, 3, 8, 8) + 5, torch.randn(2, 3, 8, 8)
    with norms_still(network, True):
        told = network(first).square().mean()
    assert norm.training
    assert norm.num_batches_tracked == 0
    torch.testing.assert_close(norm.running_mean, torch.zeros(4))
    network(second)  # as a learning batch of the same step
    assert norm.num_batches_tracked == 1
    told.backward()
    twin(first).square().mean().backward()
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_frozen_norms_stay_frozen() -> None:
    network = _network().eval()
    with norms_still(network, True):
        pass
    assert not any(norm.training for norm in norms_of(network))


def test_a_picture_of_32_pixels_alone_can_be_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_on_shapes(monkeypatch)
    config = TrainConfig.model_validate({
        "name": "small", "data": Path("shapes.toml"), "size_hw": (32, 32), "images": 2, "batch": 1,
        "tasks": ["classify"], "network": SMALL, "augment": STILL,
    })  # fmt: skip
    assert run_training(config, out=tmp_path).is_file()


def test_statistics_are_shared_by_the_number_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures here, one in the other process."""
    norm = nn.BatchNorm2d(1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.fill_(1.0)
    others = {"running_mean": 5.0, "running_var": 2.0}

    def with_others(tensors: list[torch.Tensor]) -> None:
        for tensor, value in zip(tensors, others.values(), strict=True):
            tensor.add_(value)

    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(distributed, "add_up", with_others)
    monkeypatch.setattr(distributed, "total", lambda tensor: tensor + 1)
    distributed.share_statistics(norm, 3)
    assert norm.running_mean.tolist() == [2.0]
    assert norm.running_var.tolist() == [1.25]
