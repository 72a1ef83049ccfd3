"""Going on with INT8's rounding: what was lost comes back, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, STILL, Shapes, on_one_thread, stopped_before
from torch import nn

from edgemtl import finetune as tuning
from edgemtl.data.config import DataMix
from edgemtl.errors import CalibrationError, ConfigError, ModelError, OutputError
from edgemtl.export import export_network
from edgemtl.finetune import TABLE_FILE, finetune, shortened
from edgemtl.graph.dialect import host_dialect
from edgemtl.graph.file import load_model
from edgemtl.graph.ranges import load_ranges
from edgemtl.nn.checkpoint import load_network, read_checkpoint, save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork, folded
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate
from edgemtl.quantize.recipe import MixedPictures
from edgemtl.train import loop
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import LossConfig, TrainConfig
from edgemtl.train.judge import judge
from edgemtl.train.loop import run_training
from edgemtl.train.losses import compute_losses
from edgemtl.train.rounding import Rounder
from edgemtl.train.runlog import read_rows
from edgemtl.train.start import Start

WILD = 300.0


def config(steps: int, part: float = 0.5, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "name": "small", "data": Path("shapes.toml"), "size_hw": (64, 96), "images": 4 * steps,
        "batch": 4, "network": SMALL, "augment": STILL, "validate": {"every": 10_000},
        "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.9},
        "data_checks": {"allow_overlap": True}, "quantize": {"part": part, "rate": 0.05},
    }  # fmt: skip
    return TrainConfig.model_validate({**values, **changes})


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> DataMix:
    data = Shapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,))
    for module in (loop, tuning):
        monkeypatch.setattr(module, "load_data", lambda path, split, root: mix)
    return mix


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with on_one_thread():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network that knows the shapes, and one whose INT8 graph does not."""
    with pytest.MonkeyPatch.context() as patch:
        data = Shapes(12)
        mix = DataMix(data.classes, data.image_classes, (data,))
        patch.setattr(loop, "load_data", lambda path, split, root: mix)
        folder = tmp_path_factory.mktemp("trained")
        run_training(config(120), out=folder / "run")
    network, manifest = load_network(folder / "run" / "best.safetensors")
    folded(network)
    _make_wild(network)
    save_checkpoint(folder / "wild.safetensors", network, manifest)
    return folder


def _make_wild(network: MultiTaskNetwork) -> None:
    """One channel of the features at stride 8 becomes so large that others are nothing beside it;
    whoever reads it takes that back, so that the float network stays what it is."""
    assert network.neck is not None
    stages = [[m for m in s.modules() if isinstance(m, nn.Conv2d)] for s in network.backbone.stages]
    makers = [conv for conv in stages[2] if conv.out_channels < conv.in_channels]
    wide = [conv for conv in stages[2][1:] if conv.out_channels > conv.in_channels]
    lateral = next(m for m in network.neck.lateral[0].modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        for conv in makers:
            assert conv.bias is not None
            conv.weight[0] *= WILD
            conv.bias[0] *= WILD
        for conv in (*wide, stages[3][0], lateral):
            conv.weight[:, 0] /= WILD


def _rounded(checkpoint: Path, like: Path, mix: DataMix) -> tuple[dict[str, float], float]:
    """Scores and mean loss of a checkpoint's network when it rounds, with ranges of its own."""
    network, manifest = load_network(checkpoint)
    made = like / f"{checkpoint.parent.name}-{checkpoint.stem}.onnx"
    export_network(folded(network), manifest, made)
    pictures = MixedPictures(mix, 12)
    report = calibrate(made, pictures, made.with_suffix(".int8.onnx"), CalibrateOptions())
    rounder = Rounder(load_model(made)[0], load_ranges(report.table), (host_dialect(),))
    batches = [b for n in range(12) for b in BatchMaker(mix.sets, config(12)).batch(n)]
    with rounder.applied(network), torch.no_grad():
        losses = [
            compute_losses(network, network(batch.images), batch, LossConfig()) for batch in batches
        ]
        scores = judge(network, manifest, mix, None).parts
    return scores, sum(float(one) for loss in losses for one in loss.values()) / len(batches)


class _NoRounding(Rounder):
    """For a run that goes on in float, all else being equal."""

    def __init__(self) -> None:
        pass

    def applied(self, network: nn.Module, number: int = 0) -> AbstractContextManager[Any]:
        return nullcontext()


def test_it_learns_to_live_with_rounding(tmp_path: Path, trained: Path, shapes: DataMix) -> None:
    wild, wanted = trained / "wild.safetensors", config(120)
    network, manifest = load_network(wild)
    exact = judge(network, manifest, shapes, None).parts
    before, lost = _rounded(wild, tmp_path, shapes)
    assert before["shapes.idf1"] < 0.5 < 0.95 < exact["shapes.idf1"], "INT8 loses what it knew"
    best = finetune(wanted, wild, out=tmp_path / "tuned")
    after, learnt = _rounded(best, tmp_path, shapes)
    assert after["shapes.idf1"] > 0.8
    assert learnt < 0.87 * lost
    judged = [(row["step"], row["score"]) for row in read_rows(best.parent) if "score" in row]
    assert [step for step, _ in judged] == [0, 60]
    assert judged[1][1] > judged[0][1] + 0.1
    assert load_network(best)[0].config.folded
    plain = run_training(
        shortened(wanted, network.config), out=tmp_path / "plain",
        start=Start(network, manifest, _NoRounding()),
    )  # fmt: skip
    last, unlearnt = _rounded(plain.parent / "last.safetensors", tmp_path, shapes)
    assert learnt < 0.93 * unlearnt, "more training alone does less"
    assert after["shapes.idf1"] > last["shapes.idf1"] + 0.1
    assert after["shapes.map"] > last["shapes.map"] + 0.05


def test_an_interrupted_run_resumes_to_the_same_result(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, wanted = trained / "run" / "best.safetensors", config(6, 1.0)
    finetune(wanted, start, out=tmp_path / "whole")
    with stopped_before(3):
        finetune(wanted, start, out=tmp_path / "parts")
    table = (tmp_path / "parts" / TABLE_FILE).read_bytes()
    assert table == (tmp_path / "whole" / TABLE_FILE).read_bytes()
    with pytest.raises(CalibrationError, match="another model"):
        finetune(wanted, trained / "wild.safetensors", out=tmp_path / "parts", resume=True)
    monkeypatch.delattr(tuning, "measure_ranges")  # they are known
    finetune(wanted, start, out=tmp_path / "parts", resume=True)
    whole, parts = (
        read_checkpoint(tmp_path / name / "last.safetensors")[0] for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_refusals(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, out = trained / "run" / "best.safetensors", tmp_path / "out"
    network, manifest = load_network(start)
    other = manifest.model_copy(update={"classes": ("a", "c")})
    save_checkpoint(tmp_path / "other.safetensors", network, other)
    with pytest.raises(ConfigError, match="the data have the classes"):
        finetune(config(4), tmp_path / "other.safetensors", out=out)
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ModelError, match="safetensors"):
        finetune(config(4), tmp_path / "text.safetensors", out=out)
    with pytest.raises(OutputError, match="holds a run already"):
        finetune(config(4), start, out=trained / "run")
    assert not (trained / "run" / TABLE_FILE).exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        finetune(config(4), start, out=out)
