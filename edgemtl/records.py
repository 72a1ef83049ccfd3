"""Value types that travel between rooms: validated once where they are made, then trusted.

Box arrays name their frame: ``boxes_src`` are x1, y1, x2, y2 in source (camera) pixels,
``boxes_net`` in network pixels. Sizes are ``(height, width)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgemtl.manifest import Manifest

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


_FLOAT32, _INT32, _INT64 = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.int64)
"""Made once: comparing a dtype with a scalar type makes one each time."""


def _expect(
    name: str, array: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int | None, ...]
) -> None:
    """Raise ValueError unless ``array`` has this dtype and shape (None matches any length)."""
    if array.shape == shape and array.dtype == dtype:  # the ordinary case, in a frame's time
        return
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        want = f"{dtype.name} {['any' if s is None else s for s in shape]}"
        raise ValueError(f"{name}: expected {want}, got {array.dtype.name} {list(array.shape)}")


@dataclass(frozen=True, slots=True)
class LetterboxGeometry:
    """How a source picture lies in the network input: net = src * scale_xy + pad_xy.

    ``scale_xy`` holds the two true ratios (resized size / source size), which differ by rounding.
    """

    src_hw: tuple[int, int]
    net_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    pad_xy: tuple[float, float]


@dataclass(frozen=True, slots=True)
class NetOutputs:
    """A batch of raw network outputs: views, valid until their slot is acquired again.

    boxes_net f32 [N, K, 4], scores f32 [N, K] sorted, labels i32 [N, K],
    embeddings f32 [N, K, D] unit length or None, image_probs f32 [N, C] or None; attributes: name
    -> probabilities f32 [N, K, V] of its values; further: output -> array [N, ...] of other tasks.
    """

    boxes_net: F32
    scores: F32
    labels: I32
    embeddings: F32 | None = None
    image_probs: F32 | None = None
    attributes: Mapping[str, F32] = field(default_factory=dict)
    further: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawOutputs(NetOutputs):
    """The same of an adopted detector, whose rows are still to be found: the fields above are
    empty, ``values`` f32 [N, ...] is the graph's output, and ``manifest`` says how to read it.
    """

    values: F32 = field(kw_only=True)
    manifest: Manifest = field(kw_only=True)


def named_outputs(tensors: Mapping[str, NDArray[Any]], manifest: Manifest) -> NetOutputs:
    """Outputs of the contract by name; a model without detection has no boxes, K = 0."""
    rows = len(next(iter(tensors.values())))
    if manifest.adopted is not None:
        none = np.zeros((rows, 0), np.float32)
        return RawOutputs(
            np.zeros((rows, 0, 4), np.float32),
            none,
            none.astype(np.int32),
            values=tensors[manifest.adopted.output],
            manifest=manifest,
        )
    boxes = tensors.get("boxes")
    return NetOutputs(
        np.zeros((rows, 0, 4), np.float32) if boxes is None else boxes,
        tensors.get("scores", np.zeros((rows, 0), np.float32)),
        tensors.get("labels", np.zeros((rows, 0), np.int32)),
        tensors.get("embeddings"),
        tensors.get("image_probs"),
        {a.name: tensors[a.output] for a in manifest.attributes},
        {o.name: tensors[o.name] for task in manifest.further for o in task.outputs},
    )


@dataclass(frozen=True, slots=True)
class Detections:
    """N objects of one frame: boxes_src f32 [N, 4], scores f32 [N], labels i32 [N], embeddings
    f32 [N, D] or None; attributes: name -> probabilities f32 [N, V] of its values."""

    boxes_src: F32
    scores: F32
    labels: I32
    embeddings: F32 | None = None
    attributes: Mapping[str, F32] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.boxes_src)
        _expect("boxes_src", self.boxes_src, _FLOAT32, (n, 4))
        _expect("scores", self.scores, _FLOAT32, (n,))
        _expect("labels", self.labels, _INT32, (n,))
        if self.embeddings is not None:
            _expect("embeddings", self.embeddings, _FLOAT32, (n, None))
        for name, probs in self.attributes.items():
            _expect(f"attributes['{name}']", probs, _FLOAT32, (n, None))

    def __len__(self) -> int:
        return len(self.boxes_src)

    def where(self, keep: NDArray[Any]) -> Detections:
        """The detections that a boolean mask or an index array keeps."""
        emb = None if self.embeddings is None else self.embeddings[keep]
        attributes = {name: probs[keep] for name, probs in self.attributes.items()}
        return Detections(
            self.boxes_src[keep], self.scores[keep], self.labels[keep], emb, attributes
        )

    @staticmethod
    def empty(embedding_dim: int | None = None) -> Detections:
        """No detections."""
        emb = None if embedding_dim is None else np.zeros((0, embedding_dim), np.float32)
        return Detections(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), emb
        )


@dataclass(frozen=True, slots=True)
class Tracks:
    """T confirmed tracks of one frame.

    track_ids i64 [T] from 1, boxes_src f32 [T, 4], scores f32 [T], labels i32 [T],
    det_index i32 [T]: the detection of this frame behind the track, -1 where it coasts;
    attributes: name -> probabilities f32 [T, V], gathered over the track's life.
    """

    track_ids: I64
    boxes_src: F32
    scores: F32
    labels: I32
    det_index: I32
    attributes: Mapping[str, F32] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t = len(self.track_ids)
        _expect("track_ids", self.track_ids, _INT64, (t,))
        _expect("boxes_src", self.boxes_src, _FLOAT32, (t, 4))
        _expect("scores", self.scores, _FLOAT32, (t,))
        _expect("labels", self.labels, _INT32, (t,))
        _expect("det_index", self.det_index, _INT32, (t,))
        for name, probs in self.attributes.items():
            _expect(f"attributes['{name}']", probs, _FLOAT32, (t, None))

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True, slots=True)
class Scene:
    """The image class: its label, and probs f32 [C] over all of them."""

    label: int
    probs: F32


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a stream. pixels: u8 [H, W, 3] BGR, possibly a strided view; or, of format
    ``nv12``, u8 [H * 3/2, W]: H rows of luma, then H/2 of interleaved U, V, in the limited range of
    ``matrix``.

    ``pts_ns`` is the media clock (motion uses it), ``captured_ns`` the monotonic clock at arrival
    (latency uses it). ``file`` is set for folders of images.
    """

    pixels: U8
    index: int
    pts_ns: int
    captured_ns: int
    stream: int = 0
    file: str | None = None
    format: Literal["bgr", "nv12"] = "bgr"
    matrix: Literal["bt601", "bt709"] = "bt601"

    @property
    def size_hw(self) -> tuple[int, int]:
        rows, width = (int(side) for side in self.pixels.shape[:2])
        return (rows * 2 // 3 if self.format == "nv12" else rows, width)


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What one pass found in one frame, and the nanoseconds that each stage took."""

    stream: int
    index: int
    pts_ns: int
    size_hw: tuple[int, int]
    scene: Scene | None
    detections: Detections
    tracks: Tracks
    stage_ns: dict[str, int] = field(default_factory=dict)
    file: str | None = None
