"""How a task is added, as docs/adding_a_task.md tells it: a map of what covers each place.

What is here in one file is, in the package, a file under nn/heads with a line in HEADS, and a
file under train/losses with a line in LOSSES. Nothing else of nn and train is touched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch
from shapes_set import Shapes

from edgemtl.data.config import DataMix
from edgemtl.engine.ort import OrtSession
from edgemtl.errors import ConfigError
from edgemtl.export import export_checkpoint
from edgemtl.graph.file import load_model
from edgemtl.manifest_tasks import FurtherOutput, FurtherTask
from edgemtl.nn import heads
from edgemtl.nn.blocks import separable
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.heads.base import Chosen, Head, HeadPlan, Shared
from edgemtl.nn.session import TorchSession
from edgemtl.ops import boxes_to_net, letterbox
from edgemtl.train import loop, losses
from edgemtl.train.config import TrainConfig
from edgemtl.train.distributed import total, whole
from edgemtl.train.loop import run_training
from edgemtl.train.losses.step import Step
from edgemtl.train.runlog import read_rows

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own

STRIDE = 8


class CoverHead(Head):
    """What covers each cell of the finest map: logits of ground and of the object classes."""

    name = "cover"
    loss_weight = 0.5

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            separable(width, width), torch.nn.Conv2d(width, n_classes, 1)
        )

    @classmethod
    def make(cls, plan: HeadPlan) -> CoverHead | None:
        return cls(plan.width, plan.further[cls.name]) if cls.name in plan.further else None

    @classmethod
    def contract(cls, classes: tuple[str, ...]) -> FurtherTask:
        shape = (len(classes), f"h/{STRIDE}", f"w/{STRIDE}")
        output = FurtherOutput(name="cover_probs", shape=shape)
        return FurtherTask(name=cls.name, classes=classes, outputs=(output,))

    def forward(self, finest: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(finest)
        return out

    def learn(self, shared: Shared) -> torch.Tensor:
        return self(shared.maps[0])

    def infer(self, shared: Shared, chosen: Chosen | None) -> dict[str, torch.Tensor]:
        return {"cover_probs": self(shared.maps[0]).softmax(1)}


def cover_loss(head: CoverHead, step: Step) -> torch.Tensor | None:
    """Cross entropy per cell against the true boxes, over pictures annotated for detection."""
    logits, batch = step.outputs.raw[head.name].float(), step.batch
    rows, columns = logits.shape[2:]
    y = (torch.arange(rows, device=logits.device) + 0.5) * STRIDE
    x = (torch.arange(columns, device=logits.device) + 0.5) * STRIDE
    target = torch.zeros(len(logits), rows, columns, dtype=torch.long, device=logits.device)
    for frame, box, label in zip(batch.frame, batch.boxes_net, batch.labels, strict=True):
        within = ((y > box[1]) & (y < box[3]))[:, None] & ((x > box[0]) & (x < box[2]))
        target[frame][within] = label + 1
    cells = total(batch.detect.sum()) * rows * columns
    if not bool(cells > 0):
        return None
    cross = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return whole(cross[batch.detect].sum() / cells)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> DataMix:
    """The two lines; and data."""
    monkeypatch.setattr(heads, "HEADS", (*heads.HEADS, CoverHead))
    monkeypatch.setattr(losses, "LOSSES", (*losses.LOSSES, (CoverHead, cover_loss)))
    data = Shapes(12)
    mix = DataMix(data.classes, data.image_classes, (data,))
    monkeypatch.setattr(loop, "load_data", lambda path, split, root: mix)
    return mix


CONFIG = {
    "name": "covered", "data": Path("d.toml"), "size_hw": (64, 96), "images": 360, "batch": 4,
    "network": {"backbone_width": 0.35, "neck_width": 24, "embedding_dim": 8},
    "augment": {"scale": (0.9, 1.1), "shift": 0.05, "gain": 0.0, "bias": 0.0, "saturation": 0.0},
    "validate": {"every": 360}, "optimiser": {"rate": 5e-3, "backbone_rate": 1.0, "average": 0.9},
    "data_checks": {"allow_overlap": True},
    "further": {"cover": ("ground", "a", "b")}, "loss": {"further": {"cover": 1.0}},
}  # fmt: skip


def cover_of(boxes: np.ndarray) -> np.ndarray:
    """The true cover of the two objects, of class 0 and 1."""
    target = np.zeros((8, 12), int)
    y, x = (np.arange(8) + 0.5) * STRIDE, (np.arange(12) + 0.5) * STRIDE
    for label, (x1, y1, x2, y2) in enumerate(boxes):
        target[np.ix_((y > y1) & (y < y2), (x > x1) & (x < x2))] = label + 1
    return target


def test_train_export_run(tmp_path: Path, added: DataMix) -> None:
    best = run_training(TrainConfig.model_validate(CONFIG), out=tmp_path / "run")
    assert any("cover" in str(row) for row in read_rows(tmp_path / "run"))
    network, manifest = load_network(best)
    assert manifest.tasks == ("detect", "classify", "embed", "cover")
    report = export_checkpoint(best, tmp_path / "m.onnx")
    assert report.largest.further["cover_probs"] < 1e-3
    _, written = load_model(tmp_path / "m.onnx")
    assert written.further == manifest.further

    session = OrtSession(tmp_path / "m.onnx", threads=1)
    data = added.sets[0]
    own, elsewhere = ([], []), ([], [])
    for index in range(4):
        image = np.zeros((1, 3, 64, 96), np.int8)
        geometry = letterbox(data.image(index), image[0], manifest.input)
        found = session.infer(image).further["cover_probs"]
        assert found.shape == (1, 3, 8, 12)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
        ours = TorchSession(network, manifest).infer(image).further["cover_probs"]
        np.testing.assert_allclose(found, ours, atol=1e-3)
        target = cover_of(boxes_to_net(data.truth(index).boxes_src, geometry))
        for label in range(2):
            probs, there = found[0, label + 1], target == label + 1
            own[label].extend(probs[there].tolist())
            elsewhere[label].extend(probs[~there].tolist())
    session.close()
    for label in range(2):
        assert np.mean(own[label]) > 3 * np.mean(elsewhere[label])


def test_another_input_size_has_another_map(tmp_path: Path, added: DataMix) -> None:
    task = CoverHead.contract(("ground", "a"))
    assert task.outputs[0].sizes((64, 96), 100) == (2, 8, 12)
    assert task.outputs[0].sizes((288, 512), 100) == (2, 36, 64)


def test_without_the_line_the_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no head 'cover'"):
        heads.further_task("cover", ("ground", "a"))
