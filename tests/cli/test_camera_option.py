"""edgemtl track --camera: the motion of a moving camera, given from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemtl.cli.tracking import read_camera, track_file
from edgemtl.errors import ConfigError, DataError
from edgemtl.track import TrackerConfig
from edgemtl.track.bytetrack import ByteTrackConfig

SHAKE = [0.0, 0.0, 150.0, -140.0, 160.0, -150.0, 0.0, 130.0, -120.0, 150.0]


def _shaken(folder: Path) -> tuple[Path, Path]:
    """Two standing people seen by a camera that jumps by more than a body's width."""
    place = np.cumsum(SHAKE)
    detections = "".join(
        f"{f + 1},-1,{300 + place[f] + 90 * i},200,50,120,0.9\n"
        for f in range(len(SHAKE))
        for i in range(2)
    )
    motion = "".join(f"{f} 1 0 {shift} 0 1 0\n" for f, shift in enumerate(SHAKE))
    (folder / "det.txt").write_text(detections)
    (folder / "camera.txt").write_text(motion)
    return folder / "det.txt", folder / "camera.txt"


def _identities(path: Path) -> dict[str, set[float]]:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    starts = np.cumsum(SHAKE)
    seen: dict[str, set[float]] = {}
    for row in rows:
        where = round((float(row[2]) - starts[int(row[0]) - 1]) / 90)
        seen.setdefault(row[1], set()).add(where)
    return seen


def test_people_stay_themselves_under_a_shaking_camera(tmp_path: Path) -> None:
    detections, camera = _shaken(tmp_path)
    out = tmp_path / "out.txt"
    given = track_file(detections, out, 25, (600, 900), TrackerConfig(), camera)
    assert given["tracks"] == 2
    assert all(len(places) == 1 for places in _identities(out).values())
    unknown = track_file(detections, out, 25, (600, 900), TrackerConfig())
    assert unknown["tracks"] != 2 or any(len(p) > 1 for p in _identities(out).values())


def test_six_numbers_or_seven_commas_or_blanks(tmp_path: Path) -> None:
    path = tmp_path / "camera.txt"
    path.write_text("1,0,2.5,0,1,-3\n\n17\t1.01\t0\t0\t0\t1.01\t4\n")
    motion = read_camera(path)
    assert sorted(motion) == [1, 3]
    assert motion[1].tolist() == [[1, 0, 2.5], [0, 1, -3]]
    assert motion[3].tolist() == [[1.01, 0, 0], [0, 1.01, 4]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 0 0 0 1", "6 or 7 numbers, got 5"),
        ("1 0 zero 0 1 0", "expected numbers"),
        ("1 0 nan 0 1 0", "a camera's motion"),
        ("0 0 0 0 0 0", "a camera's motion"),
        ("1 0 1e9 0 1 0", "a camera's motion"),
    ],
)
def test_other_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "camera.txt"
    path.write_text(f"1 0 0 0 1 0\n{line}\n")
    with pytest.raises(DataError, match=said) as caught:
        read_camera(path)
    assert "camera.txt:2" in str(caught.value)


def test_bytetrack_knows_no_camera_and_the_old_output_stays(tmp_path: Path) -> None:
    detections, camera = _shaken(tmp_path)
    out = tmp_path / "out.txt"
    out.write_text("kept")
    with pytest.raises(ConfigError, match="--camera"):
        track_file(detections, out, 25, (600, 900), ByteTrackConfig(), camera)
    assert out.read_text() == "kept"
