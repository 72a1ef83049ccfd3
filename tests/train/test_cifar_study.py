"""The study of CIFAR-10: what it makes of a run's folder, without training one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch
from scripts import load_script
from shapes_set import Shapes

from edgemtl.data.base import Truth
from edgemtl.data.config import DataMix
from edgemtl.data.imageset import empty_truth
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.nn.checkpoint import save_checkpoint
from edgemtl.nn.network import NetworkConfig, network_of
from edgemtl.train.config import load_train_config

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SMALL = NetworkConfig(backbone_width=0.35, neck_width=16, image_hidden=16, embedding_dim=None)


class Pictures(Shapes):
    """Twenty pictures, two of each class."""

    def __init__(self) -> None:
        super().__init__(20, labelled=())
        self.name, self.tasks, self.sequences = "cifar", frozenset(("classify",)), ()
        self.classes, self.image_classes = (), NAMES

    def image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)

    def truth(self, index: int) -> Truth:
        return empty_truth(index % 10)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EDGEMTL_LITE2", "w.pth")
    module = load_script("cifar10")
    monkeypatch.setattr(module, "load_data", lambda *_: DataMix((), NAMES, (Pictures(),)))
    return module


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_a_run_is_scored_through_its_exported_file(study, tmp_path: Path) -> None:
    torch.manual_seed(0)
    manifest = Manifest(name="c", input=InputSpec(size_hw=(64, 64)), image_classes=NAMES)
    network, trained = (network_of(SMALL, manifest).eval() for _ in range(2))
    average = {f"average.{key}": value for key, value in network.state_dict().items()}
    save_checkpoint(tmp_path / "last.safetensors", trained, manifest, extra=average)
    rows = [{"step": 1, "score": 0.4}, {"step": 1, "loss": {}}, {"step": 2, "score": 0.3}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    study.note_cost(tmp_path, 10.0, 20.0)
    study.note_cost(tmp_path, 1.5, 2.0)  # resumed
    found = study.score("alone", tmp_path, tmp_path)
    assert found["cost"] == {"cpu_s": 11.5, "wall_s": 22.0}
    assert found["judgements"] == [{"step": 1, "score": 0.4}, {"step": 2, "score": 0.3}]
    cifar = found["sets"]["cifar"]
    assert tuple(cifar["size_hw"]) == load_train_config(study.CONFIGS["alone"]).size_hw
    assert np.array_equal(np.sum(cifar["classification"]["confusion"], 1), [2] * 10)
    assert set(cifar["classification"]["per_class"]) == set(NAMES)
    study.plot({"alone": found, "joint": found}, tmp_path / "c.svg")
    drawn = (tmp_path / "c.svg").read_text(encoding="utf-8")
    assert all(name in drawn for name in (*NAMES, "precision", "recall", "joint"))


def test_a_missed_target_is_told(study) -> None:
    def run(top1: float, cpu_s: float | None) -> dict[str, object]:
        cost = None if cpu_s is None else {"cpu_s": cpu_s, "wall_s": 1.0}
        return {"sets": {"cifar": {"classification": {"top1": top1}}}, "cost": cost}

    joint = {"joint": run(0.1, 1e6)}
    assert study.misses({"alone": run(0.93, 7000), **joint}) == []
    assert study.misses({"alone": run(0.93, 7000)}) == ["joint: not measured yet"]
    assert study.misses(joint) == ["alone: not measured yet"]
    assert "0.9100 < 0.92" in study.misses({"alone": run(0.91, 7000), **joint})[0]
    assert "7300" in study.misses({"alone": run(0.93, 7300), **joint})[0]
    assert "unknown" in study.misses({"alone": run(0.93, None), **joint})[0]
