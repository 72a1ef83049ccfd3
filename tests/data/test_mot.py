"""MOTChallenge text over a folder of frames and over a video; the recorded real sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_files import boxes_of, check_contract, count_boxes, set_spec, told, write_picture

from edgemtl.data.mot import MotFiles, MotSet, parse_mot, read_mot
from edgemtl.data.problems import ProblemLog
from edgemtl.errors import ConfigError, DataError


def _video(path: Path, frames: int = 6) -> Path:
    """Frame n is a flat grey of level 20 n, which motion JPEG keeps but for one level."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), 20 * n, np.uint8))
    writer.release()
    return path


def _text(folder: Path, text: str | bytes) -> Path:
    path = folder / "seq" / "gt" / "gt.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _folder(folder: Path, numbers: tuple[int, ...] = (1, 2, 3)) -> Path:
    for n in numbers:
        write_picture(folder / "frames" / f"{n:06d}.png", seed=n)
    return folder / "frames"


def _read(text: Path, log: ProblemLog | None = None, **changes: Any) -> MotSet:
    spec_keys = {"labels", "tasks", "rename"}
    spec = set_spec(**{k: v for k, v in changes.items() if k in spec_keys})
    files = {k: v for k, v in changes.items() if k not in spec_keys}
    log = log if log is not None else ProblemLog()
    return read_mot(spec, MotFiles(**{"annotations": text, "class_name": "person", **files}), log)


GOOD = "1,3,10,10,20,20,1,-1,-1,-1\n1,5,0,0,5,5\n\n3,3,11,10,20,20,1,-1,-1,-1\n"


def test_truth_over_a_folder(tmp_path: Path) -> None:
    log = ProblemLog()
    images = _folder(tmp_path)
    data = _read(_text(tmp_path, GOOD), log, images=images)
    assert told(log) == []
    assert [boxes_of(data.truth(i)) for i in range(3)] == [
        [(0, 10, 10, 30, 30), (0, 0, 0, 5, 5)], [], [(0, 11, 10, 31, 30)],
    ]  # fmt: skip
    assert [data.truth(i).identities.tolist() for i in range(3)] == [[3, 5], [], [3]]
    assert data.tasks == {"detect", "embed"}
    assert data.labelled.tolist() == [True, False, False]
    (sequence,) = data.sequences
    assert (sequence.name, sequence.start, sequence.stop, sequence.fps) == ("set", 0, 3, 25.0)
    assert data.file(2) == f"{images}/000003.png"
    np.testing.assert_array_equal(data.image(2), cv2.imread(str(images / "000003.png")))
    check_contract(data)


def test_truth_over_a_video(tmp_path: Path) -> None:
    """Frame n of the text is frame n - 1 of the video."""
    video, text = _video(tmp_path / "v.avi"), _text(tmp_path, GOOD)
    data = _read(text, video=video)
    assert (len(data), data.sequences[0].fps) == (6, 12.5)
    assert [round(data.image(i).mean() / 20) for i in range(6)] == [0, 1, 2, 3, 4, 5]
    assert [len(data.truth(i)) for i in range(6)] == [2, 0, 1, 0, 0, 0]
    assert data.file(2) == f"{video}#2"
    part = _read(text, video=video, frames=(3, 5), fps=30.0)
    assert [round(part.image(i).mean() / 20) for i in range(3)] == [2, 3, 4]
    assert [len(part.truth(i)) for i in range(3)] == [1, 0, 0]
    assert [part.file(i) for i in range(3)] == [f"{video}#{n}" for n in (2, 3, 4)]
    assert part.sequences[0].fps == 30.0
    check_contract(part)


@pytest.mark.parametrize(
    ("changes", "labelled", "boxes", "identities"),
    [
        ({"tasks": ("detect",)}, [True, False, False], 3, {-1}),
        ({"tasks": ("embed",)}, [True, False, False], 3, {3, 5}),
        ({"labels": ("person",)}, [True, False, False], 3, {3, 5}),
        ({"class_name": "pedestrian", "rename": {"pedestrian": "person"}},
         [True, False, False], 3, {3, 5}),
        ({"class_name": "CAR"}, [False, True, False], 3, {3, 5}),
        ({"class_name": "tram"}, [False, False, False], 0, set()),
    ],
)  # fmt: skip
def test_tasks_and_names(
    tmp_path: Path, changes: Any, labelled: list[bool], boxes: int, identities: set[int]
) -> None:
    data = _read(_text(tmp_path, GOOD), images=_folder(tmp_path), **changes)
    assert data.labelled.tolist() == labelled
    assert count_boxes(data) == boxes
    assert {int(v) for i in range(3) for v in data.truth(i).identities} == identities


def test_asking_for_what_the_text_cannot_give(tmp_path: Path) -> None:
    text, images = _text(tmp_path, GOOD), _folder(tmp_path)
    with pytest.raises(ConfigError, match="tasks asks for 'classify'"):
        _read(text, images=images, tasks=("classify",))
    with pytest.raises(ConfigError, match="labels names 'car'"):
        _read(text, images=images, labels=("car",))
    with pytest.raises(ConfigError, match="neither video nor images"):
        _read(text)


