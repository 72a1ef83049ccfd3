"""The five shared MOT sequences: ground truth and given detections, as streams for any tracker."""

from __future__ import annotations

import configparser
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers.client import Followed, Stream

from edgemtl.metrics import TrackingMeter, TrackingScores
from edgemtl.records import Detections
from edgemtl.track import Tracker, TrackerConfig
from edgemtl.track_file import MotFile, read_mot

LAST_FRAME = {"PETS09-S2L1": 600}
"""Its frames 601 to 795 are nobody's to tune on."""
KEYS = ("hota", "deta", "assa", "mota", "idf1", "idsw")


@dataclass(frozen=True)
class Sequence:
    """Frame n (from 1) of ``truth`` is frame n - 1 of ``stream``, at (n - 1) / fps seconds."""

    name: str
    truth: MotFile
    stream: Stream

    def meter(self, numbers: Iterable[int], tracks: Iterable[tuple[Any, Any]]) -> TrackingMeter:
        """Meet the truth of the frames ``numbers`` with ids and boxes of each, in this order."""
        meter = TrackingMeter()
        for number, (ids, boxes) in zip(numbers, tracks, strict=True):
            true = self.truth.at(number)
            meter.add_frame(true.ids, true.boxes_src, ids, boxes)
        return meter

    @property
    def numbers(self) -> range:
        """All frames, from 1."""
        return range(1, len(self.stream.counts) + 1)


def load(data: Path) -> list[Sequence]:
    """The sequences of ``data``/mot that have detections, by name."""
    return [
        _sequence(folder)
        for folder in sorted((data / "mot").iterdir())
        if (folder / "det").is_dir()
    ]


def _sequence(folder: Path) -> Sequence:
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    facts = info["Sequence"]
    fps = facts.getfloat("frameRate")
    length = LAST_FRAME.get(folder.name, facts.getint("seqLength"))
    found = [frame for _, frame in read_mot(folder / "det/det.txt").frames(length)]
    scores = np.concatenate([frame.scores for frame in found])
    stream = Stream(
        boxes=np.concatenate([frame.boxes_src for frame in found]),
        scores=scores,
        labels=np.zeros(len(scores), np.int32),
        counts=np.array([len(frame.scores) for frame in found]),
        times_s=np.arange(length) / fps,
        size_hw=(facts.getint("imHeight"), facts.getint("imWidth")),
        fps=fps,
    )
    return Sequence(folder.name, read_mot(folder / "gt/gt.txt"), stream)


def follow(stream: Stream, config: TrackerConfig) -> Followed:
    """Our tracker over ``stream``, in this process; the seconds are not measured."""
    tracker = Tracker(config)
    ends = np.cumsum(stream.counts)
    ids, boxes, counts = [], [], []
    for end, count, when in zip(ends, stream.counts, stream.times_s, strict=True):
        here = slice(end - count, end)
        found = Detections(stream.boxes[here], stream.scores[here], stream.labels[here], None)
        tracks = tracker.step(found, round(when * 1e9), stream.size_hw)
        ids.append(tracks.track_ids)
        boxes.append(tracks.boxes_src.astype(np.float64))
        counts.append(len(tracks.track_ids))
    return Followed(
        np.concatenate(ids), np.concatenate(boxes), np.array(counts), np.zeros(len(counts))
    )


def row(scores: TrackingScores) -> dict[str, float]:
    """The figures that the results hold, four digits each."""
    return {key: round(float(getattr(scores, key)), 4) for key in KEYS}
