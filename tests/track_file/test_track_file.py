"""MOTChallenge text: what is written is read back, and every wrong line is named."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import DataError
from edgemtl.records import Tracks
from edgemtl.track_file import mot_lines, read_mot


def _file(tmp_path, text):
    path = tmp_path / "tracks.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_frames_in_order_with_gaps(tmp_path):
    path = _file(
        tmp_path, "3,7,1,2,3,4,0.5,-1,-1,-1\n\n1,-1,0.5,0,10,20,0.25\n3,8,0,0,1,1,1,1,0.3\n"
    )
    found = read_mot(path)
    assert found.last == 3
    assert [(n, frame.ids.tolist()) for n, frame in found.frames()] == [
        (1, [-1]),
        (2, []),
        (3, [7, 8]),
    ]
    assert [n for n, _ in found.frames(5)] == [1, 2, 3, 4, 5]
    assert found.at(1).boxes_src.tolist() == [[0.5, 0, 10.5, 20]]
    assert found.at(3).scores.tolist() == [0.5, 1]
    assert found.at(3).ids.dtype == np.int64


def test_empty_files_and_missing_scores(tmp_path):
    empty = read_mot(_file(tmp_path, ""))
    assert (empty.last, list(empty.frames()), len(empty.at(1).ids)) == (0, [], 0)
    assert read_mot(_file(tmp_path, "1,2,3,4,5,6")).scores.tolist() == [1]


def test_round_trip(tmp_path):
    tracks = Tracks(
        np.array([1, 2**50]),
        np.array([[1.25, 2.5, 11.25, 22.5], [-3, 0, 4, 8]], np.float32),
        np.array([0.5, 1], np.float32),
        np.zeros(2, np.int32),
        np.zeros(2, np.int32),
    )
    text = mot_lines(4, tracks)
    assert text.splitlines()[0] == "4,1,1.25,2.50,10.00,20.00,0.5000,-1,-1,-1"
    found = read_mot(_file(tmp_path, text)).at(4)
    assert found.ids.tolist() == [1, 2**50]
    assert found.boxes_src.tolist() == tracks.boxes_src.tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hello", "not numbers separated by commas: 'hello'"),
        ("1,2,3,4,5", "expected at least 6 values, got 5"),
        ("0,1,0,0,1,1,1", "frames from 1"),
        ("1.5,1,0,0,1,1,1", "must be whole numbers"),
        ("1,1,nan,0,1,1,1", "not finite"),
        ("1,1,0,0,inf,1,1", "not finite"),
        ("1,1,0,0,-1,1,1", "must not be negative"),
        ("1e300,1,0,0,1,1,1", "must be whole numbers"),
    ],
)
def test_names_the_wrong_line(tmp_path, line, message):
    path = _file(tmp_path, f"1,1,0,0,1,1,1\n{line}\n")
    with pytest.raises(DataError, match=message) as caught:
        read_mot(path)
    assert caught.value.message.startswith(f"{path}:2: ")
    assert caught.value.hint


def test_names_files_that_are_no_text(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_mot(tmp_path / "nobody.txt")
    binary = tmp_path / "video.avi"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a text file"):
        read_mot(binary)


def test_reads_every_shared_sequence(data_root):
    files = sorted((data_root / "mot").glob("*/*/*.txt"))
    assert len(files) >= 10
    for path in files:
        assert len(read_mot(path).ids) == len(path.read_text().split())