def test_what_the_benchmark_does_not_count(tmp_path: Path) -> None:
    """MOT16: classes 2, 7, 8 and 12 and conf 0 are regions; 3 to 6 and 9 to 11 are no people."""
    lines = [f"1,{kind},1,1,9,9,1,{kind},0.5" for kind in range(1, 13)] + ["1,20,1,1,9,9,0,1,1"]
    data = _read(_text(tmp_path, "\n".join(lines)), images=_folder(tmp_path))
    truth = data.truth(0)
    assert truth.identities.tolist() == [1, 2, 7, 8, 12, 20]
    assert truth.ignore.tolist() == [False, True, True, True, True, True]
    old = _read(_text(tmp_path, "1,1,1,1,9,9,0,-1,-1,-1\n1,2,1,1,9,9,1,7,7,7"),
                images=tmp_path / "frames")  # fmt: skip
    assert old.truth(0).ignore.tolist() == [True, False]  # ten columns: MOT15, without classes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2,7,10,10,20", "expected frame,id,left,top,width,height,..., got '2,7,10,10,20'"),
        ("2 7 10 10 20 20", "expected frame,id,left"),
        ("two,7,10,10,20,20", "expected frame,id,left"),
        ("2.5,7,10,10,20,20", "expected frame,id,left"),
        ("nan,7,10,10,20,20", "expected frame,id,left"),
        ("inf,7,10,10,20,20", "expected frame,id,left"),
        ("2,1e30,10,10,20,20", "expected frame,id,left"),
        ("2,7,10,10,20,20,1,inf,1", "expected frame,id,left"),
        ("2,7,10,10,20,20,1,nan,1", "expected frame,id,left"),
        ("0,7,10,10,20,20", "frame 0, id 7: frames count from 1, ids from 0"),
        ("2,-1,10,10,20,20", "frame 2, id -1: frames count from 1, ids from 0"),
        ("1,3,10,10,20,20", "duplicate id 3 in frame 1"),
        ("9,7,10,10,20,20", "frame 9 does not exist"),
        ("2,7,10,10,-20,20", "box [10, 10, -10, 30] has no positive size"),
        ("2,7,10,10,20,nan", "is not finite"),
        ("2,7,100,10,20,20", "lies outside the picture"),
    ],
)
@pytest.mark.parametrize("over", ["video", "folder"])
def test_broken_lines(tmp_path: Path, line: str, words: str, over: str) -> None:
    log = ProblemLog()
    text = _text(tmp_path, f"1,3,10,10,20,20\n{line}\n3,3,10,10,20,20\n")
    place: dict[str, Any] = {"images": _folder(tmp_path)}
    if over == "video":
        place = {"video": _video(tmp_path / "v.avi")}
    data = _read(text, log, **place)
    assert len(told(log)) == 1
    assert told(log)[0].startswith("gt.txt:2: ")
    assert words in told(log)[0]
    assert count_boxes(data) == 2
    with pytest.raises(DataError, match=r"gt\.txt:2: "):
        log.settle("refuse")


def test_boxes_beyond_the_border_are_this_formats_convention(tmp_path: Path) -> None:
    log = ProblemLog()
    data = _read(_text(tmp_path, "1,1,-30,-5,50,100"), log, images=_folder(tmp_path))
    assert boxes_of(data.truth(0)) == [(0, 0, 0, 20, 40)]
    assert told(log) == []


def test_missing_frames_of_a_folder(tmp_path: Path) -> None:
    """What exists keeps its own annotation; what is missing is told, in ranges."""
    log = ProblemLog()
    images = _folder(tmp_path, (1, 2, 4, 8))
    (images / "000004.png").write_bytes(b"")
    (images / "cover.png").write_bytes(b"")
    (images / "0.jpg").write_bytes(b"")
    write_picture(images / "2.PNG")
    lines = "".join(f"{n},{n},{n},0,9,9\n" for n in range(1, 12))
    data = _read(_text(tmp_path, lines), log, images=images, frames=(1, 10))
    assert [data.truth(i).identities.tolist() for i in range(len(data))] == [[1], [2], [8]]
    assert told(log) == [
        "0.jpg: frame 0; frames count from 1, as the text does (skipped)",
        "2.PNG: duplicate frame 2 (skipped)",
        "cover.png: frame file whose name is not a number (skipped)",
        "frames: missing image of frame 3 (skipped)",
        "000004.png: empty file (skipped)",
        "frames: missing images of frames 5 to 7 (skipped)",
        "frames: missing images of frames 9 to 10 (skipped)",
        "gt.txt:9: frame 9 does not exist (skipped)",
        "gt.txt:10: frame 10 does not exist (skipped)",
    ]


def test_a_range_of_a_billion_frames_is_told_in_one_line(tmp_path: Path) -> None:
    log = ProblemLog()
    _read(_text(tmp_path, GOOD), log, images=_folder(tmp_path), frames=(1, 10**9))
    assert told(log) == ["frames: missing images of frames 4 to 1000000000 (skipped)"]


