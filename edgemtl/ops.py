"""The Python face of the C kernels: pictures into network inputs, outputs into detections."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgemtl import _native
from edgemtl.manifest import InputSpec
from edgemtl.records import (
    F32,
    I32,
    U8,
    Detections,
    Frame,
    LetterboxGeometry,
    NetOutputs,
    RawOutputs,
)

_FASTEST = 0  # em_level of edgemtl.h
_Mapping = tuple[float, float, float, float, float, float]
_RAW_KINDS = {"yolox": 0, "yolov8": 2, "n6": 3}
_YOLOX_PIXELS = 1


def letterbox_geometry(
    src_hw: tuple[int, int],
    net_hw: tuple[int, int],
    align: Literal["center", "top_left"] = "center",
) -> LetterboxGeometry:
    """Where a picture lies in the network input: the largest size of its aspect ratio that fits.

    Raises ValueError for a size below one pixel.
    """
    place = _native.letterbox_geometry(*src_hw, *net_hw, align == "top_left")
    return _geometry(src_hw, net_hw, place)


def _geometry(
    src_hw: tuple[int, int], net_hw: tuple[int, int], place: tuple[int, int, int, int]
) -> LetterboxGeometry:
    top, left, height, width = place
    return LetterboxGeometry(
        src_hw=src_hw,
        net_hw=net_hw,
        scale_xy=(width / src_hw[1], height / src_hw[0]),
        pad_xy=(float(left), float(top)),
    )


def letterbox(image: U8, out: NDArray[Any], spec: InputSpec) -> LetterboxGeometry:
    """Resize (bilinear, as OpenCV's INTER_LINEAR), pad and convert one picture into ``out``.

    image: u8 [H, W, 3] BGR, rows at any stride (a crop or an upside-down view is fine). out:
    [3, h, w] of ``spec.dtype``, contiguous, written in place; typically one image of a session's
    input slot.
    Strong reductions are plain bilinear too: pixels between the sampled ones are not averaged.
    Raises TypeError and ValueError for other arrays.
    """
    place = _native.letterbox(image, *_target(out, spec))
    return _geometry((image.shape[0], image.shape[1]), spec.size_hw, place)


def letterbox_nv12(
    y: U8,
    uv: U8,
    out: NDArray[Any],
    spec: InputSpec,
    matrix: Literal["bt601", "bt709"] = "bt601",
) -> LetterboxGeometry:
    """``letterbox`` of an NV12 picture, as hardware decoders give it, straight into ``out``.

    y: u8 [H, W] luma. uv: u8 [H/2, W] interleaved U, V. Both at any row stride, H and W even,
    limited range (16 to 235, 16 to 240) of ITU-R BT.601 or BT.709.
    Chroma is interpolated between samples in the middle of their 2 x 2 pixels, where
    cv2.cvtColor(COLOR_YUV2BGR_NV12) repeats each; at colour edges the two differ.
    Raises TypeError and ValueError for other arrays.
    """
    if matrix not in ("bt601", "bt709"):
        raise ValueError(f"matrix: expected 'bt601' or 'bt709', got {matrix!r}")
    place = _native.letterbox_nv12(y, uv, matrix == "bt709", *_target(out, spec))
    return _geometry((y.shape[0], y.shape[1]), spec.size_hw, place)


def letterbox_frame(frame: Frame, out: NDArray[Any], spec: InputSpec) -> LetterboxGeometry:
    """The letterbox that fits the frame's format. Raises as they do."""
    if frame.format == "bgr":
        return letterbox(frame.pixels, out, spec)
    height = frame.size_hw[0]
    return letterbox_nv12(frame.pixels[:height], frame.pixels[height:], out, spec, frame.matrix)


def bgr_of(frame: Frame) -> U8:
    """The frame as u8 [H, W, 3] BGR: its own pixels where they are BGR already."""
    if frame.format == "bgr":
        return frame.pixels
    spec = InputSpec(size_hw=frame.size_hw, dtype="uint8", channels="bgr", offset=0)
    planes = np.empty((3, *frame.size_hw), np.uint8)
    letterbox_frame(frame, planes, spec)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _target(
    out: NDArray[Any], spec: InputSpec
) -> tuple[NDArray[Any], bool, float, float, int, bool, int]:
    """What the C letterboxes take after the picture. Raises ValueError if ``out`` is not right."""
    if out.dtype.name != spec.dtype or out.shape != (3, *spec.size_hw):
        raise ValueError(
            f"out: expected {spec.dtype} {[3, *spec.size_hw]}, got {out.dtype.name} "
            f"{list(out.shape)}"
        )
    rgb, top_left = spec.channels == "rgb", spec.align == "top_left"
    return out, rgb, spec.scale, spec.offset, spec.pad, top_left, _FASTEST


def _mapping(geometry: LetterboxGeometry) -> _Mapping:
    return (
        *geometry.scale_xy,
        *geometry.pad_xy,
        float(geometry.src_hw[1]),
        float(geometry.src_hw[0]),
    )


def boxes_to_net(boxes_src: F32, geometry: LetterboxGeometry) -> F32:
    """Boxes f32 [N, 4] xyxy from source to network pixels. NaN stays NaN."""
    boxes = np.ascontiguousarray(boxes_src, np.float32)
    out = np.empty_like(boxes)
    _native.boxes_to_net(boxes, _mapping(geometry), out)
    return out


def boxes_to_src(boxes_net: F32, geometry: LetterboxGeometry) -> F32:
    """Boxes f32 [N, 4] xyxy from network to source pixels, clipped to the picture."""
    boxes = np.ascontiguousarray(boxes_net, np.float32)
    out = np.empty_like(boxes)
    _native.boxes_to_src(boxes, _mapping(geometry), out)
    return out


def decode(
    outputs: NetOutputs, n: int, geometry: LetterboxGeometry, min_score: float
) -> Detections:
    """Picture ``n`` of a batch of outputs as detections in source pixels, best first.

    Dropped: scores below ``min_score``, anything that is not finite, boxes without area inside the
    picture. Embedding and attributes of a row with one that is not finite are zeros. The arrays are
    copies and outlive the session's slot. An adopted detector's output is
    thresholded and suppressed here: at most 4096 candidates, the best by score, and top_k results.
    """
    if isinstance(outputs, RawOutputs):
        return _detect(outputs, n, geometry, min_score)
    count = outputs.boxes_net.shape[1]
    boxes, scores = np.empty((count, 4), np.float32), np.empty(count, np.float32)
    labels = np.empty(count, np.int32)
    # what is told of an object travels with it as one row
    # (embeddings of a network without boxes belong to no detection)
    parts = [] if outputs.embeddings is None else [outputs.embeddings[n][:count]]
    parts += [probs[n] for probs in outputs.attributes.values()]
    told_in = np.ascontiguousarray(_joined(parts)) if parts else None
    told = None if told_in is None else np.empty_like(told_in)
    kept = _native.decode(
        np.ascontiguousarray(outputs.boxes_net[n]),
        np.ascontiguousarray(outputs.scores[n]),
        np.ascontiguousarray(outputs.labels[n]),
        told_in,
        _mapping(geometry),
        min_score,
        boxes,
        scores,
        labels,
        told,
    )
    if told is None or not outputs.attributes:
        return Detections(
            boxes[:kept], scores[:kept], labels[:kept], None if told is None else told[:kept]
        )
    columns = np.split(told[:kept], np.cumsum([p.shape[1] for p in parts])[:-1], axis=1)
    emb = None if outputs.embeddings is None else np.ascontiguousarray(columns.pop(0))
    attributes = dict(zip(outputs.attributes, map(np.ascontiguousarray, columns), strict=True))
    return Detections(boxes[:kept], scores[:kept], labels[:kept], emb, attributes)


def _joined(parts: list[F32]) -> F32:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)


