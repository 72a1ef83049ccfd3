"""Outputs read back: JSON Lines, MOTChallenge text, videos; and what a failure leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_files import pictures, write_folder

from edgemtl.engine.ort import OrtSession
from edgemtl.errors import OutputError
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.records import Detections, Frame, FrameResult, Scene, Tracks
from edgemtl.runtime.pipeline import PipelineConfig, run_pipeline
from edgemtl.runtime.sink import JsonlSink, MotSink, ShowSink, VideoSink, result_to_dict
from edgemtl.runtime.source import open_source
from edgemtl.track import TrackerConfig
from edgemtl.track_file import read_mot

MANIFEST = Manifest(
    name="m",
    input=InputSpec(size_hw=(32, 64)),
    classes=("person", "car"),
    image_classes=("street", "field"),
)


def _frame(index: int, size_hw: tuple[int, int] = (48, 96), file: str | None = None) -> Frame:
    picture = cv2.resize(pictures(12)[index % 12], size_hw[::-1])
    return Frame(np.asarray(picture, np.uint8), index, index * 40_000_000, 0, file=file)


def _result(index: int, *, tracks: int = 2, **kw: Any) -> FrameResult:
    """Two detections, and tracks that follow the first of them."""
    ids = np.arange(1, tracks + 1)
    fields = {
        "stream": 0,
        "index": index,
        "pts_ns": index * 40_000_000,
        "size_hw": (48, 96),
        "scene": Scene(1, np.array([0.123456, 0.876544], np.float32)),
        "detections": Detections(
            np.array([[1.234, 2, 30.5, 40.004], [5, 6, 7, 8]], np.float32),
            np.array([0.912341, 0.5], np.float32),
            np.array([1, 0], np.int32),
        ),
        "tracks": Tracks(
            ids.astype(np.int64),
            np.stack([10 * ids, ids, 10 * ids + 8.25, ids + 20], 1).astype(np.float32),
            np.full(tracks, 0.75, np.float32),
            np.ones(tracks, np.int32),
            np.where(ids == 1, 0, -1).astype(np.int32),
        ),
    }
    return FrameResult(**{**fields, **kw})


def test_the_schema_of_a_line(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    sink = JsonlSink(out, MANIFEST)
    sink.write(_frame(3), _result(3, tracks=1))
    sink.write(_frame(4), _result(4, tracks=0, scene=None, detections=Detections.empty()))
    sink.write(_frame(5), _result(5, tracks=0, file="pictures/5.png", stream=2))
    sink.close()
    text = out.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    first, second, third = (json.loads(line) for line in text.splitlines())
    assert first == {
        "stream": 0,
        "index": 3,
        "pts_ns": 120_000_000,
        "size_hw": [48, 96],
        "scene": {"label": 1, "name": "field", "probs": [0.12346, 0.87654]},
        "detections": [
            {"box_src": [1.23, 2.0, 30.5, 40.0], "score": 0.91234, "label": 1, "name": "car"},
            {"box_src": [5.0, 6.0, 7.0, 8.0], "score": 0.5, "label": 0, "name": "person"},
        ],
        "tracks": [
            {
                "id": 1,
                "box_src": [10.0, 1.0, 18.25, 21.0],
                "score": 0.75,
                "label": 1,
                "name": "car",
                "det_index": 0,
            }
        ],
    }
    assert list(first) == [
        "stream", "index", "pts_ns", "size_hw", "scene", "detections", "tracks",
    ]  # fmt: skip
    assert second == {**first, "index": 4, "pts_ns": 160_000_000, "scene": None,
                      "detections": [], "tracks": []}  # fmt: skip
    assert (third["file"], third["stream"]) == ("pictures/5.png", 2)
    assert set(third) == {*first, "file"}


def test_labels_that_the_manifest_does_not_name() -> None:
    odd = _result(0)
    odd.detections.labels[:] = [2, -1]
    scene = Scene(5, np.zeros(6, np.float32))
    entry = result_to_dict(_result(0, scene=scene, detections=odd.detections), MANIFEST)
    assert [found["name"] for found in entry["detections"]] == ["2", "-1"]
    assert entry["scene"]["name"] == "5"


def test_a_folders_run_names_each_file(session: OrtSession, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 4)
    out = tmp_path / "out.jsonl"
    with closing(open_source(str(folder))) as source, closing(JsonlSink(out, MANIFEST)) as sink:
        run_pipeline(session, source, [sink], PipelineConfig(0.0))
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["file"] for line in lines] == [str(folder / f"{i:03d}.png") for i in range(4)]


def test_mot_text_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    sink = MotSink(out)
    for index, tracks in ((0, 2), (1, 0), (2, 3)):
        sink.write(_frame(index), _result(index, tracks=tracks))
    sink.close()
    assert all(line.count(",") == 9 for line in out.read_text(encoding="utf-8").splitlines())
    found = read_mot(out)
    assert found.frame.tolist() == [1, 1, 3, 3, 3]
    assert found.ids.tolist() == [1, 2, 1, 2, 3]
    np.testing.assert_allclose(found.at(3).boxes_src, _result(2, tracks=3).tracks.boxes_src)
    np.testing.assert_allclose(found.scores, 0.75)


def test_mot_text_of_a_run_is_what_the_tracker_said(
    session: OrtSession, clip: Path, tmp_path: Path
) -> None:
    eager = TrackerConfig(birth_score=0.3, strong_score=0.3, confirm_score=0.5)
    outputs = tmp_path / "out.txt", tmp_path / "out.jsonl"
    with (
        closing(open_source(str(clip))) as source,
        closing(MotSink(outputs[0])) as mot,
        closing(JsonlSink(outputs[1], session.manifest)) as jsonl,
    ):
        run_pipeline(session, source, [mot, jsonl], PipelineConfig(0.0, tracker=eager))
    found = read_mot(outputs[0])
    lines = [json.loads(line) for line in outputs[1].read_text(encoding="utf-8").splitlines()]
    assert len(found.frame) > 10
    for line in lines:
        here = found.at(line["index"] + 1)
        assert here.ids.tolist() == [track["id"] for track in line["tracks"]]
        boxes = np.array([track["box_src"] for track in line["tracks"]]).reshape(-1, 4)
        np.testing.assert_allclose(here.boxes_src, boxes, atol=0.02)


def _read_video(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames, fps


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".WEBM"])
@pytest.mark.parametrize("size_hw", [(48, 96), (49, 97)])
def test_videos_open_again_with_all_frames(
    tmp_path: Path, suffix: str, size_hw: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out{suffix}"
    sink = VideoSink(out, 12.5, MANIFEST)
    for index in range(9):
        found = _result(index, tracks=0, scene=None, detections=Detections.empty())
        sink.write(_frame(index, size_hw), found)
    sink.close()
    frames, fps = _read_video(out)
    assert len(frames) == 9
    assert fps == pytest.approx(12.5, rel=0.01)
    for index, frame in enumerate(frames):
        assert frame.shape == (48, 96, 3)
        assert np.abs(frame.astype(int) - _frame(index).pixels).mean() < 12
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert "not supported" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("times_s", "levels"),
    [
        ((0.0, 0.1, 0.2), (0, 1, 2)),
        ((0.0, 0.3, 0.4), (0, 0, 0, 1, 2)),  # two frames were dropped
        ((0.0, 0.02, 0.1), (0, 2)),  # one came early
        ((5.0, 5.1), (0, 1)),
        ((0.0, 60.0, 60.1), (*[0] * 101, 1, 2)),  # an outage of a minute
    ],
)
def test_a_cameras_video_keeps_its_pace(
    tmp_path: Path, times_s: tuple[float, ...], levels: tuple[int, ...]
) -> None:
    sink = VideoSink(tmp_path / "out.avi", 10.0, paced=True)
    for index, time_s in enumerate(times_s):
        pixels = np.full((48, 96, 3), 80 * index, np.uint8)
        found = replace(_result(index), pts_ns=round(time_s * 1e9), scene=None,
                        tracks=_result(index, tracks=0).tracks,
                        detections=Detections.empty())  # fmt: skip
        sink.write(replace(_frame(index), pixels=pixels), found)
    sink.close()
    frames, _ = _read_video(tmp_path / "out.avi")
    assert [round(float(frame.mean()) / 80) for frame in frames] == list(levels)


def test_a_video_that_did_not_fit_is_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV's writers do not say that a disk is full."""
    out = tmp_path / "out.avi"
    out.write_bytes(b"an earlier one")

    plain = cv2.VideoWriter

    class Full:
        fourcc = plain.fourcc

        def __init__(self, *arguments: Any) -> None:
            self._writer = plain(*arguments)
            self.isOpened, self.release = self._writer.isOpened, self._writer.release

        def write(self, image: np.ndarray) -> None:
            if not image[0, 0, 0]:
                self._writer.write(image)

    monkeypatch.setattr(cv2, "VideoWriter", Full)
    sink = VideoSink(out, 25.0)
    for index in range(9):
        pixels = np.full((48, 96, 3), 9 * (index > 2), np.uint8)
        nothing = _result(index, tracks=0, scene=None, detections=Detections.empty())
        sink.write(replace(_frame(index), pixels=pixels), nothing)
    with pytest.raises(OutputError, match="3 of 9 frames arrived"):
        sink.close()
    assert out.read_bytes() == b"an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == ["out.avi"]


