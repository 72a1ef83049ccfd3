"""Training on a GPU says what training on the CPU says. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, STILL, train_on_shapes

from edgemtl.nn.checkpoint import read_checkpoint
from edgemtl.train import loop
from edgemtl.train.config import TrainConfig
from edgemtl.train.loop import run_training
from edgemtl.train.runlog import Row, read_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use"),
]


@pytest.fixture(autouse=True)
def _shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    train_on_shapes(monkeypatch)


def _train(out: Path, images: int, *, resume: bool = False, **changes: object) -> list[Row]:
    values: dict[str, object] = {
        "name": "small", "data": Path("shapes.toml"), "size_hw": (64, 96), "images": images,
        "batch": 4, "network": SMALL, "augment": STILL,
    }  # fmt: skip
    run_training(TrainConfig.model_validate({**values, **changes}), out=out, resume=resume)
    return read_rows(out)


@pytest.mark.parametrize("grid", [None, (2, 2)])
@pytest.mark.parametrize("balance", ["fixed", "uncertainty", "upgrad"])
def test_the_first_step_is_that_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str, grid: object
) -> None:
    """The losses and what batch norm has seen: later steps part, as rounding differs."""
    wanted: dict[str, object] = {
        "loss": {"balance": balance}, "network": {**SMALL, "embedding_grid": grid},
    }  # fmt: skip
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    said: list[dict[str, float]] = []
    real = loop.combine

    def combine(measured: object) -> dict[str, torch.Tensor]:
        losses = real(measured)
        said.append({name: float(value.detach()) for name, value in losses.items()})
        return losses

    monkeypatch.setattr(loop, "combine", combine)
    here = _seen_in_one_step(tmp_path / "gpu", wanted)
    monkeypatch.setattr(loop, "device", lambda: torch.device("cpu"))
    there = _seen_in_one_step(tmp_path / "cpu", wanted)
    assert said[0] == pytest.approx(said[1], rel=1e-2)
    assert here
    for name, mean in here.items():
        torch.testing.assert_close(mean, there[name], rtol=1e-2, atol=5e-3, msg=name)


def test_a_run_goes_on(tmp_path: Path) -> None:
    _train(tmp_path, 8)
    rows = _train(tmp_path, 16, resume=True)
    assert [row["images"] for row in rows if "score" in row] == [8, 16]


def _seen_in_one_step(out: Path, wanted: dict[str, object]) -> dict[str, torch.Tensor]:
    _train(out, 4, **wanted)
    tensors, _ = read_checkpoint(out / "last.safetensors")
    means = {name: t for name, t in tensors.items() if name.endswith("running_mean")}
    return {name: mean for name, mean in means.items() if "average" not in name}


@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_it_learns_in_every_precision(tmp_path: Path, amp: str) -> None:
    wanted = {"optimiser": {"amp": amp, "rate": 2e-3, "backbone_rate": 1.0}}
    rows = _train(tmp_path, 400, validate={"every": 200}, **wanted)
    losses = [row["loss"] for row in rows if "loss" in row]
    first, last = (sum(part.values()) for part in (losses[0], losses[-1]))
    assert last < 0.7 * first