def _detect(
    outputs: RawOutputs, n: int, geometry: LetterboxGeometry, min_score: float
) -> Detections:
    """Picture ``n`` of an adopted detector's outputs as detections in source pixels."""
    manifest, adopted = outputs.manifest, outputs.manifest.adopted
    if adopted is None:
        raise ValueError(f"outputs: expected those of an adopted detector, got '{manifest.decode}'")
    kind = _RAW_KINDS[manifest.decode]
    most = min(manifest.top_k, adopted.anchors)
    boxes, scores = np.empty((most, 4), np.float32), np.empty(most, np.float32)
    labels = np.empty(most, np.int32)
    found = _native.detect(
        _YOLOX_PIXELS if manifest.decode == "yolox" and not adopted.grid else kind,
        np.ascontiguousarray(outputs.values[n], np.float32),
        len(manifest.classes),
        *geometry.net_hw,
        _mapping(geometry),
        min_score,
        1.0 if adopted.nms_iou is None else adopted.nms_iou,
        adopted.class_agnostic,
        most,
        boxes,
        scores,
        labels,
    )
    return Detections(boxes[:found], scores[:found], labels[:found])


def select(outputs: RawOutputs, min_score: float) -> NetOutputs:
    """An adopted detector's outputs as those of a network that selects: K = top_k rows a picture,
    sorted, boxes clipped to the network's input; rows that are not filled have score 0.
    """
    batch, size_hw = len(outputs.values), outputs.manifest.input.size_hw
    same = letterbox_geometry(size_hw, size_hw)
    boxes = np.zeros((batch, outputs.manifest.top_k, 4), np.float32)
    scores = np.zeros(boxes.shape[:2], np.float32)
    labels = np.zeros(boxes.shape[:2], np.int32)
    for n in range(batch):
        found = _detect(outputs, n, same, min_score)
        boxes[n, : len(found)], scores[n, : len(found)] = found.boxes_src, found.scores
        labels[n, : len(found)] = found.labels
    return NetOutputs(boxes, scores, labels)


def nms(
    boxes: F32,
    scores: F32,
    labels: I32 | None,
    iou: float,
    max_out: int | None = None,
) -> I32:
    """Rows that greedy non-maximum suppression keeps, i32, best score first.

    boxes f32 [N, 4] xyxy, scores f32 [N], labels i32 [N]: only boxes of one label suppress each
    other; None: all do. A box goes if its IoU with a better one is above ``iou`` (from 1: none
    goes); of equal scores the lower row is better. Rows that are not finite or have no area are
    never kept. Raises ValueError for arrays of unlike length.
    """
    boxes = np.ascontiguousarray(boxes, np.float32)
    keep = np.empty(len(boxes), np.int32)
    kinds = np.zeros(len(boxes), np.int32) if labels is None else labels
    kept = _native.nms(
        boxes,
        np.ascontiguousarray(scores, np.float32),
        np.ascontiguousarray(kinds, np.int32),
        iou,
        labels is None,
        len(boxes) if max_out is None else max_out,
        keep,
    )
    return keep[:kept]


def iou_matrix(a: F32, b: F32) -> F32:
    """Intersection over union f32 [N, M] of boxes [N, 4] and [M, 4]; 0 for degenerate ones."""
    out = np.empty((len(a), len(b)), np.float32)
    _native.iou(np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b, np.float32), out)
    return out
