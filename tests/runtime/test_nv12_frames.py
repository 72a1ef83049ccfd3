"""Frames in a decoder's own format, NV12, through the run and its sinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_files import pictures

from edgemtl import ops
from edgemtl.engine.ort import OrtSession
from edgemtl.manifest import InputSpec
from edgemtl.records import Frame, FrameResult
from edgemtl.runtime.pipeline import PipelineConfig, run_pipeline
from edgemtl.runtime.sink import VideoSink


def _nv12(bgr: np.ndarray) -> np.ndarray:
    height, width = bgr.shape[:2]
    i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    chroma = i420[height:].reshape(2, -1)
    return np.concatenate([i420[:height], chroma.T.reshape(height // 2, width)])


class Decoder:
    """A source of NV12 frames in memory."""

    fps, dropped, warning, length, live = 25.0, 0, None, 6, False

    def __iter__(self) -> Iterator[Frame]:
        for n, picture in enumerate(pictures(6)):
            yield Frame(_nv12(picture), n, n * 40_000_000, 0, format="nv12")

    def close(self) -> None:
        """Nothing is open."""


class Collect:
    def __init__(self) -> None:
        self.results: list[FrameResult] = []

    def write(self, frame: Frame, result: FrameResult) -> None:
        self.results.append(result)

    def close(self) -> None:
        """Nothing is open."""


def test_results_and_video(session: OrtSession, tmp_path: Path) -> None:
    sink, video = Collect(), VideoSink(tmp_path / "out.avi", 25.0)
    assert run_pipeline(session, Decoder(), [sink, video], PipelineConfig(0.0)).frames == 6
    video.close()
    height, width = pictures(1)[0].shape[:2]
    for frame, result in zip(Decoder(), sink.results, strict=True):
        assert result.size_hw == frame.size_hw == (height, width)
        planes = np.zeros((1, 3, *session.manifest.input.size_hw), np.int8)
        y, uv = frame.pixels[:height], frame.pixels[height:]
        geometry = ops.letterbox_nv12(y, uv, planes[0], session.manifest.input)
        want = ops.decode(session.infer(planes), 0, geometry, 0.0)
        np.testing.assert_array_equal(result.detections.boxes_src, want.boxes_src)
        np.testing.assert_array_equal(result.detections.scores, want.scores)
    opened = cv2.VideoCapture(str(tmp_path / "out.avi"))
    good, drawn = opened.read()
    opened.release()
    assert good
    assert drawn.shape == (height, width, 3)


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_frame_letterbox_and_bgr(matrix: str) -> None:
    picture = pictures(1)[0]
    plain = Frame(picture, 0, 0, 0)
    assert ops.bgr_of(plain) is picture
    frame = dataclasses.replace(plain, pixels=_nv12(picture), format="nv12", matrix=matrix)
    bgr = ops.bgr_of(frame)
    assert bgr.shape == picture.shape
    assert bgr.flags.c_contiguous
    height = frame.size_hw[0]
    spec = InputSpec(size_hw=(40, 56), channels="rgb")
    outs = np.zeros((3, 3, 40, 56), np.int8)
    ops.letterbox_frame(frame, outs[0], spec)
    ops.letterbox_nv12(frame.pixels[:height], frame.pixels[height:], outs[1], spec, frame.matrix)
    assert np.array_equal(outs[0], outs[1])
    ops.letterbox_frame(plain, outs[1], spec)
    ops.letterbox(picture, outs[2], spec)
    assert np.array_equal(outs[1], outs[2])
    if matrix == "bt601":
        assert np.abs(bgr.astype(int) - picture).mean() < 12


@pytest.mark.parametrize("shape", [(9, 5), (10, 4), (2, 4), (12, 4, 3), (12,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    frame = Frame(np.zeros(shape, np.uint8), 0, 0, 0, format="nv12")
    spec = InputSpec(size_hw=(8, 8))
    with pytest.raises((TypeError, ValueError)):
        ops.letterbox_frame(frame, np.zeros((3, 8, 8), np.int8), spec)
