"""The ByteTrack preset: met with the reference, scored and timed beside other ByteTracks.

    python benchmarks/bytetrack_preset.py --data ../shared/data [--env PEERS]

Writes results/bytetrack_preset.json. ``reference``: the recorded run of the C++ ByteTrack, box by
box. ``quality``: five sequences on their given detections, with the reference's habits (the
default) and with the paper's: predicted boxes compared, scores weighing the overlap. ``cost``: one
update of a crowd in microseconds, the lower of clock and processor time; all trackers see the
same frames, in turns, on one thread, and a ratio is the median of the ratios of each round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mot_data import load, row
from peers.client import PeerError, Stream, Worker, installed, known, worker_for
from tracker_scenes import scene

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.metrics import combine
from edgemtl.records import Detections, Tracks
from edgemtl.track import ByteTrackConfig, ByteTracker

OUT = Path(__file__).resolve().parent / "results" / "bytetrack_preset.json"
VARIANTS = {
    "edgemtl bytetrack": ByteTrackConfig(),
    "match_predicted": ByteTrackConfig(match_predicted=True),
    "fuse_score": ByteTrackConfig(fuse_score=True),
    "match_predicted, fuse_score": ByteTrackConfig(match_predicted=True, fuse_score=True),
}
SIZES = (20, 100, 1000, 10000)
ROUNDS, FRAMES, WARM, BUDGET_S, LEAST = 3, 40, 10, 4.0, 3
MOST_OF_PEERS = 1000


def follow(stream: Stream, config: ByteTrackConfig, capacity: int) -> tuple[list[Tracks], Any]:
    """Tracks and seconds [F] of each frame."""
    tracker, ends = ByteTracker(config, capacity=capacity), np.cumsum(stream.counts)
    tracks, seconds = [], []
    for end, count, when in zip(ends, stream.counts, stream.times_s, strict=True):
        here = slice(end - count, end)
        found = Detections(stream.boxes[here], stream.scores[here], stream.labels[here])
        busy, started = time.process_time(), time.perf_counter()
        tracks.append(tracker.step(found, round(when * 1e9), stream.size_hw))
        wall = time.perf_counter() - started  # others may hold the processor meanwhile
        seconds.append(min(wall, time.process_time() - busy))
    return tracks, np.array(seconds)


SIDES = ("x", "y", "width", "height")


def _recorded(path: Path) -> list[list[Any]]:
    """[id or score, x, y, width, height] by frame."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    frames: list[list[Any]] = [[] for _ in range(1 + max(int(r["frame_id"]) for r in rows))]
    for r in rows:
        first = r["track_id"] if "track_id" in r else r["prob"]
        frames[int(r["frame_id"])].append([float(first), *(float(r[k]) for k in SIDES)])
    return frames


def reference(folder: Path) -> dict[str, Any]:
    """How far the preset's tracks are from the recorded ones."""
    truth, boxes, same, worst = _recorded(folder / "tracking_results.json"), 0, 0, 0.0
    tracker = ByteTracker()
    for frame, rows in enumerate(_recorded(folder / "detection_results.json")):
        table = np.array(rows).reshape(-1, 5)
        corners = np.concatenate([table[:, 1:3], table[:, 1:3] + table[:, 3:5]], 1)
        found = Detections(
            corners.astype(np.float32), table[:, 0].astype(np.float32), np.zeros(len(table), "i4")
        )
        tracks = tracker.step(found, frame, (720, 1280))
        want = {int(key): np.array(box) for key, *box in truth[frame]}
        boxes += len(tracks)
        for key, box in zip(tracks.track_ids.tolist(), tracks.boxes_src.astype(float), strict=True):
            if key in want:
                same += 1
                got = np.concatenate([box[:2], box[2:] - box[:2]])
                worst = max(worst, float(np.abs(got - want[key]).max()))
    recorded = sum(map(len, truth))
    return {"recorded": recorded, "boxes": boxes, "same_id": same, "largest_px": round(worst, 5)}


def quality(data: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by variant and sequence, all together under COMBINED."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, config in VARIANTS.items():
        meters = {}
        for each in load(data):
            tracks, _ = follow(each.stream, config, 1024)
            pairs = [(t.track_ids, t.boxes_src.astype(np.float64)) for t in tracks]
            meters[each.name] = each.meter(each.numbers, pairs)
        found[name] = {key: row(meter.result()) for key, meter in meters.items()}
        found[name]["COMBINED"] = row(combine(list(meters.values())))
    return found


def cost(objects: int, workers: dict[str, Worker]) -> dict[str, Any]:
    """Of one sparse scene: microseconds of an update, and how many times ours the peers take."""
    stream, seconds, failed = scene(objects, FRAMES, sparse=True), {"edgemtl": []}, {}
    for _ in range(ROUNDS):
        ours = follow(stream, ByteTrackConfig(), max(1024, 2 * objects))[1]
        seconds["edgemtl"].append(float(np.median(ours[WARM:])))
        for name, worker in workers.items() if objects <= MOST_OF_PEERS else ():
            if name in failed:
                continue
            try:
                took = worker.run(name, stream, BUDGET_S, LEAST).seconds
            except PeerError as error:
                failed[name] = str(error)
                continue
            warm = max(1, min(WARM, len(took) - LEAST))
            seconds.setdefault(name, []).append(float(np.median(took[warm:])))
    times = {
        name: round(statistics.median(np.divide(each, seconds["edgemtl"]).tolist()), 1)
        for name, each in seconds.items()
        if name != "edgemtl" and name not in failed
    }
    us = {name: round(statistics.median(each) * 1e6, 1) for name, each in seconds.items()}
    return {"us": us, "times_ours": times, "failed": failed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--env", type=Path, help="of peers/install.py; default: ours alone")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        workers = {}
        for distribution, names in installed(arguments.env).items() if arguments.env else ():
            mine = [name for name in names if name.endswith("bytetrack")]
            if mine:
                worker = stack.enter_context(worker_for(arguments.env, distribution))
                workers |= dict.fromkeys(mine, worker)
        costs = {str(objects): cost(objects, workers) for objects in SIZES}
    result = {
        "host": host_facts(),
        "peers": known(arguments.env) if arguments.env else {},
        "reference": reference(arguments.data / "bytetrack_reference"),
        "quality": quality(arguments.data),
        "cost": costs,
    }
    for name, scores in result["quality"].items():
        print(name, scores["COMBINED"])
    print(result["reference"], json.dumps(costs, indent=1), sep="\n")
    write_text(arguments.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
