"""Ctrl-C, as the signal that it is, in runs within this process."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import train_on_shapes

from edgemtl.errors import ConfigError
from edgemtl.nn.checkpoint import read_checkpoint
from edgemtl.train import loop
from edgemtl.train.config import TrainConfig
from edgemtl.train.interrupt import Interrupts
from edgemtl.train.loop import run_training

SMALL = {
    "backbone_width": 0.35, "neck_width": 16, "embedding_dim": 8, "embedding_hidden": 16,
    "image_hidden": 16,
}  # fmt: skip


def config(steps: int, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "name": "small", "data": Path("shapes.toml"), "size_hw": (64, 96), "images": 4 * steps,
        "batch": 4, "threads": 1, "network": SMALL,
    }  # fmt: skip
    return TrainConfig.model_validate({**values, **changes})


@pytest.fixture(autouse=True)
def _shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    train_on_shapes(monkeypatch)
    monkeypatch.setattr(loop, "draw_curves", lambda *_: None)
    monkeypatch.setattr(loop, "draw_predictions", lambda *_: None)


def _signal_in_step(monkeypatch: pytest.MonkeyPatch, wanted: int, times: int = 1) -> None:
    """Ctrl-C between the forward and the backward pass of the ``wanted``-th step."""
    real, calls = loop.combine, iter(range(1, 1000))

    def compute(*arguments: object) -> object:
        if next(calls) == wanted:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(loop, "combine", compute)


def _differing(a: Path, b: Path) -> list[str]:
    one, _ = read_checkpoint(a / "last.safetensors")
    two, _ = read_checkpoint(b / "last.safetensors")
    assert set(one) == set(two)
    return [name for name in one if not torch.equal(one[name], two[name])]


@pytest.mark.parametrize(("balance", "stop"), [("fixed", 1), ("uncertainty", 4), ("upgrad", 4)])
def test_the_step_is_finished_and_the_end_is_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str, stop: int
) -> None:
    wanted = config(6, loss={"balance": balance})
    run_training(wanted, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        _signal_in_step(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            run_training(wanted, out=tmp_path / "parts", workers=1)
    assert not multiprocessing.active_children()
    _, header = read_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert header["edgemtl.step"] == str(stop)
    run_training(wanted, out=tmp_path / "parts", resume=True)
    assert _differing(tmp_path / "whole", tmp_path / "parts") == []
    names, _ = read_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert sum(name.startswith("extra.") for name in names) == 3 * (balance == "uncertainty")


def test_the_second_ctrl_c_ends_at_once_and_saves_no_half_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(6, validate={"every": 8})
    _signal_in_step(monkeypatch, 4, times=2)
    with pytest.raises(KeyboardInterrupt):
        run_training(wanted, out=tmp_path)
    _, header = read_checkpoint(tmp_path / "last.safetensors")
    assert header["edgemtl.step"] == "2"  # of the last judgement


def test_ctrl_c_breaks_a_judgement_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_judge(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    monkeypatch.setattr(loop, "judge", slow_judge)
    with pytest.raises(KeyboardInterrupt):
        run_training(config(6, validate={"every": 8}), out=tmp_path)
    _, header = read_checkpoint(tmp_path / "last.safetensors")
    assert header["edgemtl.step"] == "2"


def test_handlers_are_put_back_and_others_are_left_alone() -> None:
    mine = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        before = signal.getsignal(signal.SIGINT)
        with Interrupts() as interrupts:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            assert interrupts.asked
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGTERM, mine)
    seen: list[object] = []

    def elsewhere() -> None:  # Python allows handlers in the main thread only
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_half_precision_needs_a_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="'fp16' needs a GPU") as caught:
        run_training(config(1, optimiser={"amp": "fp16"}), out=tmp_path)
    assert "bf16" in str(caught.value.hint)


@pytest.mark.parametrize("balance", ["uncertainty", "upgrad"])
def test_scaled_losses_change_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str
) -> None:
    """The scale goes on before the backward pass and off before the step; powers of two: exact."""
    wanted = config(3, loss={"balance": balance})
    run_training(wanted, out=tmp_path / "plain")
    made: list[torch.amp.GradScaler] = []

    def scaler(*_: object) -> torch.amp.GradScaler:
        made.append(torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2))
        return made[-1]

    monkeypatch.setattr(loop, "make_scaler", scaler)
    run_training(wanted, out=tmp_path / "scaled")
    assert made[0].get_scale() == 2.0**11
    one, _ = read_checkpoint(tmp_path / "plain" / "last.safetensors")
    two, header = read_checkpoint(tmp_path / "scaled" / "last.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert '"_growth_tracker": 1' in header["edgemtl.scaler"]
    longer = config(4, loss={"balance": balance})
    run_training(longer, out=tmp_path / "scaled", resume=True)
    assert made[1].get_scale() == 2.0**12  # two good steps in a row: the count was kept


def test_a_step_that_overflows_is_left_out_and_halves_the_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.amp.GradScaler] = []

    def scaler(*_: object) -> torch.amp.GradScaler:
        made.append(torch.amp.GradScaler("cpu", init_scale=2.0**127))
        return made[-1]

    monkeypatch.setattr(loop, "make_scaler", scaler)
    mix = loop.load_data(Path("d"), "train", None)
    run = loop._Run(config(2), mix, tmp_path, 0, None)
    run.network.train()
    before = [p.detach().clone() for p in run.network.parameters()]
    run._step(run.maker.batch(0))
    assert made[0].get_scale() == 2.0**126
    for old, new in zip(before, run.network.parameters(), strict=True):
        assert torch.equal(old, new)
