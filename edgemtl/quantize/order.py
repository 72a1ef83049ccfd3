"""Whether calibration pictures have red and blue in the order that the network was trained for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgemtl.manifest import Manifest
from edgemtl.metrics.boxes import F64
from edgemtl.progress import track
from edgemtl.quantize.collect import infer, open_onnx
from edgemtl.quantize.scales import Oddity
from edgemtl.records import NetOutputs

_CHANCE = 1e-3
"""Of so many pictures speaking for the other order, if neither were better."""


def check_order(
    model: onnx.ModelProto, manifest: Manifest, batches: Iterable[NDArray[Any]], threads: int = 0
) -> tuple[Oddity, ...]:
    """An oddity if the float model is surer of what it sees with red and blue exchanged.

    A network sees more objects, and is surer of them, in colours that it was trained on. Each
    picture votes (a sign test); pictures that look alike in both orders do not.
    """
    session = open_onnx(model, threads=threads)
    given: list[float] = []
    swapped: list[float] = []
    for batch in track(batches, "comparing the order of colours"):
        for images, sure in ((batch, given), (np.ascontiguousarray(batch[:, ::-1]), swapped)):
            sure += _sureness(infer(session, manifest, images), manifest).tolist()
    against = sum(b > a for a, b in zip(given, swapped, strict=True))
    votes = against + sum(a > b for a, b in zip(given, swapped, strict=True))
    if sum(swapped) <= sum(given) or chance(against, votes) >= _CHANCE:
        return ()
    what = (
        f"the model is surer of what it sees with red and blue exchanged in {against} of {votes} "
        "pictures: are they in another order here than where it is run?"
    )
    return (Oddity("images", what),)


def chance(wins: int, votes: int) -> float:
    """The probability of at least so many wins in fair votes."""
    return sum(math.comb(votes, k) for k in range(wins, votes + 1)) / 2.0**votes


def _sureness(said: NetOutputs, manifest: Manifest) -> F64:
    """Per picture: the sum of the scores that count, or the largest probability; f64 [N]."""
    if "detect" in manifest.tasks:
        scores = np.where(said.scores >= manifest.min_score, said.scores, 0.0)
        return np.asarray(scores.sum(1), np.float64)
    if said.image_probs is not None:
        return np.asarray(said.image_probs.max(1), np.float64)
    return np.zeros(len(said.scores))
