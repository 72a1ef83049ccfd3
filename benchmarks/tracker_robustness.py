"""What lost frames cost the tracker and its peers: results/tracker_robustness.json.

    python benchmarks/tracker_robustness.py --data ../shared/data --env PEERS   # 15 minutes
    python benchmarks/tracker_robustness.py --data ../shared/data    # ours anew, the peers' kept

Three disturbances of the five sequences: 30 % of the frames dropped at random (four draws), every
second frame dropped (both halves), and 2 s without frames (four places). Trackers get the frames
that are left: ours with their true times, the peers in their ordinary call and, under NAME@time,
told the time where they take it.

Loss = HOTA of the undisturbed run - HOTA of the disturbed run, both scored on the very frames that
are left, all sequences together, mean of the draws: a frame that is missing costs nobody anything,
and neither does one that is easy or hard. The undisturbed run saw all frames.

A tracker whose undisturbed run is weak has little to lose, and some gain by seeing less: a loss can
be negative. So the absolute HOTA stands beside each loss, and ours is compared with three peers:
the one of the highest undisturbed HOTA, the one of the highest HOTA after the disturbance, and the
one of the smallest loss. A ratio divides by no loss below FLOOR: less than that is chance (``sd``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mot_data import Sequence, follow, load
from peers.adapters import TIMED
from peers.client import Followed, PeerError, Stream, installed, known, worker_for

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.metrics import combine
from edgemtl.track import TrackerConfig

OUT = Path(__file__).resolve().parent / "results" / "tracker_robustness.json"
DRAWS = {"drop_30": 4, "half_rate": 2, "outage_2s": 4}
OUTAGE_S, MARGIN_S = 2.0, 0.4
KEYS = ("hota", "idf1", "mota")
FLOOR = 0.005
TARGET = 0.5
"""Of the best peer's loss."""
Mask = npt.NDArray[np.bool_]
Run = Callable[[Stream], Followed]


def kept(kind: str, draw: int, stream: Stream, seed: int) -> Mask:
    """The frames [F] that are left of ``stream``."""
    times, rng = stream.times_s, np.random.default_rng([draw, seed])
    if kind == "drop_30":
        return rng.random(len(times)) >= 0.3
    if kind == "half_rate":
        return np.arange(len(times)) % 2 == draw
    start = rng.uniform(MARGIN_S, max(times[-1] - OUTAGE_S - MARGIN_S, MARGIN_S))
    return (times < start) | (times >= start + OUTAGE_S)


def trial(
    kind: str, draw: int, sequences: list[Sequence], whole: list[Followed], run: Run
) -> dict[str, tuple[float, float]]:
    """One draw over all sequences: (undisturbed, disturbed) by score, on the frames left."""
    before, after = [], []
    for number, (sequence, full) in enumerate(zip(sequences, whole, strict=True)):
        left = kept(kind, draw, sequence.stream, number)
        numbers = np.flatnonzero(left) + 1
        frames = full.frames()
        before.append(sequence.meter(numbers, [frames[n - 1] for n in numbers]))
        after.append(sequence.meter(numbers, run(sequence.stream.only(left)).frames()))
    scores = combine(before), combine(after)
    return {key: (getattr(scores[0], key), getattr(scores[1], key)) for key in KEYS}


def measure(sequences: list[Sequence], run: Run) -> dict[str, dict[str, float]]:
    """By disturbance: HOTA, IDF1, MOTA after it, undisturbed on the same frames, and the losses."""
    whole = [run(sequence.stream) for sequence in sequences]
    found = {}
    for kind, draws in DRAWS.items():
        trials = [trial(kind, draw, sequences, whole, run) for draw in range(draws)]
        result: dict[str, float] = {}
        for key in KEYS:
            before, after = np.array([each[key] for each in trials]).T
            result[key] = round(float(after.mean()), 4)
            result[f"{key}_undisturbed"] = round(float(before.mean()), 4)
            result[f"{key}_loss"] = round(float((before - after).mean()), 4)
        losses = [each["hota"][0] - each["hota"][1] for each in trials]
        found[kind] = {**result, "hota_loss_sd": round(float(np.std(losses, ddof=1)), 4)}
    return found


