"""torch = ONNX after decoding; what differs is not written."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch

from edgemtl import export
from edgemtl.errors import ConfigError, ModelError
from edgemtl.graph.file import load_model
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.nn.session import TorchSession

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter's own

CONFIG = NetworkConfig(backbone_width=0.35, neck_width=16, embedding_dim=8, embedding_hidden=16)
MANIFEST = Manifest(
    name="t",
    input=InputSpec(size_hw=(64, 96)),
    classes=("a", "b"),
    image_classes=("x", "y"),
    embedding_dim=8,
)


def blocks(n: int, seed: int) -> np.ndarray:
    """Coarse blocks and fine noise, int8: no two places look alike."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(-100, 100, (n, 3, 8, 12)), np.ones((8, 8), np.int64))
    return (coarse + rng.integers(-25, 26, (n, 3, 64, 96))).clip(-128, 127).astype(np.int8)


def spread(seed: int) -> MultiTaskNetwork:
    """A random network whose scores and boxes differ from point to point."""
    torch.manual_seed(seed)
    network = MultiTaskNetwork(CONFIG, 2, 2)
    with torch.no_grad():
        for predictor in [*network.detect.one, *network.detect.box]:
            predictor.weight.normal_(0, 0.2)
            predictor.bias.zero_()
    network.train()
    for _ in range(20):  # batch-norm statistics that matter
        network(torch.from_numpy(blocks(8, seed)).float() / 128)
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("export") / "m.onnx"
    network = spread(0)
    return network, export.export_network(network, MANIFEST, out), out


def test_what_is_written(exported) -> None:
    _, report, out = exported
    model, manifest = load_model(out)
    assert manifest == MANIFEST.model_copy(update={"top_k": 100})
    assert {o.domain for o in model.opset_import} <= {"", "ai.onnx"}
    assert model.graph.node[0].op_type == "DequantizeLinear"
    assert "BatchNormalization" not in {n.op_type for n in model.graph.node}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert report.size_bytes == out.stat().st_size


@pytest.mark.parametrize("n", [1, 3])
def test_equal_after_decoding_at_any_batch(exported, n: int) -> None:
    ort = pytest.importorskip("onnxruntime")
    network, _, out = exported
    images = blocks(n, 1)
    ours = TorchSession(network, MANIFEST).infer(images)
    session = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    boxes, scores, labels, embeddings, probs = session.run(None, {"images": images})
    np.testing.assert_allclose(scores, ours.scores, atol=1e-4)
    np.testing.assert_allclose(probs, ours.image_probs, atol=1e-4)
    clear = np.diff(ours.scores, axis=1, prepend=2) < -1e-5  # no tie with the one before
    clear[:, :-1] &= clear[:, 1:]
    assert clear.mean() > 0.3
    np.testing.assert_allclose(boxes[clear], ours.boxes_net[clear], atol=0.05)
    np.testing.assert_allclose(embeddings[clear], ours.embeddings[clear], atol=1e-3)
    np.testing.assert_array_equal(labels[clear], ours.labels[clear])


def test_a_failing_parity_stops_the_export(tmp_path: Path, monkeypatch) -> None:
    network = spread(0)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.detect.box[0].bias += 0.05
    honest = export._to_onnx
    monkeypatch.setattr(
        export, "_to_onnx", lambda _, manifest: honest(copy.deepcopy(other), manifest)
    )
    with pytest.raises(ModelError, match="differ in box_px"):
        export.export_network(network, MANIFEST, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_deployment_size(tmp_path: Path) -> None:
    export.export_network(spread(1), MANIFEST, tmp_path / "m.onnx", size_hw=(32, 64))
    model, manifest = load_model(tmp_path / "m.onnx")
    assert manifest.input.size_hw == (32, 64)
    assert manifest.top_k == 42  # 4 x 8 + 2 x 4 + 1 x 2 points
    assert isinstance(model, onnx.ModelProto)


def test_a_size_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiples of 32"):
        export.export_network(spread(1), MANIFEST, tmp_path / "m.onnx", size_hw=(48, 64))
