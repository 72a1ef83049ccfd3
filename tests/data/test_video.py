"""Videos by index: the pixels of sequential reading, in any order, from any thread."""

from __future__ import annotations

import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_files import encoded, pixels

from edgemtl.data import images as images_module
from edgemtl.data import video as video_module
from edgemtl.data.images import open_images
from edgemtl.data.video import VideoFrames, count_frames, iterate_frames, open_video
from edgemtl.errors import DataError
from edgemtl.records import U8


def _write(path: Path, frames: list[U8], fps: float = 20.0) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def _clip(path: Path, count: int = 9) -> Path:
    return _write(path, [cv2.GaussianBlur(pixels((48, 64), n), (0, 0), 2) for n in range(count)])


def _sequential(path: Path, count: int | None = None) -> list[U8]:
    """Plain reading with OpenCV."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while count is None or len(frames) < count:
        done, frame = capture.read()
        if not done:
            break
        frames.append(frame)
    capture.release()
    return frames


def test_any_order_gives_the_frames_of_sequential_reading(tmp_path: Path) -> None:
    path = _clip(tmp_path / "größe 猫.avi")
    wanted = _sequential(path)
    assert count_frames(path) == (9, (48, 64), 20.0)
    assert count_frames(path, 4) == (4, (48, 64), 20.0)
    frames = VideoFrames(path, 0, 9)
    for index in (8, 0, 5, 5, 1, 7):
        found = frames.image(index)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, wanted[index])
    for number, frame in enumerate(iterate_frames(path)):
        np.testing.assert_array_equal(frame, wanted[number])


@pytest.mark.parametrize(
    ("start", "stop", "step", "numbers"),
    [
        (0, 9, 1, list(range(9))), (3, 7, 1, [3, 4, 5, 6]), (8, 9, 1, [8]), (0, 9, 4, [0, 4, 8]),
        (1, 9, 3, [1, 4, 7]), (2, 8, 100, [2]), (4, 4, 1, []),
    ],
)  # fmt: skip
def test_parts(tmp_path: Path, start: int, stop: int, step: int, numbers: list[int]) -> None:
    path = _clip(tmp_path / "v.avi")
    wanted = _sequential(path)
    frames = VideoFrames(path, start, stop, step=step)
    assert len(frames) == len(numbers)
    for index, number in enumerate(numbers):
        np.testing.assert_array_equal(frames.image(index), wanted[number])
    for index in (-1, len(numbers)):
        with pytest.raises(IndexError):
            frames.image(index)


def test_many_threads_decode_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _clip(tmp_path / "v.avi")
    wanted, reads = _sequential(path), []

    def counted(which: Path) -> object:
        reads.append(which)
        return iterate_frames(which)

    monkeypatch.setattr(video_module, "iterate_frames", counted)
    frames, barrier = VideoFrames(path, 0, 9), threading.Barrier(8)

    def work(seed: int) -> bool:
        order = random.Random(seed).sample(range(9), 9)
        barrier.wait()
        return all((frames.image(i) == wanted[i]).all() for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert reads == [path]


def test_frames_are_the_callers_own(tmp_path: Path) -> None:
    frames = VideoFrames(_clip(tmp_path / "v.avi"), 0, 9)
    first = frames.image(0)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(frames.image(0), kept)


def test_a_small_budget_keeps_jpeg_and_a_tiny_one_is_refused(tmp_path: Path) -> None:
    path = _clip(tmp_path / "v.avi")
    wanted = _sequential(path)
    exact = sum(len(cv2.imencode(".png", f, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]) for f in wanted)
    small = sum(len(cv2.imencode(".jpg", f, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]) for f in wanted)
    assert small < exact / 2
    frames = VideoFrames(path, 0, 9, budget=small)
    errors = [float(np.abs(frames.image(i) - wanted[i].astype(int)).mean()) for i in range(9)]
    assert all(0 < error < 4 for error in errors)
    with pytest.raises(DataError, match="9 frames do not fit 0 MiB") as refused:
        VideoFrames(path, 0, 9, budget=small - 1).image(0)
    assert refused.value.hint


def test_a_black_beginning_says_nothing_of_the_rest(tmp_path: Path) -> None:
    """Few bytes at first, many later: the whole video is then kept smaller, not refused."""
    black: list[U8] = [np.zeros((48, 64, 3), np.uint8)] * 3
    rest = [cv2.GaussianBlur(pixels((48, 64), n), (0, 0), 1) for n in range(6)]
    path = _write(tmp_path / "v.avi", black + rest)
    wanted = _sequential(path)
    exact = [len(cv2.imencode(".png", f, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]) for f in wanted]
    assert exact[0] * 9 < sum(exact) / 2
    frames = VideoFrames(path, 0, 9, budget=sum(exact) - 1)
    assert frames.image(0).max() < 5
    assert float(np.abs(frames.image(8) - wanted[8].astype(int)).mean()) < 8
    whole = VideoFrames(path, 0, 9, budget=max(sum(exact), exact[0] * 9))
    np.testing.assert_array_equal(whole.image(8), wanted[8])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is no video\n" * 100, "is a text file"),
        ("text.avi", "Größe\t\r\n".encode(), "is a text file"),
        ("ansi.txt", b"\x1b[31mred\x1b[0m\n" * 100, "is a text file"),
        ("noise.mp4", bytes(range(256)) * 20, "cannot be opened"),
        ("zeros.avi", b"\0" * 5000, "cannot be opened"),
    ],
)
def test_files_that_are_no_video(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    for use in (open_video, count_frames, lambda p: next(iter(iterate_frames(p)))):
        with pytest.raises(DataError, match=rf"{name}' {words}") as refused:
            use(path)
        assert refused.value.hint
    with pytest.raises(DataError, match="does not exist"):
        open_video(tmp_path / "gone.mp4")
    with pytest.raises(DataError, match="does not exist"):
        open_video(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_video_has_the_frames_that_decode(tmp_path: Path, share: float) -> None:
    """Its header still announces all of them."""
    path = _write(tmp_path / "whole.avi", [pixels((48, 64), n) for n in range(20)])
    cut = tmp_path / "cut.avi"
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    count, size_hw, _ = count_frames(cut)
    assert 0 < count < 20
    assert size_hw == (48, 64)
    frames, wanted = VideoFrames(cut, 0, count), _sequential(path)
    for index in range(count - 1):  # the last one may be cut in the middle
        np.testing.assert_array_equal(frames.image(index), wanted[index])
    with pytest.raises(DataError, match=f"it ends at {count - 1}"):
        VideoFrames(cut, 0, 20).image(0)


@pytest.mark.parametrize("damaged", [2, 8, 18])
def test_a_damaged_frame_within_is_named(tmp_path: Path, damaged: int) -> None:
    """Labels go by number: what follows must neither be lost nor move up."""
    path = _write(tmp_path / "whole.avi", [pixels((48, 64), n) for n in range(20)])
    data = bytearray(path.read_bytes())
    chunks = [at.start() for at in re.finditer(b"00dc", data)][:20]  # the rest is the index
    start, end = chunks[damaged] + 8, chunks[damaged + 1]
    data[start:end] = np.random.default_rng(0).integers(0, 256, end - start, np.uint8).tobytes()
    path.write_bytes(data)
    near = rf"({damaged - 2}|{damaged - 1})"
    said = rf"whole\.avi': what follows frame {near} is damaged, later frames are not"
    with pytest.raises(DataError, match=said) as refused:
        count_frames(path)
    assert "ffmpeg" in (refused.value.hint or "")
    with pytest.raises(DataError, match=said):
        list(iterate_frames(path))
    assert count_frames(path, damaged - 1)[0] == damaged - 1  # all that was asked for


def test_a_file_without_frames(tmp_path: Path) -> None:
    path = _clip(tmp_path / "whole.avi")
    data = path.read_bytes()
    (tmp_path / "none.avi").write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(DataError, match=r"none\.avi' (has no frame|cannot be opened)"):
        count_frames(tmp_path / "none.avi")


def test_pictures_of_a_long_video_are_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _clip(tmp_path / "v.avi")
    monkeypatch.setattr(images_module, "MAX_VIDEO_FRAMES", 4)
    images, wanted = open_images(path), _sequential(path)
    assert [images.file(i) for i in range(len(images))] == [f"{path}#{n}" for n in (0, 3, 6)]
    for i in range(3):
        np.testing.assert_array_equal(images.image(i), wanted[3 * i])
    monkeypatch.undo()
    assert len(open_images(path)) == 9


def test_a_picture_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(pixels((8, 8)), ".jpg"))
    with pytest.raises(DataError, match="one picture"):
        open_images(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "size_hw", "fps", "frames"),
    [
        ("videos/carnd-test_video.mp4", (720, 1280), 25, 38),
        ("videos/bikes.mp4", (272, 640), 25, 250),
        ("videos/mmtracking-demo.mp4", (1080, 1920), 3, 8),
        ("mot/PETS09-S2L1/vtest.avi", (576, 768), 10, 795),
    ],
)
def test_real_videos_as_recorded(
    data_root: Path, name: str, size_hw: tuple[int, int], fps: float, frames: int
) -> None:
    assert count_frames(data_root / name) == (frames, size_hw, pytest.approx(fps, rel=1e-3))


def test_real_videos_by_index(data_root: Path) -> None:
    """Codecs with frames that depend on others, before and after."""
    for name in ("videos/bikes.mp4", "mot/PETS09-S2L1/vtest.avi"):
        wanted = _sequential(data_root / name, 30)
        frames = VideoFrames(data_root / name, 10, 30)
        for index in (19, 3, 11, 0):
            np.testing.assert_array_equal(frames.image(index), wanted[10 + index])