def ours(sequences: list[Sequence], config: TrackerConfig) -> dict[str, dict[str, float]]:
    """The same for our tracker, in this process."""
    return measure(sequences, lambda stream: follow(stream, config))


def theirs(env: Path, sequences: list[Sequence]) -> dict[str, Any]:
    """Every installed peer; a string says why one has no figures.

    boxmot's C++ trackers are left out: their tracks equal those of its Python (tracker_quality).
    """
    jobs = []
    for distribution, trackers in installed(env).items():
        if distribution != "boxmot-cpp":
            timed = [name for name in TIMED if name.partition("@")[0] in trackers]
            jobs += [(distribution, name) for name in trackers + timed]

    def one(job: tuple[str, str]) -> dict[str, Any] | str:
        with worker_for(env, job[0]) as worker:
            try:
                return measure(sequences, lambda stream: worker.run(job[1], stream))
            except PeerError as error:
                return str(error)
            finally:
                print(job[1], file=sys.stderr, flush=True)

    with ThreadPoolExecutor(4) as pool:
        return dict(zip((name for _, name in jobs), pool.map(one, jobs), strict=True))


def judge(mine: dict[str, dict[str, float]], peers: dict[str, Any]) -> dict[str, Any]:
    """By disturbance: our HOTA and loss, the peers to compare with and the ratios to their loss."""
    verdict = {}
    rows = {name: each for name, each in peers.items() if not isinstance(each, str)}
    for kind in DRAWS if rows else ():
        here = {name: each[kind] for name, each in rows.items()}
        chosen = {
            "highest_undisturbed": max(here, key=lambda name: here[name]["hota_undisturbed"]),
            "highest_disturbed": max(here, key=lambda name: here[name]["hota"]),
            "smallest_loss": min(here, key=lambda name: here[name]["hota_loss"]),
        }
        loss = mine[kind]["hota_loss"]
        verdict[kind] = {"hota": mine[kind]["hota"], "loss": loss}
        for reason, name in chosen.items():
            peer = here[name]
            verdict[kind][reason] = {
                "peer": name, "hota": peer["hota"], "loss": peer["hota_loss"],
                "ratio": _ratio(loss, peer["hota_loss"]),
            }  # fmt: skip
    return verdict


def _ratio(loss: float, other: float) -> float:
    return round(max(loss, 0.0) / max(other, FLOOR), 2)


def table(mine: dict[str, dict[str, float]], peers: dict[str, Any]) -> list[str]:
    """HOTA after each disturbance and the loss, as the lines of a Markdown table."""
    rows = {"edgemtl": mine, **{k: v for k, v in peers.items() if not isinstance(v, str)}}
    lines = ["| tracker | " + " | ".join(f"{kind} | loss" for kind in DRAWS) + " |"]
    lines.append("| --- |" + " ---: |" * (2 * len(DRAWS)))
    for name in sorted(rows, key=lambda n: -sum(rows[n][kind]["hota"] for kind in DRAWS)):
        cells = [f"{rows[name][k]['hota']:.3f} | {rows[name][k]['hota_loss']:.3f}" for k in DRAWS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--env", type=Path, help="of peers/install.py; default: keep the peers'")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    changes = {k: float(v) for k, v in (pair.split("=") for pair in arguments.set)}
    sequences = load(arguments.data)
    mine = ours(sequences, TrackerConfig(**changes))
    if arguments.env:
        peers = {"versions": known(arguments.env), "scores": theirs(arguments.env, sequences)}
    else:
        before = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
        peers = before.get("peers", {"versions": {}, "scores": {}})
    verdict = judge(mine, peers["scores"])
    missed = [
        f"{kind}: loss {each['loss']}; {reason}, {peer['peer']}: {peer['loss']}"
        for kind, each in verdict.items()
        for reason, peer in each.items()
        if isinstance(peer, dict) and peer["ratio"] > TARGET
    ]
    result = {
        "host": host_facts(), "draws": DRAWS, "floor": FLOOR, "target": TARGET,
        "config": {"changed": changes}, "edgemtl": mine, "peers": peers, "verdict": verdict,
        "missed": missed, "table": table(mine, peers["scores"]),
    }  # fmt: skip
    if not changes:
        write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    print(*result["table"], "", json.dumps(verdict, indent=1), *missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
