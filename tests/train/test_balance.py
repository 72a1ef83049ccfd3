"""Every balance trains: shared parameters get the aggregated gradient, heads their own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchjd")

import torch
from shapes_set import Shapes

from edgemtl.data.config import DataMix
from edgemtl.errors import MissingExtraError
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.train import loop, runlog
from edgemtl.train.balance import Jacobian, make_balance
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import LossConfig, TrainConfig
from edgemtl.train.losses import Losses, compute_losses
from edgemtl.train.projector import project

KINDS = ["fixed", "uncertainty", "upgrad", "aligned_mtl", "pcgrad", "mgda"]
WEIGHTS = {"detect": 1.0, "classify": 0.5, "embed": 0.3}
SMALL = {
    "backbone_width": 0.35, "neck_width": 16, "embedding_dim": 8, "embedding_hidden": 16,
    "image_hidden": 16,
}  # fmt: skip


def config(balance: str, steps: int = 1) -> TrainConfig:
    return TrainConfig.model_validate({
        "name": "small", "data": Path("shapes.toml"), "size_hw": (64, 96), "images": 4 * steps,
        "batch": 4, "network": SMALL, "loss": {"balance": balance},
        "data_checks": {"allow_overlap": True},
    })  # fmt: skip


def case() -> tuple[MultiTaskNetwork, Losses]:
    """A small network in eval mode (batch norm stands still) and its losses on one batch."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(NetworkConfig.model_validate(SMALL), 2, 2).eval()
    batch = BatchMaker([Shapes(8)], config("fixed")).batch(0)[0]
    return network, compute_losses(network, network(batch.images), batch, LossConfig())


def gradients(network: MultiTaskNetwork, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        n: torch.zeros_like(p) if g is None else g
        for n, p, g in zip(names, parameters, found, strict=True)
    }


def is_shared(name: str) -> bool:
    return name.startswith(("backbone", "neck"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_fills_every_gradient(kind: str) -> None:
    network, losses = case()
    make_balance(LossConfig(balance=kind), network).backward(losses)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert not hasattr(parameter, "jac"), name
    trunk = [p.grad.abs().max() for n, p in network.named_parameters() if is_shared(n)]
    assert max(trunk) > 0


def test_upgrad_aggregates_the_trunk_and_leaves_the_heads_alone() -> None:
    network, losses = case()
    # a task that wants the contrary of another, in part
    losses["classify"] = losses["classify"] - 0.5 * losses["detect"]
    rows = [gradients(network, WEIGHTS[name] * value) for name, value in losses.items()]
    assert len(rows) == 3
    make_balance(LossConfig(balance="upgrad"), network).backward(losses)
    shared = [n for n in rows[0] if is_shared(n)]
    jacobian = torch.stack([torch.cat([row[n].flatten() for n in shared]) for row in rows])
    jacobian = jacobian.double().numpy()
    wanted = project(np.eye(3) / 3, jacobian @ jacobian.T).sum(0) @ jacobian
    found = torch.cat([dict(network.named_parameters())[n].grad.flatten() for n in shared])
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4 * largest)
    assert not np.allclose(wanted, jacobian.mean(0), atol=1e-3 * largest)
    for name, parameter in network.named_parameters():
        if not is_shared(name):
            own = torch.stack([row[name] for row in rows]).sum(0)
            torch.testing.assert_close(parameter.grad, own, rtol=1e-4, atol=1e-6)


def test_one_task_needs_no_aggregation() -> None:
    network, losses = case()
    alone = {"detect": losses["detect"]}
    wanted = gradients(network, alone["detect"])
    make_balance(LossConfig(balance="upgrad"), network).backward(alone)
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[name])


@pytest.mark.parametrize("kind", ["upgrad", "aligned_mtl", "mgda"])
def test_a_bad_batch_gives_a_bad_gradient_and_no_error(kind: str) -> None:
    network, losses = case()
    bad = {**losses, "detect": losses["detect"] * float("nan")}
    make_balance(LossConfig(balance=kind), network).backward(bad)
    trunk = [p.grad for n, p in network.named_parameters() if is_shared(n)]
    assert not all(bool(torch.isfinite(g).all()) for g in trunk)
    assert not any(hasattr(p, "jac") for p in network.parameters())


def test_a_frozen_trunk_leaves_the_heads_to_train() -> None:
    network, _ = case()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not is_shared(name))
    batch = BatchMaker([Shapes(8)], config("fixed")).batch(0)[0]
    losses = compute_losses(network, network(batch.images), batch, LossConfig())
    make_balance(LossConfig(balance="upgrad"), network).backward(losses)
    assert network.detect.box[0].weight.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_logs_what_its_tasks_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = Shapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,))
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mix)
    monkeypatch.setattr(runlog, "LOG_EVERY", 2)
    loop.run_training(config(kind, 2), out=tmp_path / "run")
    rows = runlog.read_rows(tmp_path / "run")
    told = next(row for row in rows if "loss" in row).get("weight")
    if kind == "fixed":
        assert told is None
    elif kind in ("uncertainty", "upgrad"):
        assert set(told) == {"detect", "classify", "embed"}
        assert all(value > 0 for value in told.values())
    if kind == "uncertainty":
        assert told != WEIGHTS  # they moved


def test_without_torchjd_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(MissingExtraError, match="torchjd"):
        Jacobian("upgrad", WEIGHTS, case()[0])
