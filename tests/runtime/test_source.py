"""Frames from files: all of them, in order, with times that increase; and what is no source."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_files import pictures, write_clip, write_folder

from edgemtl.errors import SourceError
from edgemtl.records import Frame
from edgemtl.runtime.source import open_source
from edgemtl.runtime.video import VideoSource, stamp


def _frames(path: Path) -> list[Frame]:
    with closing(open_source(str(path))) as source:
        return list(source)


def test_a_video_gives_every_frame_once(clip: Path) -> None:
    with closing(open_source(str(clip))) as source:
        assert (source.fps, source.length, source.live, source.dropped) == (10.0, 12, False, 0)
        frames = list(source)
        assert source.warning is None
    capture = cv2.VideoCapture(str(clip))
    plain = [capture.read()[1] for _ in range(12)]
    assert not capture.read()[0]
    capture.release()
    assert [f.index for f in frames] == list(range(12))
    assert [f.pts_ns for f in frames] == [100_000_000 * i for i in range(12)]
    for frame, want in zip(frames, plain, strict=True):
        np.testing.assert_array_equal(frame.pixels, want)
        assert (frame.stream, frame.file, frame.size_hw) == (0, None, (48, 96))
    arrivals = [f.captured_ns for f in frames]
    assert arrivals == sorted(arrivals)


def test_a_video_closes_twice_and_then_gives_nothing(clip: Path) -> None:
    source = open_source(str(clip))
    frames = iter(source)
    assert next(frames).index == 0
    source.close()
    source.close()
    assert list(frames) == []


def test_a_truncated_video_runs_as_far_as_it_goes(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size * 3 // 5])
    with closing(open_source(str(cut))) as source:
        frames = list(source)
        assert 0 < len(frames) < 12
        assert source.warning is not None
        assert "cut.avi" in source.warning
        assert str(len(frames)) in source.warning
    whole = _frames(clip)
    for n in range(len(frames) - 1):
        np.testing.assert_array_equal(frames[n].pixels, whole[n].pixels)


class _Damaged:
    """Ten frames are announced; those in ``gaps`` cannot be decoded."""

    fps: float | None = 10.0
    frames: int | None = 10
    gaps: tuple[int, ...] = ()

    def __init__(self, target: object) -> None:
        self._at = -1

    def read(self) -> tuple[np.ndarray, float] | None:
        self._at += 1
        if self._at in self.gaps or self._at >= 10:
            return None
        return np.full((4, 6, 3), self._at, np.uint8), 100.0 * self._at

    def release(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("gaps", [(4,), (4, 5, 8), (8, 9), ()])
def test_frames_that_cannot_be_decoded_keep_their_number(
    clip: Path, monkeypatch: pytest.MonkeyPatch, gaps: tuple[int, ...]
) -> None:
    monkeypatch.setattr("edgemtl.runtime.video.Capture", _Damaged)
    monkeypatch.setattr(_Damaged, "gaps", gaps)
    with closing(open_source(str(clip))) as source:
        frames = list(source)
        wanted = [n for n in range(10) if n not in gaps]
        assert [frame.index for frame in frames] == wanted
        assert [int(frame.pixels[0, 0, 0]) for frame in frames] == wanted
        assert [frame.pts_ns for frame in frames] == [n * 10**8 for n in wanted]
        said = f"announces 10 frames, {len(wanted)} could be decoded"
        assert (said in str(source.warning)) == bool(gaps)


def test_a_file_by_its_url_is_a_file(clip: Path) -> None:
    with closing(open_source(clip.absolute().as_uri())) as source:
        assert not source.live
        assert len(list(source)) == 12


def test_a_folder_may_be_a_number(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0001").mkdir()
    assert cv2.imwrite(str(tmp_path / "0001" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    with closing(open_source("0001")) as source:
        assert len(list(source)) == 1


def test_a_run_that_stops_early_is_no_truncated_video(clip: Path) -> None:
    with closing(open_source(str(clip))) as source:
        next(iter(source))
        assert source.warning is None


class _Changing:
    """A capture whose frames change their size; times in ms."""

    fps: float | None = None
    frames: int | None = None

    def __init__(self, target: str) -> None:
        self._left = [((48, 96), 0.0), ((24, 48), 0.0), ((48, 96), 90.0), ((50, 90), -1.0)]

    def read(self) -> tuple[np.ndarray, float] | None:
        if not self._left:
            return None
        size, time_ms = self._left.pop(0)
        return np.full((*size, 3), 7, np.uint8), time_ms

    def release(self) -> None:
        self._left = []


def test_sizes_stay_and_times_increase(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemtl.runtime.video.Capture", _Changing)
    with closing(VideoSource(clip)) as source:
        assert (source.fps, source.length) == (25.0, None)
        frames = list(source)
    assert {frame.size_hw for frame in frames} == {(48, 96)}
    assert [frame.pts_ns for frame in frames] == [0, 40_000_000, 90_000_000, 130_000_000]


@pytest.mark.parametrize(
    ("index", "time_ms", "last_ns", "want"),
    [
        (0, 0.0, -1, 0),
        (0, 80.0, -1, 80_000_000),
        (0, float("nan"), -1, 0),
        (0, -5.0, -1, 0),
        (3, 130.0, 80_000_000, 130_000_000),
        (3, 0.0, 80_000_000, 120_000_000),
        (3, 80.0, 80_000_000, 120_000_000),
        (3, float("inf"), 80_000_000, 120_000_000),
        (3, 10.0, 500_000_000, 540_000_000),
    ],
)
def test_stamp(index: int, time_ms: float, last_ns: int, want: int) -> None:
    assert stamp(index, time_ms, last_ns, 25.0) == want


def test_a_folder_is_sorted_and_names_its_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 4)
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    with closing(open_source(str(folder))) as source:
        assert (source.fps, source.length, source.live) == (25.0, 4, False)
        frames = list(source)
        assert source.warning is None
    assert [Path(frame.file or "").name for frame in frames] == [f"{i:03d}.png" for i in range(4)]
    assert [frame.pts_ns for frame in frames] == [40_000_000 * i for i in range(4)]
    for frame, want in zip(frames, pictures(4), strict=True):
        np.testing.assert_array_equal(frame.pixels, want)


def test_one_picture(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 3)
    (frame,) = _frames(folder / "001.png")
    np.testing.assert_array_equal(frame.pixels, pictures(2)[1])
    assert (frame.index, Path(frame.file or "").name) == (0, "001.png")


def test_broken_pictures_are_skipped_and_keep_their_number(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 5)
    (folder / "001.png").write_bytes(b"")
    (folder / "003.png").write_bytes((folder / "003.png").read_bytes()[:200])
    with closing(open_source(str(folder))) as source:
        frames = list(source)
        assert [frame.index for frame in frames] == [0, 2, 4]
        assert [frame.pts_ns for frame in frames] == [0, 80_000_000, 160_000_000]
        assert source.warning is not None
        assert "2 broken" in source.warning
        assert "001.png" in source.warning


def test_a_folder_of_nothing_but_broken_pictures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images", 2)
    for path in folder.iterdir():
        path.write_bytes(b"\xff\xd8 no picture")
    with (
        closing(open_source(str(folder))) as source,
        pytest.raises(SourceError, match=r"none of 2 .*000\.png"),
    ):
        list(source)


def _bad(folder: Path, clip: Path, case: str) -> Path:
    path = folder / {"picture": "bad.jpg", "zip": "bad.zip"}.get(case, "bad.mp4")
    content = {
        "empty": b"",
        "text": b"these are words, not frames\n" * 300,
        "noise": np.random.default_rng(0).bytes(5000),
        "header": clip.read_bytes()[:300],
        "picture": b"\xff\xd8\xff",
        "zip": b"PK\x03\x04",
    }
    if case == "no pictures":
        (folder / "bad").mkdir()
        return folder / "bad"
    if case in content:
        path.write_bytes(content[case])
    return path


@pytest.mark.parametrize(
    "case", ["empty", "text", "noise", "header", "picture", "zip", "no pictures", "missing"]
)
def test_what_is_no_source(tmp_path: Path, clip: Path, case: str) -> None:
    path = _bad(tmp_path, clip, case)
    with pytest.raises(SourceError, match="bad") as caught:
        open_source(str(path))
    assert caught.value.hint
    assert caught.value.message.startswith("source: ")


@pytest.mark.parametrize("spec", ["", "a" * 5000, "87", "/dev/video87"])
def test_names_that_cannot_be_meant(spec: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(spec)
    assert caught.value.hint


def test_latest_is_for_live_sources(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.avi", 2)
    with pytest.raises(SourceError, match="latest"):
        open_source(str(path), policy="latest")
    with closing(open_source(str(path), policy="all")) as source:
        assert len(list(source)) == 2
