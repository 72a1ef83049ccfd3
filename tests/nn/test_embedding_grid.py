"""Embeddings of a grid of places inside the box: the places, the samples, and every export."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch

from edgemtl.engine import open_session
from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.export import export_network
from edgemtl.graph.file import load_model, save_model
from edgemtl.graph.fp16 import to_fp16
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.nn.heads import GridEmbeddingHead
from edgemtl.nn.heads.embed import unit
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own

SHAPE = NetworkConfig(
    backbone_width=0.35,
    neck_width=16,
    embedding_dim=8,
    embedding_hidden=16,
    embedding_grid=(3, 2),
)
MANIFEST = Manifest(
    name="grid", input=InputSpec(size_hw=(64, 96)), classes=("a", "b"), embedding_dim=8
)


class Blocks:
    """Blocky pictures by index."""

    def __len__(self) -> int:
        return 6

    def file(self, index: int) -> str:
        return f"blocks/{index}.png"

    def image(self, index: int) -> np.ndarray:
        coarse = np.random.default_rng(index).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def bilinear(fine: np.ndarray, x: float, y: float) -> np.ndarray:
    """f32 [c]: a map [c, h, w] of stride 4 at a place in pixels; nothing beyond its border."""
    column, row = x / 4 - 0.5, y / 4 - 0.5
    total = np.zeros(fine.shape[0])
    for r in (int(np.floor(row)), int(np.floor(row)) + 1):
        for c in (int(np.floor(column)), int(np.floor(column)) + 1):
            if 0 <= r < fine.shape[1] and 0 <= c < fine.shape[2]:
                total += fine[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return total


def test_what_the_head_sees() -> None:
    """Place by place, against plain loops: rows first, then columns, then channels."""
    torch.manual_seed(0)
    head = GridEmbeddingHead(5, (3, 2), 4, 6).eval()
    fine = torch.randn(2, 5, 12, 16)
    boxes = torch.tensor([[[4.0, 6.0, 30.0, 40.0]], [[-8.0, 20.0, 12.0, 60.0]]])
    got = head(fine, boxes)
    for n in range(2):
        x1, y1, x2, y2 = boxes[n, 0].tolist()
        seen = [
            bilinear(fine[n].numpy(), x1 + (x2 - x1) * fx, y1 + (y2 - y1) * fy)
            for fy in (0.08, 0.5, 0.92)
            for fx in (0.15, 0.85)
        ]
        raw = head.layers(torch.from_numpy(np.concatenate(seen)).float())
        torch.testing.assert_close(got[n, 0], raw / raw.norm(), rtol=1e-4, atol=1e-5)
    assert head(fine, boxes[:, :0]).shape == (2, 0, 6)


def test_one_place_is_the_middle() -> None:
    places = GridEmbeddingHead(2, (1, 1), 4, 4).places(torch.tensor([[[0.0, 0.0, 8.0, 4.0]]]))
    assert places.tolist() == [[[[4.0, 2.0]]]]


def test_places_move_and_grow_with_the_box() -> None:
    """In any unit: the head asks for them between -1 and 1."""
    head, boxes = GridEmbeddingHead(2, (5, 3), 4, 4), torch.rand(2, 7, 4) * 300
    scale, shift = torch.tensor([2 / 416, 2 / 320]), torch.tensor([-1.0, 0.5])
    moved = boxes * scale.repeat(2) + shift.repeat(2)
    torch.testing.assert_close(head.places(moved), head.places(boxes) * scale + shift)


def test_a_vector_of_nothing_sends_no_gradient_astray() -> None:
    raw = torch.zeros(2, 4, requires_grad=True)
    unit(raw).sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_the_map_is_a_local_mean_at_first() -> None:
    head = GridEmbeddingHead(2, (2, 2), 4, 4)
    shared = torch.rand(1, 2, 8, 8)
    mean = head.smooth[0](shared)[0, 0, 3, 4]
    torch.testing.assert_close(mean, shared[0, 0, 2:5, 3:6].mean())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    network = MultiTaskNetwork(SHAPE, 2)
    with torch.no_grad():
        for predictor in [*network.detect.one, *network.detect.box]:
            predictor.weight.normal_(0, 0.2)
            predictor.bias.zero_()
        pictures = [torch.from_numpy(Blocks().image(i)).permute(2, 0, 1) for i in range(6)]
        for _ in range(20):  # batch-norm statistics that matter
            network(torch.stack(pictures).float() / 128 - 1)
    out = tmp_path_factory.mktemp("grid") / "grid.onnx"
    export_network(network.eval(), MANIFEST, out)
    return out


def embeddings(path: Path) -> np.ndarray:
    """Of the picture's candidates, in the order of their scores."""
    with closing(open_session(path, threads=1)) as session:
        slot = session.input(session.acquire())
        planar = Blocks().image(0)[..., ::-1].transpose(2, 0, 1)[None]
        images = planar if slot.dtype == np.uint8 else (planar.astype(int) - 128)
        found = session.infer(images.astype(slot.dtype)).embeddings
    assert found is not None
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=2e-3)
    return found


def test_half_precision(model: Path, tmp_path: Path) -> None:
    graph, manifest = load_model(model)
    half = tmp_path / "half.onnx"
    save_model(to_fp16(graph), manifest.model_copy(update={"precision": "fp16"}), half)
    cosine = (embeddings(model) * embeddings(half)).sum(-1)
    assert np.median(cosine) > 0.99


@pytest.mark.parametrize("flavour", ["host", "trt"])
def test_int8(model: Path, tmp_path: Path, flavour: str) -> None:
    report = calibrate(model, Blocks(), tmp_path / "grid.int8.onnx", CalibrateOptions(held_out=2))
    found = embeddings(report.out if flavour == "host" else report.trt)
    assert found.shape == embeddings(model).shape


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_can_be_built(model: Path, tmp_path: Path, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    source = model
    if precision == "int8":
        options = CalibrateOptions(limit=3, held_out=1)
        source = calibrate(model, Blocks(), tmp_path / "grid.int8.onnx", options).out
    report = build_engine(
        source, tmp_path / "grid.engine", BuildOptions(precision, flavour="tensorrt_rtx")
    )
    assert report.size_bytes > 10_000
