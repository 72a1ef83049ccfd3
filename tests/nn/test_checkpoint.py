"""Checkpoints give back what was saved, or say what is wrong with the file."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from edgemtl.errors import ModelError
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.nn.checkpoint import load_network, save_checkpoint
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig

SMALL = NetworkConfig(backbone_width=0.35, neck_width=16, embedding_dim=8, embedding_hidden=16)
MANIFEST = Manifest(
    name="t", input=InputSpec(size_hw=(64, 96)), classes=("a",), image_classes=("x", "y")
)


@pytest.mark.parametrize(("half", "fold"), [(False, False), (True, False), (False, True)])
def test_round_trip(tmp_path: Path, half: bool, fold: bool) -> None:
    torch.manual_seed(0)
    config = SMALL.model_copy(update={"fold_batch_norm": fold})
    network = MultiTaskNetwork(config, 1, 2).eval()
    save_checkpoint(tmp_path / "c.safetensors", network, MANIFEST, half=half)
    again, manifest = load_network(tmp_path / "c.safetensors")
    assert manifest == MANIFEST
    assert again.config == config
    x = torch.rand(1, 3, 64, 96)
    tolerance = 2e-2 if half else 1e-6
    torch.testing.assert_close(
        again.select(x)["image_probs"],
        network.select(x)["image_probs"],
        atol=tolerance,
        rtol=tolerance,
    )


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x10" + b"\0" * 30])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a safetensors"):
        load_network(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, MultiTaskNetwork(SMALL, 1, 2), MANIFEST)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError):
        load_network(path)


def test_a_foreign_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(ModelError, match="manifest"):
        load_network(tmp_path / "c.safetensors")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        load_network(tmp_path / "none.safetensors")
