"""MOTChallenge ground truth over a video file or a folder of frames.

A line is ``frame,id,left,top,width,height,conf,class,visibility`` (MOT16 and later) or
``frame,id,left,top,width,height,conf,-1,-1,-1`` (MOT15); frames count from 1. Frame n of the text
is frame n - 1 of the video. Lines of conf 0, and of MOT16's person-like classes, are regions that
the benchmark neither counts nor punishes.
"""

from __future__ import annotations

import configparser
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgemtl.data.base import DataSet, SequenceInfo, Truth
from edgemtl.data.identities import file_source
from edgemtl.data.imageset import RawBox, TruthBuilder, picture_size
from edgemtl.data.problems import ProblemLog
from edgemtl.data.spec import SetSpec
from edgemtl.data.store import FolderStore
from edgemtl.data.video import VideoFrames, count_frames
from edgemtl.errors import ConfigError, DataError
from edgemtl.records import U8

_PEDESTRIAN = 1
_PERSON_LIKE = frozenset({2, 7, 8, 12})
"""MOT16 classes: person on vehicle, static person, distractor, reflection."""
_LARGEST = 2**53
"""Beyond this, a number read as a float is no longer the one in the text."""


@dataclass(frozen=True)
class MotFiles:
    """Where a sequence lies. One of ``video`` and ``images``; ``frames`` first and last, from 1.

    ``class_name`` is what the objects are. ``fps`` None: from seqinfo.ini or the video.
    """

    annotations: Path
    class_name: str
    video: Path | None = None
    images: Path | None = None
    frames: tuple[int, int] | None = None
    fps: float | None = None


def read_mot(spec: SetSpec, files: MotFiles, log: ProblemLog) -> MotSet:
    """Read one sequence. Raises DataError if the video or the text cannot be used as a whole."""
    builder = TruthBuilder(spec, log, [files.class_name], ["detect", "embed"], amodal=True)
    boxes = parse_mot(files.annotations, files.class_name, log)
    reader = _open_video if files.video is not None else _open_folder
    frames = reader(files, log)
    last = max(frames.sizes)
    first_wanted, last_wanted = files.frames or (1, max(boxes, default=0))
    for number in sorted(boxes):
        if first_wanted <= number <= last_wanted and not frames.first <= number <= last:
            log.add(files.annotations, boxes[number][0].line, f"frame {number} does not exist")
    truths = []
    for number, size in frames.sizes.items():
        truths.append(builder.truth(boxes.get(number, []), size))
    return MotSet(spec, frames, tuple(truths), builder, file_source(files.annotations))


@dataclass(frozen=True)
class _Frames:
    """The usable frames of a sequence: size (height, width) by frame number from 1."""

    where: str
    sizes: Mapping[int, tuple[int, int]]
    first: int
    fps: float
    video: VideoFrames | None = None
    store: FolderStore | None = None
    names: Mapping[int, str] | None = None


def _open_video(files: MotFiles, log: ProblemLog) -> _Frames:
    assert files.video is not None
    first, last = files.frames or (1, None)
    count, size, fps = count_frames(files.video, last)
    if last is not None and count < last:
        log.add(files.video, None, f"frames {first} to {last} were asked for, it has {count}")
    if count < first:
        raise DataError(f"{files.video}: frame {first} was asked for, it has {count}", _RANGE)
    video = VideoFrames(files.video, first - 1, count)
    sizes = dict.fromkeys(range(first, count + 1), size)
    return _Frames(str(files.video), sizes, first, files.fps or fps, video)


def _open_folder(files: MotFiles, log: ProblemLog) -> _Frames:
    if files.images is None:
        raise ConfigError("a mot data set has neither video nor images", "name one of them")
    store = FolderStore(files.images)
    numbered: dict[int, str] = {}
    for name in store.names():
        stem = Path(name).stem
        if not stem.isdecimal():
            log.add(store.label(name), None, "frame file whose name is not a number")
        elif int(stem) < 1:
            log.add(store.label(name), None, "frame 0; frames count from 1, as the text does")
        elif int(stem) in numbered:
            log.add(store.label(name), None, f"duplicate frame {int(stem)}")
        else:
            numbered[int(stem)] = name
    first, last = files.frames or (min(numbered, default=1), max(numbered, default=0))
    sizes = {}
    expected = first
    for number in sorted(n for n in numbered if first <= n <= last):
        _tell_missing(files.images, expected, number - 1, log)
        expected = number + 1
        size = picture_size(store, numbered[number], log)
        if size is not None:
            sizes[number] = size
    _tell_missing(files.images, expected, last, log)
    if not sizes:
        raise DataError(f"{files.images}: no images of frames {first} to {last}", _RANGE)
    fps = files.fps or _seqinfo_fps(files.annotations.parent.parent / "seqinfo.ini") or 25.0
    return _Frames(store.where, sizes, first, fps, None, store, numbered)


