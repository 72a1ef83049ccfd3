"""One picture in, everything out: the blocking convenience over a session."""

from __future__ import annotations

import numpy as np

from edgemtl import ops
from edgemtl.engine.session import Session
from edgemtl.engine.slots import give_back
from edgemtl.records import U8, Detections, LetterboxGeometry, NetOutputs, Scene


def read_scene(outputs: NetOutputs, n: int) -> Scene | None:
    """The image class of picture ``n`` of a batch, or None if the model has none."""
    if outputs.image_probs is None:
        return None
    probs = np.array(outputs.image_probs[n], np.float32)
    return Scene(int(probs.argmax()), probs)


class Predictor:
    """Letterbox, network and decoding of single pictures."""

    def __init__(self, session: Session, min_score: float | None = None) -> None:
        """``min_score`` of detections; default the model's own."""
        self.session = session
        self.min_score = session.manifest.min_score if min_score is None else min_score

    def predict(self, image: U8) -> tuple[Scene | None, Detections]:
        """Scene and detections (source pixels, best first) of a picture u8 [H, W, 3] BGR."""
        outputs, geometry = self.outputs(image)
        return read_scene(outputs, 0), ops.decode(outputs, 0, geometry, self.min_score)

    def outputs(self, image: U8) -> tuple[NetOutputs, LetterboxGeometry]:
        """The raw outputs, valid until the session's slot comes round again.

        Raises TypeError and ValueError for an array that is no such picture.
        """
        slot = self.session.acquire()
        try:
            spec = self.session.manifest.input
            geometry = ops.letterbox(image, self.session.input(slot)[0], spec)
        except (TypeError, ValueError):
            give_back(self.session, slot)
            raise
        return self.session.collect(self.session.submit(slot, 1)), geometry