def test_frames_that_the_video_lacks(tmp_path: Path) -> None:
    log = ProblemLog()
    text = _text(tmp_path, "5,1,1,1,9,9\n8,1,1,1,9,9\n20,1,1,1,9,9\n")
    data = _read(text, log, video=_video(tmp_path / "v.avi"), frames=(4, 9))
    assert (len(data), count_boxes(data)) == (3, 1)
    assert told(log) == [
        "v.avi: frames 4 to 9 were asked for, it has 6 (skipped)",
        "gt.txt:2: frame 8 does not exist (skipped)",
    ]
    with pytest.raises(DataError, match="frame 7 was asked for, it has 6"):
        _read(text, video=tmp_path / "v.avi", frames=(7, 9))
    with pytest.raises(DataError, match="no images of frames 7 to 9"):
        _read(text, images=_folder(tmp_path), frames=(7, 9))


@pytest.mark.parametrize(
    ("ini", "fps"),
    [
        ("[Sequence]\nname=x\nframeRate=14\n", 14.0),
        ("[Sequence]\nframeRate=0\n", 25.0),
        ("[Sequence]\nframeRate=-3\n", 25.0),
        ("[Sequence]\nframeRate=nan\n", 25.0),
        ("[Sequence]\nframeRate=fast\n", 25.0),
        ("[Sequence]\nframeRate=%(x)s\n", 25.0),
        ("no sections", 25.0),
        (b"\xff\xfe\x00", 25.0),
    ],
)
def test_frame_rate_of_seqinfo(tmp_path: Path, ini: str | bytes, fps: float) -> None:
    text = _text(tmp_path, GOOD)
    data = ini if isinstance(ini, bytes) else ini.encode()
    (text.parent.parent / "seqinfo.ini").write_bytes(data)
    assert _read(text, images=_folder(tmp_path)).sequences[0].fps == fps
    assert _read(text, images=tmp_path / "frames", fps=3.0).sequences[0].fps == 3.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.unlink(), "No such file"),
        (lambda p: p.write_bytes(b"1,1,\xff"), "not UTF-8 text"),
    ],
)
def test_text_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], Any], words: str) -> None:
    text = _text(tmp_path, GOOD)
    make(text)
    with pytest.raises(DataError, match=words) as refused:
        parse_mot(text, "person", ProblemLog())
    assert refused.value.hint


def test_an_empty_text_means_nobody(tmp_path: Path) -> None:
    data = _read(_text(tmp_path, "\ufeff\n"), images=_folder(tmp_path))
    assert (len(data), count_boxes(data)) == (3, 0)


@pytest.mark.parametrize(
    ("name", "boxes", "identities", "last"),
    [
        ("PETS09-S2L1", 3295, 16, 600),
        ("ETH-Sunnyday", 1898, 36, 354),
        ("KITTI-17", 883, 11, 145),
        ("TUD-Campus", 359, 8, 71),
        ("TUD-Stadtmitte", 1156, 10, 179),
    ],
)
def test_real_text(data_root: Path, name: str, boxes: int, identities: int, last: int) -> None:
    log = ProblemLog()
    frames = parse_mot(data_root / "mot" / name / "gt" / "gt.txt", "person", log)
    every = [box for found in frames.values() for box in found]
    assert told(log) == []
    assert len(every) == boxes
    assert len({box.identity for box in every}) == identities
    assert min(frames) >= 1
    assert max(frames) <= last
    assert not any(box.ignore for box in every)


def test_real_pets(data_root: Path) -> None:
    """Boxes lie on moving people: there a frame differs from the median picture, elsewhere not."""
    root, log = data_root / "mot" / "PETS09-S2L1", ProblemLog()
    data = _read(root / "gt" / "gt.txt", log, video=root / "vtest.avi", frames=(31, 60))
    assert told(log) == []
    assert (len(data), data.sequences[0].fps) == (30, 10.0)
    capture = cv2.VideoCapture(str(root / "vtest.avi"))
    frames = [capture.read()[1] for _ in range(60)]
    capture.release()
    still = np.median(np.stack(frames[::6]), axis=0).astype(np.uint8)
    offsets = dict.fromkeys((-8, 0, 8), 0.0)
    for i in range(0, 30, 3):
        np.testing.assert_array_equal(data.image(i), frames[30 + i])
        moved = cv2.absdiff(frames[30 + i], still).max(2) > 25
        inside = np.zeros(moved.shape, bool)
        for offset in offsets:  # boxes of frames before and after fit this picture less well
            inside[:] = False
            for x1, y1, x2, y2 in data.truth(min(max(i + offset, 0), 29)).boxes_src.astype(int):
                inside[y1:y2, x1:x2] = True
            offsets[offset] += moved[inside].mean() - moved[~inside].mean()
    assert offsets[0] > max(offsets[-8], offsets[8])


def test_real_pets_whole(data_root: Path) -> None:
    root = data_root / "mot" / "PETS09-S2L1"
    data = _read(root / "gt" / "gt.txt", video=root / "vtest.avi", frames=(1, 600))
    assert (len(data), count_boxes(data)) == (600, 3295)
    assert len({int(v) for i in range(600) for v in data.truth(i).identities}) == 16