def _tell_missing(folder: Path, first: int, last: int, log: ProblemLog) -> None:
    if first == last:
        log.add(folder, None, f"missing image of frame {first}")
    elif first < last:
        log.add(folder, None, f"missing images of frames {first} to {last}")


_RANGE = "check frames = [first, last], which count from 1"


def _seqinfo_fps(path: Path) -> float | None:
    parser = configparser.ConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        fps = parser.getfloat("Sequence", "frameRate")
    except (configparser.Error, UnicodeDecodeError, ValueError):
        return None
    return fps if 0 < fps < 1000 else None


def parse_mot(path: Path, class_name: str, log: ProblemLog) -> dict[int, list[RawBox]]:
    """Raw boxes by frame number (from 1). Raises DataError if the file cannot be read as text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text", "annotations must be MOT ground truth"
        ) from error
    boxes: dict[int, list[RawBox]] = defaultdict(list)
    seen: set[tuple[int, int]] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = [float(v) for v in line.split(",")]
            frame, identity = _whole(values[0]), _whole(values[1])
            left, top, width, height = values[2:6]
            ignore = _ignored(values)
        except (ValueError, IndexError, OverflowError):  # infinity is no integer
            log.add(path, number, f"expected frame,id,left,top,width,height,..., got '{line[:60]}'")
            continue
        if frame < 1 or identity < 0:
            log.add(path, number, f"frame {frame}, id {identity}: frames count from 1, ids from 0")
        elif (frame, identity) in seen:
            log.add(path, number, f"duplicate id {identity} in frame {frame}")
        else:
            seen.add((frame, identity))
            if ignore is not None:
                corners = (left, top, left + width, top + height)
                boxes[frame].append(
                    RawBox(class_name, corners, str(path), number, "box", ignore, identity)
                )
    return boxes


def _whole(value: float) -> int:
    if value != int(value) or abs(value) > _LARGEST:
        raise ValueError(f"{value} is not a whole number")
    return int(value)


def _ignored(values: list[float]) -> bool | None:
    """Whether a line is an ignored region; None for a class that is not a person at all."""
    conf = values[6] if len(values) > 6 else 1.0
    kind = _whole(values[7]) if len(values) == 9 else -1
    if kind in _PERSON_LIKE:
        return True
    if kind > 0 and kind != _PEDESTRIAN:
        return None
    return conf == 0


class MotSet(DataSet):
    """The frames of one sequence in order."""

    def __init__(
        self,
        spec: SetSpec,
        frames: _Frames,
        truths: tuple[Truth, ...],
        builder: TruthBuilder,
        source: str,
    ) -> None:
        self.name, self.weight = spec.name, spec.weight
        self.classes, self.image_classes = spec.classes, spec.image_classes
        self.labelled, self.tasks = builder.labelled, builder.tasks
        self.dropped = dict(builder.dropped)
        self.identity_source = source
        self.sequences = (SequenceInfo(spec.name, 0, len(truths), frames.fps),)
        self._frames, self._truths = frames, truths
        self._numbers = tuple(frames.sizes)

    def __len__(self) -> int:
        return len(self._truths)

    def image(self, index: int) -> U8:
        frames, number = self._frames, self._numbers[index]
        if frames.video is not None:
            return frames.video.image(number - frames.first)
        assert frames.store is not None
        assert frames.names is not None
        return frames.store.image(frames.names[number])

    def truth(self, index: int) -> Truth:
        return self._truths[index]

    def file(self, index: int) -> str:
        frames, number = self._frames, self._numbers[index]
        if frames.store is not None and frames.names is not None:
            return frames.store.label(frames.names[number])
        return f"{frames.where}#{number - 1}"
