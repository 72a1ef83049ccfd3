"""Does the exported graph say what the network says? Judged on every output, before writing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgemtl.errors import ModelError
from edgemtl.manifest import Manifest
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.nn.session import TorchSession
from edgemtl.records import F32, NetOutputs, named_outputs

_IMAGES = 4


@dataclass(slots=True)
class Differences:
    """The largest ones; ``further`` by an output's name, as a part of its largest value."""

    box_px: float = 0.0
    score: float = 0.0
    embedding: float = 0.0
    attribute: float = 0.0
    image_prob: float = 0.0
    further: dict[str, float] = field(default_factory=dict)


_TOLERANCES = Differences(0.05, 1e-3, 1e-3, 1e-3, 1e-3)
_FURTHER_TOLERANCE = 1e-3


def check_parity(
    network: MultiTaskNetwork, model: onnx.ModelProto, manifest: Manifest, out: Path
) -> Differences:
    """Torch against ONNX Runtime on seeded pictures. Raises ModelError if they disagree.

    Candidates are matched by box, not by index: equal scores may come in any order.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    images = _pictures(manifest)
    ours = TorchSession(network, manifest).infer(images)
    names = list(manifest.expected_outputs())
    values = session.run(names, {"images": images})
    theirs = named_outputs(dict(zip(names, values, strict=True)), manifest)
    found = _differences(ours, theirs, _by_candidate(manifest))
    seen = {**asdict(found), **found.further}
    allowed = {**asdict(_TOLERANCES), **dict.fromkeys(found.further, _FURTHER_TOLERANCE)}
    for what in (name for name in seen if name != "further"):
        if not seen[what] <= allowed[what]:
            raise ModelError(
                f"export: torch and ONNX Runtime differ in {what} by {seen[what]:.3g} "
                f"(tolerance {allowed[what]:g}); '{out}' was not written",
                "report this with the versions of torch and onnxruntime",
            )
    return found


def _pictures(manifest: Manifest) -> NDArray[np.int8]:
    """Seeded smooth noise: every level of the pyramid sees structure."""
    rng = np.random.default_rng(0)
    h, w = manifest.input.size_hw
    coarse = rng.integers(-128, 128, (_IMAGES, 3, h // 16, w // 16))
    fine = rng.integers(-24, 25, (_IMAGES, 3, h, w))
    smooth = np.kron(coarse, np.ones((16, 16), np.int64))
    levels: NDArray[np.int8] = np.clip(smooth + fine, -128, 127).astype(np.int8)
    return levels


def _by_candidate(manifest: Manifest) -> set[str]:
    """Further outputs with a row for each candidate, which are matched as these are."""
    return {o.name for t in manifest.further for o in t.outputs if o.shape[:1] == ("K",)}


def _differences(ours: NetOutputs, theirs: NetOutputs, by_candidate: set[str]) -> Differences:
    found = Differences()
    found.score = float(np.abs(ours.scores - theirs.scores).max(initial=0.0))
    for n in range(len(ours.scores) if ours.scores.size else 0):
        gap = np.abs(ours.boxes_net[n][:, None] - theirs.boxes_net[n][None]).max(-1)
        partner = gap.argmin(1)
        # the last candidates may tie with points that were cut off: judge those clear of them
        sure = ours.scores[n] > ours.scores[n][-1] + 2 * found.score
        found.box_px = max(found.box_px, float(gap.min(1)[sure].max(initial=0.0)))
        for field_name, a, b in _told(ours, theirs):
            apart = _worst(a[n][sure], b[n][partner][sure])
            setattr(found, field_name, max(getattr(found, field_name), apart))
        for name in by_candidate:
            a, b = ours.further[name][n][sure], theirs.further[name][n][partner][sure]
            found.further[name] = max(found.further.get(name, 0.0), _share(a, b))
    if ours.embeddings is not None and theirs.embeddings is not None and not ours.scores.size:
        found.embedding = _worst(ours.embeddings, theirs.embeddings)
    if ours.image_probs is not None and theirs.image_probs is not None:
        found.image_prob = _worst(ours.image_probs, theirs.image_probs)
    for name in ours.further.keys() - by_candidate:
        found.further[name] = _share(ours.further[name], theirs.further[name])
    return found


def _told(ours: NetOutputs, theirs: NetOutputs) -> Iterator[tuple[str, F32, F32]]:
    """What is told of each candidate in [0, 1]: the field of ``Differences``, and both arrays."""
    if ours.embeddings is not None and theirs.embeddings is not None:
        yield "embedding", ours.embeddings, theirs.embeddings
    for name in ours.attributes:
        yield "attribute", ours.attributes[name], theirs.attributes[name]


def _worst(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0))


def _share(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Against the largest value, at least 1."""
    return _worst(a, b) / max(1.0, float(np.abs(a.astype(np.float64)).max(initial=0.0)))
