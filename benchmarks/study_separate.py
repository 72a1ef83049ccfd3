"""Single-task networks as one would deploy them: exported, calibrated, one pipeline."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.engine.session import Slot, Ticket
from edgemtl.export import export_network
from edgemtl.manifest import Manifest
from edgemtl.nn.checkpoint import load_network
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate
from edgemtl.quantize.recipe import MixedPictures
from edgemtl.records import NetOutputs
from edgemtl.train.lookup import points_of

CALIBRATION = CalibrateOptions(limit=100, held_out=20)


def deploy(checkpoint: Path, folder: Path, data: Path, root: Path | None) -> Path:
    """``fp32.onnx`` and ``int8.onnx`` in ``folder``, once; the path of the former.

    A network of embeddings alone also becomes ``every_point.onnx``, which says them at all points
    for the look-up; the other two have as many as detections in a picture, for the latency.
    """
    network, manifest = load_network(checkpoint)
    made = folder / "fp32.onnx"
    if not made.exists():
        export_network(network, manifest, made)
    if manifest.tasks == ("embed",) and not (folder / "every_point.onnx").exists():
        network.config = network.config.model_copy(update={"top_k": 10**6})
        export_network(network, manifest, folder / "every_point.onnx")
    if not (folder / "int8.onnx").exists():
        pictures = MixedPictures(load_data(data, "train", root), 120)
        calibrate(made, pictures, folder / "int8.onnx", CALIBRATION)
    return made


class Joined:
    """Three networks of one input as one session; see ``edgemtl.engine.session.Session``.

    Boxes and classes are the first one's, the image class the second one's; embeddings are the
    third one's at the points of the boxes.
    """

    def __init__(self, detect: Path, classify: Path, every_point: Path) -> None:
        with ExitStack() as opened:
            paths = (detect, classify, every_point)
            self._parts = [open_session(path, threads=1) for path in paths]
            for part in self._parts:
                opened.callback(part.close)
            first, second, third = (part.manifest for part in self._parts)
            assert first.input == second.input == third.input
            self._manifest = first.model_copy(update={
                "image_classes": second.image_classes, "embedding_dim": third.embedding_dim,
            })  # fmt: skip
            self._input = np.zeros((1, 3, *first.input.size_hw), first.input.dtype)
            opened.pop_all()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def backend(self) -> str:
        return f"three networks, {self._parts[0].backend}"

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
        found, scene, every = (part.infer(images) for part in self._parts)
        assert every.embeddings is not None
        points = points_of(found.boxes_net[0], self._manifest.input.size_hw)
        return NetOutputs(
            found.boxes_net, found.scores, found.labels, every.embeddings[:, points],
            scene.image_probs,
        )  # fmt: skip

    def close(self) -> None:
        for part in self._parts:
            part.close()
