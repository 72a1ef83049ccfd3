"""Detections that `edgemtl run` wrote on the PETS video, through other trackers than its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mot_data import follow
from peers.client import Followed, Stream, worker_for

from edgemtl.metrics import TrackingMeter
from edgemtl.track import TrackerConfig
from edgemtl.track_file import read_mot

FPS, SIZE_HW = 10.0, (576, 768)
PEER, PEER_DISTRIBUTION = "roboflow-botsort", "trackers"
"""The peers' tracker with the best figures on public detections, see tracker_quality.py."""


def people(path: Path) -> Stream:
    """The people of a JSON Lines file of detections; embeddings are not in it."""
    found = [
        [d for d in json.loads(line)["detections"] if d["name"] == "person"]
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    every = [d for frame in found for d in frame]
    scores = np.array([d["score"] for d in every], np.float32)
    return Stream(
        boxes=np.array([d["box_src"] for d in every], np.float32).reshape(-1, 4),
        scores=scores,
        labels=np.zeros(len(scores), np.int32),
        counts=np.array([len(frame) for frame in found]),
        times_s=np.arange(len(found)) / FPS,
        size_hw=SIZE_HW,
        fps=FPS,
    )


def score(tracks: Followed, truth_file: Path, first: int, last: int) -> dict[str, float]:
    """HOTA, IDF1, MOTA and switches of frames ``first`` to ``last`` (from 1)."""
    truth, meter = read_mot(truth_file), TrackingMeter()
    for number, (ids, boxes) in enumerate(tracks.frames(), 1):
        if first <= number <= last:
            here = truth.at(number)
            meter.add_frame(here.ids, here.boxes_src, ids, boxes)
    scores = meter.result()
    return {key: float(getattr(scores, key)) for key in ("hota", "idf1", "mota", "idsw")}


def by_motion_alone(path: Path) -> Followed:
    """Our tracker without embeddings."""
    return follow(people(path), TrackerConfig())


def by_peer(path: Path, env: Path) -> Followed:
    """The peer's tracker, in its own environment, with its default settings."""
    with worker_for(env, PEER_DISTRIBUTION) as worker:
        return worker.run(PEER, people(path))
