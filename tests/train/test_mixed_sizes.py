"""Runs over data sets of different sizes and tasks, and a run without any boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from shapes_set import SMALL, STILL, Shapes, on_one_thread

from edgemtl.data.config import DataMix
from edgemtl.engine import open_session
from edgemtl.errors import ConfigError
from edgemtl.evaluate import evaluate_model
from edgemtl.export import export_checkpoint
from edgemtl.nn.checkpoint import load_network
from edgemtl.train import loop
from edgemtl.train.config import TrainConfig
from edgemtl.train.judge import judge, sessions
from edgemtl.train.loop import run_training


def config(steps: int, **changes: object) -> TrainConfig:
    base: dict[str, object] = {
        "name": "mixed", "data": Path("x.toml"), "size_hw": (64, 96), "images": 8 * steps,
        "batch": 8, "network": SMALL, "augment": STILL,
        "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.9},
        "validate": {"every": 10000}, "data_checks": {"allow_overlap": True},
    }  # fmt: skip
    return TrainConfig.model_validate({**base, **changes})


class Grounds(Shapes):
    """Dark and light pictures without annotated boxes."""

    def __init__(self) -> None:
        super().__init__(12, labelled=(False, False))
        self.name, self.tasks, self.sequences = "grounds", frozenset(("classify",)), ()


def mix_of(*sets: Shapes) -> DataMix:
    return DataMix(("a", "b"), ("dark", "light"), sets)


def test_a_set_is_trained_and_judged_at_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = Shapes(12)
    boxes.tasks = frozenset(("detect", "embed"))
    mix = mix_of(boxes, Grounds())
    monkeypatch.setattr(loop, "load_data", lambda *_: mix)
    seen: list[tuple[tuple[int, int], bool]] = []
    forward = loop.MultiTaskNetwork.forward

    def noted(self: torch.nn.Module, x: torch.Tensor, objects: bool = True) -> object:
        seen.append(((int(x.shape[2]), int(x.shape[3])), objects))
        return forward(self, x, objects)

    monkeypatch.setattr(loop.MultiTaskNetwork, "forward", noted)
    wanted = config(200, sizes={"grounds": (64, 64)}, sampling={"classify": 0.5})
    with on_one_thread():
        best = run_training(wanted, out=tmp_path / "run")
    assert set(seen) == {((64, 96), True), ((64, 64), False)}
    network, manifest = load_network(best)
    assert manifest.tasks == ("detect", "classify", "embed")
    assert manifest.input.size_hw == (64, 96)
    session_of = sessions(network, manifest, wanted.sizes)
    assert session_of(mix.sets[0]).input(0).shape[2:] == (64, 96)
    assert session_of(mix.sets[1]).input(0).shape[2:] == (64, 64)
    parts = judge(network, manifest, mix, None, wanted.sizes).parts
    assert parts["grounds.top1"] > 0.9
    assert "shapes.map50" in parts


def test_without_boxes_it_trains_exports_and_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    mix = mix_of(Grounds())
    monkeypatch.setattr(loop, "load_data", lambda *_: mix)
    best = run_training(config(20), out=tmp_path / "run")
    network, manifest = load_network(best)
    assert manifest.tasks == ("classify",)
    assert network.neck is None
    report = export_checkpoint(best, tmp_path / "m.onnx", size_hw=(64, 64))
    assert report.largest.image_prob < 1e-3
    session = open_session(tmp_path / "m.onnx", backend="onnxruntime", threads=1)
    try:
        found = evaluate_model(session, mix)
    finally:
        session.close()
    assert found.together.detection is None
    assert found.together.classification is not None
    torch_says = judge(network, manifest, mix, None, {"grounds": (64, 64)}).parts
    assert found.together.classification.top1 == pytest.approx(torch_says["grounds.top1"], abs=1e-3)
    assert np.array_equal(found.together.classification.confusion.sum(1), [6, 6])


def test_a_size_of_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "load_data", lambda *_: mix_of(Grounds()))
    with pytest.raises(ConfigError, match="sizes: there is no data set 'ground'"):
        run_training(config(1, sizes={"ground": (64, 64)}), out=tmp_path / "run")