def test_a_video_keeps_the_size_of_its_first_frame(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.avi", 25.0)
    for index, size in enumerate([(48, 96), (24, 48), (100, 30)]):
        sink.write(_frame(index, size), _result(index))
    sink.close()
    frames, _ = _read_video(tmp_path / "out.avi")
    assert [frame.shape for frame in frames] == [(48, 96, 3)] * 3


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_pictures_too_small_for_a_codec(tmp_path: Path, suffix: str) -> None:
    sink = VideoSink(tmp_path / f"out{suffix}", 25.0)
    for index in range(3):
        sink.write(_frame(index, (1, 17)), _result(index))
    sink.close()
    frames, _ = _read_video(tmp_path / f"out{suffix}")
    assert [frame.shape for frame in frames] == [(2, 16, 3)] * 3


def test_the_annotated_video_shows_the_boxes(tmp_path: Path) -> None:
    frame = Frame(np.zeros((96, 192, 3), np.uint8), 0, 0, 0)
    for suffix in (".webm", ".mp4", ".avi"):
        sink = VideoSink(tmp_path / f"out{suffix}", 25.0, MANIFEST)
        sink.write(frame, _result(0))
        sink.close()
        (shown,), _ = _read_video(tmp_path / f"out{suffix}")
        assert shown[5:35, 5:30].max() > 100
        assert shown[60:, 100:].max() < 40


Make = Callable[[Path], Any]
SINKS: dict[str, tuple[str, Make]] = {
    "jsonl": ("out.jsonl", lambda path: JsonlSink(path, MANIFEST)),
    "mot": ("out.txt", MotSink),
    "webm": ("out.webm", lambda path: VideoSink(path, 25.0)),
    "mp4": ("out.mp4", lambda path: VideoSink(path, 25.0)),
}
ALL = pytest.mark.parametrize("kind", SINKS)


@ALL
def test_nothing_has_its_name_before_it_is_whole(tmp_path: Path, kind: str) -> None:
    name, make = SINKS[kind]
    out = tmp_path / name
    out.write_text("from an earlier run", encoding="utf-8")
    sink = make(out)
    for index in range(3):
        sink.write(_frame(index), _result(index))
        assert out.read_text(encoding="utf-8") == "from an earlier run"
    sink.close()
    assert out.read_bytes() != b"from an earlier run"
    written = out.read_bytes()
    sink.close()
    assert out.read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == [name]


@ALL
def test_a_run_without_a_frame_leaves_nothing(tmp_path: Path, kind: str) -> None:
    name, make = SINKS[kind]
    sink = make(tmp_path / name)
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []


@ALL
def test_an_earlier_result_survives_a_run_without_a_frame(tmp_path: Path, kind: str) -> None:
    name, make = SINKS[kind]
    (tmp_path / name).write_text("from an earlier run", encoding="utf-8")
    make(tmp_path / name).close()
    assert (tmp_path / name).read_text(encoding="utf-8") == "from an earlier run"
    assert len(list(tmp_path.iterdir())) == 1


@ALL
@pytest.mark.parametrize("where", ["absent", "file", "folder"])
def test_what_cannot_be_written(tmp_path: Path, kind: str, where: str) -> None:
    name, make = SINKS[kind]
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    (tmp_path / name).mkdir()
    target = tmp_path / name if where == "folder" else tmp_path / where / name
    with pytest.raises(OutputError) as caught:
        make(target)
    assert caught.value.hint
    assert {path.name for path in tmp_path.iterdir()} == {"file", name}


@ALL
def test_a_folder_that_vanishes_during_the_run(tmp_path: Path, kind: str) -> None:
    name, make = SINKS[kind]
    folder = tmp_path / "results"
    folder.mkdir()
    sink = make(folder / name)
    sink.write(_frame(0), _result(0))
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match="cannot write") as caught:
        sink.close()
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("kind", ["jsonl", "mot"])
def test_a_full_disk(tmp_path: Path, kind: str) -> None:
    name, make = SINKS[kind]
    sink = make(tmp_path / name)
    sink._file.close()
    sink._file = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    for _ in range(2):
        with pytest.raises(OutputError, match="No space left") as caught:
            sink.write(_frame(0), _result(0))
    assert caught.value.hint
    with pytest.raises(OutputError, match="No space left"):
        sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_lines_are_readable_before_the_end(tmp_path: Path) -> None:
    """A run that is killed leaves its temporary file, whole up to the last frame."""
    sink = JsonlSink(tmp_path / "out.jsonl", MANIFEST)
    for index in range(3):
        sink.write(_frame(index), _result(index))
        (temporary,) = tmp_path.iterdir()
        lines = temporary.read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["index"] for line in lines] == list(range(index + 1))
    sink.close()


