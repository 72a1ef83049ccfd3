"""The tracker on public detections beside its peers: results/tracker_quality.json.

    python benchmarks/peers/install.py --env DIR        # once; several GB
    python benchmarks/tracker_quality.py --data ../shared/data --env DIR [--set lost_s=2 ...]

Five sequences on their given detections, PETS on frames 1 to 600 (601 to 795 are nobody's to tune
on). Every tracker runs once with its default settings; what it reports is scored as it is, by
edgemtl.metrics, which equals TrackEval. No images are given, so nobody compensates camera motion
from pixels. Without --env ours is measured anew and the peers' figures of the last run are kept.
SORT's figures come with the data; the figures of "perfect" are those of the detections that meet a
true box (IoU .5), with its identity.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mot_data import Sequence, follow, load, row
from peers.adapters import NOTES
from peers.client import Followed, PeerError, installed, known, worker_for

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.metrics import TrackingMeter, combine
from edgemtl.metrics.boxes import iou
from edgemtl.metrics.matching import match
from edgemtl.track import TrackerConfig

OUT = Path(__file__).resolve().parent / "results" / "tracker_quality.json"
Scores = dict[str, dict[str, float]]
RECORDED = {
    "roboflow-botsort": (0.4546, 0.5845, 0.6196),
    "roboflow-cbiou": (0.4512, 0.5854, 0.6171),
    "boxmot-bytetrack": (0.4449, 0.5950, 0.5894),
    "boxmot-ocsort": (0.4286, 0.5701, 0.5895),
    "ultralytics-botsort": (0.4483, 0.6019, 0.5883),
}
"""Combined HOTA, MOTA and IDF1 of an earlier, separate study: a check of the adapters."""
TARGETS = {"hota": 0.50, "mota": 0.635, "idf1": 0.70}
WITHIN = 0.03
"""On each sequence HOTA lies at most so far below the best peer's."""


def scored(meters: dict[str, TrackingMeter]) -> Scores:
    """Scores by sequence, and of all together under COMBINED."""
    scores = {name: row(meter.result()) for name, meter in meters.items()}
    scores["COMBINED"] = row(combine(list(meters.values())))
    return scores


def measure(data: Path, config: TrackerConfig) -> Scores:
    """Ours: scores by sequence, and of all together under COMBINED."""
    return scored(
        {
            each.name: each.meter(each.numbers, follow(each.stream, config).frames())
            for each in load(data)
        }
    )


def perfect(sequence: Sequence) -> TrackingMeter:
    """The detections that meet a true box at IoU .5, with the true identity."""
    ends = np.cumsum(sequence.stream.counts)
    tracks = []
    for number, end, count in zip(sequence.numbers, ends, sequence.stream.counts, strict=True):
        boxes, true = sequence.stream.boxes[end - count : end], sequence.truth.at(number)
        overlap = iou(true.boxes_src.astype(np.float64), boxes.astype(np.float64))
        rows, columns = match(np.where(overlap >= 0.5, overlap, 0.0))
        met = overlap[rows, columns] >= 0.5
        tracks.append((true.ids[rows[met]], boxes[columns[met]]))
    return sequence.meter(sequence.numbers, tracks)


def peers(env: Path, sequences: list[Sequence]) -> Iterator[tuple[str, list[Followed] | str]]:
    """Each installed peer's tracks of each sequence, or why there are none."""
    for distribution, trackers in installed(env).items():
        with worker_for(env, distribution) as worker:
            for name in trackers:
                try:
                    yield name, [worker.run(name, each.stream) for each in sequences]
                except PeerError as error:
                    yield name, str(error)


def save(folder: Path, peer: str, sequence: Sequence, followed: Followed) -> None:
    """MOTChallenge text: FOLDER/PEER/SEQUENCE.txt."""
    lines = [
        f"{number},{key},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,-1,-1,-1\n"
        for number, (ids, boxes) in zip(sequence.numbers, followed.frames(), strict=True)
        for key, (x1, y1, x2, y2) in zip(ids, boxes, strict=True)
    ]
    (folder / peer).mkdir(parents=True, exist_ok=True)
    (folder / peer / f"{sequence.name}.txt").write_text("".join(lines), encoding="utf-8")


