"""Does float16 hold what a network computes? Asked of the float32 graph, on real pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemtl.errors import CalibrationError, EngineError
from edgemtl.graph.features import feature_nodes
from edgemtl.graph.file import load_model
from edgemtl.graph.fp16 import LARGEST
from edgemtl.graph.index import GraphIndex
from edgemtl.progress import track
from edgemtl.quantize.collect import open_onnx, watch
from edgemtl.quantize.images import ImageBatches, ImageSource, split_images

_PICTURES = 200


@dataclass(frozen=True, slots=True)
class Headroom:
    """``largest``: magnitude of the largest activation seen, in the tensor ``tensor``."""

    tensor: str
    largest: float
    pictures: int

    def text(self) -> str:
        """One line for people."""
        return (
            f"float16: largest activation over {self.pictures} pictures {self.largest:.4g} "
            f"('{self.tensor}'), {LARGEST / self.largest:.0f} times below its limit"
        )


def require_fits(model: Path, images: ImageSource, limit: int = _PICTURES) -> Headroom:
    """The room that float16 leaves the features of a float32 model, over evenly spread pictures.

    Raises EngineError, naming the tensor and the picture, for an activation beyond float16 or not
    finite; CalibrationError without pictures or for a model that is not float32; DataError for
    pictures that cannot be read.
    """
    graph, manifest = load_model(model)
    if manifest.precision != "fp32":
        raise CalibrationError(
            f"{model}: expected the float32 model, this one is {manifest.precision}",
            "name the model that it was made from, or leave --images out",
        )
    names = [node.output[0] for node in feature_nodes(GraphIndex(graph))]
    chosen = split_images(len(images), limit, 0).calibrate
    session = open_onnx(watch(graph, names))
    entry, found = session.get_inputs()[0].name, Headroom("none", 1e-30, len(chosen))
    batches = ImageBatches(images, chosen, manifest.input)
    for index, batch in zip(chosen, track(batches, "float16 range", len(chosen)), strict=True):
        for name, value in zip(names, session.run(names, {entry: batch}), strict=True):
            largest = float(np.abs(value).max(initial=0.0))
            if not largest <= LARGEST:
                raise EngineError(
                    f"fp16: '{name}' reaches {largest:.4g} on '{images.file(index)}', float16 ends "
                    f"at {LARGEST:g}",
                    "build fp32 or int8 of this model",
                )
            if largest > found.largest:
                found = Headroom(name, largest, len(chosen))
    return found
