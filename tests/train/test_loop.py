"""Whole runs in small: they learn, they resume to the same result, they refuse to lose anything."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, STILL, Shapes, stopped_before

from edgemtl.data.config import DataMix
from edgemtl.errors import ConfigError, DataError, OutputError
from edgemtl.nn.checkpoint import load_network, read_checkpoint
from edgemtl.train import loop
from edgemtl.train.config import LossConfig, TrainConfig
from edgemtl.train.judge import Verdict, judge
from edgemtl.train.loop import run_training
from edgemtl.train.manifest import build_manifest
from edgemtl.train.optimiser import rate_at
from edgemtl.train.runlog import read_rows
from edgemtl.train.state import _moments


def config(steps: int, **changes: object) -> TrainConfig:
    """A run of ``steps`` steps on the flat shapes."""
    values: dict[str, object] = {
        "name": "small", "data": Path("shapes.toml"), "size_hw": (64, 96), "images": 4 * steps,
        "batch": 4, "network": SMALL, "augment": STILL, "validate": {"every": 8},
        "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.9},
        "data_checks": {"allow_overlap": True},
    }  # fmt: skip
    return TrainConfig.model_validate({**values, **changes})


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> DataMix:
    """Every data file means the flat shapes."""
    data = Shapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,))
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mix)
    return mix


def test_a_run_learns_every_task_and_leaves_its_files(tmp_path: Path, shapes: DataMix) -> None:
    best = run_training(config(120, validate={"every": 240}), out=tmp_path / "run")
    assert {p.name for p in best.parent.iterdir()} == {
        "best.safetensors", "curves.png", "data.json", "last.safetensors", "log.csv", "log.jsonl",
        "mix.jpg", "predictions.png",
    }  # fmt: skip
    network, manifest = load_network(best)
    assert manifest.tasks == ("detect", "classify", "embed")
    parts = judge(network, manifest, shapes, None).parts
    assert parts["shapes.map50"] > 0.95
    assert parts["shapes.top1"] > 0.95
    lines = (best.parent / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [e["images"] for e in entries if "loss" in e] == [200, 400]
    means = next(e for e in entries if "loss" in e)
    assert set(means["loss"]) == {"detect", "classify", "embed"}
    assert means["gradient"] > 0
    assert means["time_s"] > 0
    assert means["rate"] == pytest.approx(5e-3 * rate_at(49, 120, config(120).optimiser), rel=1e-3)
    assert [e["step"] for e in entries if "score" in e] == [60, 120]


@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
def test_an_interrupted_run_resumes_to_the_same_result(tmp_path: Path, balance: str) -> None:
    wanted = config(6, loss=LossConfig(balance=balance))
    run_training(wanted, out=tmp_path / "whole")
    with stopped_before(3):
        run_training(wanted, out=tmp_path / "parts")
    assert (tmp_path / "parts" / "last.safetensors").is_file()
    run_training(wanted, out=tmp_path / "parts", resume=True)
    whole, _ = read_checkpoint(tmp_path / "whole" / "last.safetensors")
    parts, _ = read_checkpoint(tmp_path / "parts" / "last.safetensors")
    assert set(whole) == set(parts)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_a_judgement_that_was_interrupted_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.judge

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_training(config(4), out=tmp_path)
    assert not (tmp_path / "best.safetensors").exists()
    monkeypatch.setattr(loop, "judge", real)
    run_training(config(4), out=tmp_path, resume=True)
    assert (tmp_path / "best.safetensors").is_file()
    assert [row["step"] for row in read_rows(tmp_path) if "score" in row] == [2, 4]


def test_a_run_stops_where_nothing_gets_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = iter([0.2, 0.3, 0.1, 0.3, 0.2])
    monkeypatch.setattr(loop, "judge", lambda *_: Verdict(next(scores), {"shapes.map50": 0.5}))
    patient = config(20, validate={"every": 8, "patience": 2})
    best = run_training(patient, out=tmp_path)
    rows = read_rows(tmp_path)
    assert [row["step"] for row in rows if "score" in row] == [2, 4, 6, 8]
    assert rows[-1]["stopped"] in capsys.readouterr().err
    _, header = read_checkpoint(tmp_path / "last.safetensors")
    assert header["edgemtl.step"] == "8"
    kept = best.read_bytes()
    run_training(patient, out=tmp_path, resume=True)  # its patience is at an end still
    assert read_rows(tmp_path) == rows
    more = config(20, validate={"every": 8, "patience": 3})
    assert "stopped after" in capsys.readouterr().err
    run_training(more, out=tmp_path, resume=True)
    assert [row["step"] for row in read_rows(tmp_path) if "score" in row] == [2, 4, 6, 8, 10]
    assert best.read_bytes() == kept


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run_training(config(1), out=tmp_path)
    before = (tmp_path / "best.safetensors").read_bytes()
    with pytest.raises(OutputError, match="holds a run already"):
        run_training(config(2), out=tmp_path)
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_data_with_an_error_are_not_trained_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in both"):
        run_training(config(1, data_checks={}), out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"data.json", "mix.jpg"}


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resume"):
        run_training(config(1), out=tmp_path / "nothing", resume=True)
    run_training(config(1), out=tmp_path / "run")
    wider = config(2, network={**SMALL, "neck_width": 32})
    with pytest.raises(ConfigError, match=r"network\.neck_width is 32, .* started with 24"):
        run_training(wider, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"batch": 8}, "batch"),
        ({"loss": {"balance": "uncertainty"}}, "loss.balance"),
        ({"network": {**SMALL, "frozen_stages": 0}}, "network.frozen_stages"),
        ({"sizes": {"shapes": (32, 64)}}, "sizes"),
        ({"optimiser": {"rate": 1e-4}}, "optimiser.rate"),
        ({"seed": 7}, "seed"),
    ],
)
def test_another_config_is_not_resumed(
    tmp_path: Path, changes: dict[str, object], key: str
) -> None:
    run_training(config(1, network={**SMALL, "frozen_stages": 2}), out=tmp_path)
    other = config(2, **{"network": {**SMALL, "frozen_stages": 2}, **changes})
    with pytest.raises(ConfigError, match=f"resume: .*({key})") as caught:
        run_training(other, out=tmp_path, resume=True)
    assert "started with" in str(caught.value.hint)


def test_what_does_not_touch_the_steps_may_change(tmp_path: Path) -> None:
    run_training(config(1), out=tmp_path)
    free = {"images": 16, "validate": {"every": 8}, "threads": 1, "cache_mb": 7, "name": "other"}
    run_training(config(4, **free), out=tmp_path, resume=True)
    assert [row["step"] for row in read_rows(tmp_path) if "score" in row] == [1, 2, 4]


def test_moments_go_where_their_parameter_is() -> None:
    """As on a GPU: a checkpoint is read into the CPU's memory."""
    there = torch.empty(2, 3, device="meta")
    found = {"exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(2, 3), "step": torch.tensor(4.0)}
    moved = _moments(found, there)
    assert {key: value.device.type for key, value in moved.items()} == {
        "exp_avg": "meta", "exp_avg_sq": "meta", "step": "cpu",
    }  # fmt: skip
    with pytest.raises(RuntimeError):
        _moments(found, torch.empty(3, 3))


def test_a_judgement_that_fails_loses_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DataError("a picture is broken")

    whole = run_training(config(2), out=tmp_path / "whole").parent
    with monkeypatch.context() as patch:
        patch.setattr(loop, "judge", fails)
        with pytest.raises(DataError):
            run_training(config(2), out=tmp_path / "run")
    run_training(config(2), out=tmp_path / "run", resume=True)
    a, b = (read_checkpoint(f / "last.safetensors")[0] for f in (whole, tmp_path / "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_data_that_cannot_judge_are_refused_before_the_first_step(
    tmp_path: Path, shapes: DataMix, monkeypatch: pytest.MonkeyPatch
) -> None:
    val = Shapes(4)
    val.tasks = frozenset(("classify",))
    mixes = {"train": shapes, "val": replace(shapes, sets=(val,))}
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mixes[split])
    with pytest.raises(ConfigError, match=r"val: the data sets label \['classify'\]"):
        run_training(config(1, tasks=["detect"]), out=tmp_path / "none")
    assert not (tmp_path / "none" / "log.csv").exists()
    run_training(config(1), out=tmp_path / "some")


def test_an_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot make"):
        run_training(config(1), out=tmp_path / "file" / "run")


def test_a_bad_batch_changes_no_weight(tmp_path: Path, shapes: DataMix) -> None:
    run = loop._Run(config(2), shapes, tmp_path, 0, None)
    run.network.train()
    before = [p.detach().clone() for p in run.network.parameters()]
    batch = run.maker.batch(0)[0]
    batch.images.fill_(float("nan"))
    run._step([batch])
    assert run.step == 1
    for old, new in zip(before, run.network.parameters(), strict=True):
        assert torch.equal(old, new)


def test_the_rate_warms_up_and_falls() -> None:
    optimiser = config(1).optimiser.model_copy(update={"warmup": 0.1})
    rates = [rate_at(step, 100, optimiser) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.505, abs=1e-3)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_only_labelled_tasks_get_an_output() -> None:
    data = Shapes(4)
    data.tasks = frozenset(("detect",))
    manifest = build_manifest(config(1), DataMix(data.classes, data.image_classes, (data,)))
    assert manifest.tasks == ("detect",)
