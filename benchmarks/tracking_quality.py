"""The tracker alone on public detections: HOTA, IDF1, MOTA of five sequences, beside SORT's.

    python benchmarks/tracking_quality.py --data ../shared/data [--set lost_s=2 ...]

SORT's figures (max_age 1, min_hits 3, IoU 0.3, scored by TrackEval 1.3.0) come with the data. PETS
is scored on frames 1 to 600; its frames 601 to 795 are nobody's to tune on.
"""

from __future__ import annotations

import argparse
import configparser
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.metrics import TrackingMeter, TrackingScores, combine
from edgemtl.records import Detections
from edgemtl.track import Tracker, TrackerConfig
from edgemtl.track_file import read_mot

LAST_FRAME = {"PETS09-S2L1": 600}
KEYS = ("hota", "deta", "assa", "mota", "idf1", "idsw")


def follow(folder: Path, config: TrackerConfig) -> TrackingMeter:
    """Track the public detections of one sequence and meet its ground truth."""
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    sequence = info["Sequence"]
    fps = sequence.getfloat("frameRate")
    size_hw = (sequence.getint("imHeight"), sequence.getint("imWidth"))
    length = LAST_FRAME.get(folder.name, sequence.getint("seqLength"))
    truth, found = read_mot(folder / "gt/gt.txt"), read_mot(folder / "det/det.txt")
    tracker, meter = Tracker(config), TrackingMeter()
    for number in range(1, length + 1):
        here, true = found.at(number), truth.at(number)
        detections = Detections(
            here.boxes_src, here.scores, np.zeros(len(here.scores), np.int32), None
        )
        tracks = tracker.step(detections, round((number - 1) / fps * 1e9), size_hw)
        meter.add_frame(true.ids, true.boxes_src, tracks.track_ids, tracks.boxes_src)
    return meter


def measure(data: Path, config: TrackerConfig) -> dict[str, dict[str, float]]:
    """Scores by sequence, and of all together under COMBINED."""
    meters = {
        folder.name: follow(folder, config)
        for folder in sorted((data / "mot").iterdir())
        if (folder / "det").is_dir()
    }
    scores = {name: _row(meter.result()) for name, meter in meters.items()}
    scores["COMBINED"] = _row(combine(list(meters.values())))
    return scores


def _row(scores: TrackingScores) -> dict[str, float]:
    return {key: round(float(getattr(scores, key)), 4) for key in KEYS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=None, help="JSON; default: print only")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    changes = {k: float(v) for k, v in (pair.split("=") for pair in arguments.set)}
    scores = measure(arguments.data, TrackerConfig(**changes))
    expected = json.loads((arguments.data / "expected_trackeval.json").read_text())["sort_on_det"]
    columns = " ".join(
        f"{name:>6}" for score in ("HOTA", "IDF1", "MOTA") for name in (score, "SORT")
    )
    print(f"{'sequence':16} {columns} IDSW")
    for name, ours in scores.items():
        sort = expected[name]
        print(
            f"{name:16} {ours['hota']:6.3f} {sort['HOTA']:6.3f} {ours['idf1']:6.3f} "
            f"{sort['IDF1']:6.3f} {ours['mota']:6.3f} {sort['MOTA']:6.3f} {ours['idsw']:4.0f}"
        )
    if arguments.out:
        result: dict[str, Any] = {"host": host_facts(), "edgemtl": scores, "sort": expected}
        write_text(arguments.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
