"""Single-task networks as one would deploy them: exported, calibrated, one pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgemtl.data.config import load_data
from edgemtl.engine.session import Session, Slot, Ticket
from edgemtl.export import export_network
from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import load_network, read_checkpoint
from edgemtl.nn.heads import GridEmbeddingHead
from edgemtl.nn.network import PIXEL_ZERO, MultiTaskNetwork
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate
from edgemtl.quantize.recipe import MixedPictures
from edgemtl.records import F32, NetOutputs

CALIBRATION = CalibrateOptions(limit=100, held_out=20)


class AtBoxes(nn.Module):
    """A network of embeddings alone, of as many fixed boxes as it has detections.

    Its own graph would want the boxes as an input; what is timed is the same with them built in.
    """

    def __init__(self, network: MultiTaskNetwork, manifest: Manifest) -> None:
        super().__init__()
        self.network, self.config = network, network.config
        height, width = manifest.input.size_hw
        count = min(network.config.top_k, manifest.top_k)
        side = torch.linspace(8.0, min(height, width) - 1.0, count)
        self.register_buffer("boxes", torch.stack([side * 0, side * 0, side, side], -1)[None])

    def select(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        head = self.network.embed
        assert isinstance(head, GridEmbeddingHead)
        fine = head.learn(self.network._see(x))
        return {"embeddings": head(fine, self.boxes.expand(x.shape[0], -1, -1))}


def averaged(run: Path) -> tuple[MultiTaskNetwork, Manifest]:
    """The averaged weights at the end of a run, and the manifest.

    Not the best judgement's: that would choose on the data that are scored, and for a network of
    one task otherwise than for one that weighs three against each other.
    """
    network, manifest = load_network(run / "last.safetensors")
    tensors, _ = read_checkpoint(run / "last.safetensors")
    part = "average."
    network.load_state_dict(
        {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
    )
    return network.eval(), manifest


def deploy(run: Path, folder: Path, data: Path, root: Path | None) -> Path:
    """``fp32.onnx`` and ``int8.onnx`` in ``folder``, once; the path of the former.

    A network of embeddings alone has as many as there are detections in a picture, for the latency.
    """
    network, manifest = averaged(run)
    made = folder / "fp32.onnx"
    if not made.exists():
        alone = manifest.tasks == ("embed",)
        shown: Any = AtBoxes(network, manifest) if alone else network
        export_network(shown, manifest, made)
    if not (folder / "int8.onnx").exists():
        pictures = MixedPictures(load_data(data, "train", root), 120)
        calibrate(made, pictures, folder / "int8.onnx", CALIBRATION)
    return made


class Looker:
    """Embeddings of given boxes by a network of them alone: by torch, as no graph takes boxes.

    ``folder``: of its training.
    """

    def __init__(self, folder: Path) -> None:
        self._network, self.manifest = averaged(folder)

    def embeddings(self, images: NDArray[Any], boxes_net: F32) -> F32:
        """f32 [1, K, D] for images i8 [1, 3, h, w] and boxes f32 [K, 4]."""
        head = self._network.embed
        assert isinstance(head, GridEmbeddingHead)
        with torch.no_grad():
            fine = head.learn(self._network._see(torch.from_numpy(images).float() / PIXEL_ZERO))
            found: F32 = head(fine, torch.from_numpy(boxes_net.copy())[None]).numpy()
        return found


class Joined:
    """Three networks of one input as one session; see ``edgemtl.engine.session.Session``.

    Boxes and classes are the first one's, the image class the second one's; embeddings are the
    third one's inside the boxes.
    """

    def __init__(self, detect: Session, classify: Session, look: Looker) -> None:
        self._detect, self._classify, self._look = detect, classify, look
        first = detect.manifest
        assert first.input == classify.manifest.input == look.manifest.input
        self._manifest = first.model_copy(update={
            "image_classes": classify.manifest.image_classes,
            "embedding_dim": look.manifest.embedding_dim,
        })  # fmt: skip
        self._input = np.zeros((1, 3, *first.input.size_hw), first.input.dtype)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def backend(self) -> str:
        return f"three networks, {self._detect.backend}"

    @property
    def batch(self) -> int:
        return 1

    def acquire(self) -> Slot:
        return Slot(0)

    def input(self, slot: Slot) -> NDArray[Any]:
        return self._input

    def submit(self, slot: Slot, n_valid: int) -> Ticket:
        return Ticket(0)

    def collect(self, ticket: Ticket) -> NetOutputs:
        return self.infer(self._input)

    def infer(self, images: NDArray[Any]) -> NetOutputs:
        found, scene = self._detect.infer(images), self._classify.infer(images)
        looks = self._look.embeddings(images, found.boxes_net[0])
        return NetOutputs(found.boxes_net, found.scores, found.labels, looks, scene.image_probs)

    def close(self) -> None:
        self._detect.close()
        self._classify.close()
