"""A re-identification network, given as ONNX, that says how objects look."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgemtl.errors import ModelError
from edgemtl.records import F32, U8
from edgemtl.train.data_config import TeacherConfig


class AppearanceTeacher:
    """Crops in, vectors out: one input [N, 3, h, w] float32, one output [N, D].

    RGB levels minus ``mean`` over ``std``, as ImageNet networks take them.
    """

    def __init__(self, config: TeacherConfig) -> None:
        import onnxruntime

        self.config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(config.model)
        if not path.is_file():
            raise ModelError(f"teachers: no file '{path}'", "name a .onnx file")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(f"teachers: ONNX Runtime cannot load '{path}': {error}") from error
        (shown, *more), outputs = self._session.get_inputs(), self._session.get_outputs()
        sides = shown.shape[2:] if len(shown.shape) == 4 else []
        fixed = len(sides) == 2 and all(isinstance(side, int) for side in sides)
        if more or not fixed or shown.shape[1] != 3 or len(outputs[0].shape) != 2:
            raise ModelError(
                f"teachers: '{path}' takes {shown.shape} and gives {outputs[0].shape}",
                "a re-identification network takes crops [N, 3, h, w] and gives vectors [N, D]",
            )
        self._name, self._size = shown.name, (int(sides[0]), int(sides[1]))
        self._one_by_one = shown.shape[0] == 1
        self._lock = threading.Lock()
        self.width = self._run(np.zeros((1, 3, *self._size), np.float32)).shape[1]

    def look(self, image: U8, boxes_src: F32, wanted: NDArray[np.bool_]) -> F32:
        """f32 [N, D] of unit length for the boxes [N, 4] that are ``wanted``, NaN for others."""
        looks = np.full((len(boxes_src), self.width), np.nan, np.float32)
        crops = {i: self._crop(image, boxes_src[i]) for i in np.flatnonzero(wanted)}
        seen = {i: crop for i, crop in crops.items() if crop is not None}
        if seen:
            with self._lock:
                vectors = self._run(np.stack(list(seen.values())))
            norm = np.linalg.norm(vectors, axis=1, keepdims=True)
            looks[list(seen)] = vectors / np.maximum(norm, 1e-12)
        return looks

    def _crop(self, image: U8, box: F32) -> F32 | None:
        """The box as the network takes it; None where it is thinner than a pixel."""
        x1, y1 = np.floor(np.maximum(box[:2], 0)).astype(int)
        x2, y2 = np.ceil(np.minimum(box[2:], image.shape[1::-1])).astype(int)
        if x2 - x1 < 1 or y2 - y1 < 1:
            return None
        size = (self._size[1], self._size[0])
        crop = cv2.resize(image[y1:y2, x1:x2], size, interpolation=cv2.INTER_LINEAR)
        rgb = crop[..., ::-1].astype(np.float32)
        scaled = (rgb - self.config.mean) / np.array(self.config.std)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)

    def _run(self, crops: F32) -> F32:
        if self._one_by_one:
            rows = [self._session.run(None, {self._name: crop[None]})[0] for crop in crops]
            return np.concatenate(rows)
        vectors: F32 = self._session.run(None, {self._name: crops})[0]
        return vectors