def best(scores: dict[str, Scores]) -> dict[str, dict[str, Any]]:
    """By sequence, the peer of the highest HOTA."""
    found = {}
    for sequence in next(iter(scores.values()), {}):
        peer = max(scores, key=lambda name: scores[name][sequence]["hota"])
        found[sequence] = {"peer": peer, "hota": scores[peer][sequence]["hota"]}
    return found


def missed(ours: Scores, leaders: dict[str, dict[str, Any]]) -> list[str]:
    """Targets that were not met, in words."""
    found = [
        f"combined {key} {ours['COMBINED'][key]} < {least}"
        for key, least in TARGETS.items()
        if ours["COMBINED"][key] < least
    ]
    return found + [
        f"{name}: HOTA {ours[name]['hota']}, {leader['peer']} {leader['hota']}"
        for name, leader in leaders.items()
        if ours[name]["hota"] < leader["hota"] - WITHIN
    ]


def table(scores: dict[str, Scores]) -> str:
    """HOTA by sequence and the combined figures, best combined HOTA first, as Markdown."""
    sequences = [name for name in next(iter(scores.values())) if name != "COMBINED"]
    head = ["tracker", *(f"HOTA {name}" for name in sequences), "HOTA", "DetA", "AssA", "MOTA"]
    lines = [[*head, "IDF1", "IDSW"], ["---"] * (len(head) + 2)]
    for name in sorted(scores, key=lambda name: -scores[name]["COMBINED"]["hota"]):
        mine, whole = scores[name], scores[name]["COMBINED"]
        cells = [f"{mine[each]['hota']:.3f}" for each in sequences]
        cells += [f"{whole[key]:.3f}" for key in ("hota", "deta", "assa", "mota", "idf1")]
        lines.append([name, *cells, f"{whole['idsw']:.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that the JSON holds."""
    sequences = load(arguments.data)
    changes = {k: float(v) for k, v in (pair.split("=") for pair in arguments.set)}
    ours = measure(arguments.data, TrackerConfig(**changes))
    theirs: dict[str, Scores] = {}
    failed: dict[str, str] = {}
    for name, tracks in peers(arguments.env, sequences) if arguments.env else ():
        if isinstance(tracks, str):
            failed[name] = tracks
            continue
        meters = {}
        for sequence, followed in zip(sequences, tracks, strict=True):
            meters[sequence.name] = sequence.meter(sequence.numbers, followed.frames())
            if arguments.tracks:
                save(arguments.tracks, name, sequence, followed)
        theirs[name] = scored(meters)
    before = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    if not arguments.env:
        theirs, failed = before.get("scores", {}), before.get("failed", {})
    expected = json.loads((arguments.data / "expected_trackeval.json").read_text())
    return {
        "host": host_facts(),
        "peers": known(arguments.env) if arguments.env else before.get("peers", {}),
        "notes": NOTES,
        "config": {"changed": changes},
        "edgemtl": ours,
        "scores": theirs,
        "failed": failed,
        "sort": expected["sort_on_det"],
        "perfect": scored({each.name: perfect(each) for each in sequences}),
        "recorded_combined": {
            name: dict(zip(("hota", "mota", "idf1"), figures, strict=True))
            for name, figures in RECORDED.items()
        },
        "best_peer": best(theirs),
        "targets": TARGETS,
        "missed": missed(ours, best(theirs)),
        "table": table({"edgemtl": ours, **theirs}).splitlines(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--env", type=Path, help="of peers/install.py; default: keep the peers'")
    parser.add_argument("--tracks", type=Path, help="folder for the peers' tracks, MOT text")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    result = compare(arguments)
    print(*result["table"], "", *result["missed"], sep="\n")
    if not arguments.set:
        write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