def test_a_failed_run_keeps_what_was_written(session: OrtSession, tmp_path: Path) -> None:
    class Broken:
        fps, length, live, dropped, warning = 25.0, None, False, 0, None

        def __iter__(self) -> Any:
            for index in range(8):
                yield _frame(index)
            raise RuntimeError("the camera is gone")

        def close(self) -> None:
            """Nothing is open."""

    out = tmp_path / "out.jsonl"
    with closing(JsonlSink(out, MANIFEST)) as sink, pytest.raises(RuntimeError, match="camera"):
        run_pipeline(session, Broken(), [sink], PipelineConfig())
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))
    assert [path.name for path in tmp_path.iterdir()] in ([], ["out.jsonl"])


def test_formats_that_are_no_video(tmp_path: Path) -> None:
    for name in ("out.gif", "out", "out.jsonl"):
        with pytest.raises(OutputError, match=r"\.avi, \.mp4, \.webm") as caught:
            VideoSink(tmp_path / name, 25.0)
        assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_opencv_without_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *arguments: Any) -> None:
            self.released = False

        def isOpened(self) -> bool:  # noqa: N802
            return False

        def release(self) -> None:
            self.released = True

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    sink = VideoSink(tmp_path / "out.mp4", 25.0)
    with pytest.raises(OutputError, match="no encoder"):
        sink.write(_frame(0), _result(0))
    sink.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="about X11")
def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(OutputError, match="no display") as caught:
        ShowSink()
    assert "--video" in (caught.value.hint or "")


def test_keys_in_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")
    shown: list[np.ndarray] = []
    keys = iter([-1, ord("x"), ord("q"), 27])
    monkeypatch.setattr(cv2, "imshow", lambda name, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: next(keys))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    sink = ShowSink(MANIFEST)
    sink.write(_frame(0), _result(0))
    sink.write(_frame(1), _result(1))
    for index in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            sink.write(_frame(index), _result(index))
    sink.close()
    assert len(shown) == 4


def test_an_opencv_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")

    def refuse(*arguments: Any) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "imshow", refuse)
    monkeypatch.setattr(cv2, "destroyAllWindows", refuse)
    sink = ShowSink()
    with pytest.raises(OutputError, match="cannot open windows"):
        sink.write(_frame(0), _result(0))
    sink.close()
