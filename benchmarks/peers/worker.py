"""Run trackers over detections from files. Runs in a peer's environment; see client.py.

One job a line on standard input, as JSON: ``peer``, ``stream`` (npz in), ``out`` (npz written),
``budget_s`` and ``least`` (stop when the updates took longer, but not before so many frames). One
line of JSON back for each.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

MOST_BYTES = 6 << 30


def frames(stream: Any) -> list[Any]:
    """The frames of an npz written by ``Worker.run``."""
    from adapters import Frame

    ends = np.cumsum(stream["counts"])
    size_hw = (int(stream["size_hw"][0]), int(stream["size_hw"][1]))
    return [
        Frame(
            stream["boxes"][end - count : end],
            stream["scores"][end - count : end],
            stream["labels"][end - count : end],
            float(when),
            size_hw,
        )
        for end, count, when in zip(ends, stream["counts"], stream["times_s"], strict=True)
    ]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One stream through a fresh tracker; ``seconds`` [F] are of the updates alone."""
    from adapters import make

    with np.load(job["stream"]) as stream:
        fps, given = float(stream["fps"]), frames({key: stream[key] for key in stream.files})
    tracker = make(job["peer"], fps)
    ids, boxes, counts, seconds = [], [], [], []
    left = float(job.get("budget_s") or float("inf"))
    for frame in given:
        made = tracker.prepare(frame)
        tracker.update(made)
        left -= tracker.update.seconds
        seconds.append((tracker.core or tracker.update).seconds)
        here, where = tracker.read(tracker.update.result)
        ids.append(here), boxes.append(where), counts.append(len(here))
        if left < 0 and len(counts) >= job["least"]:
            break
    np.savez(
        job["out"], ids=np.concatenate(ids), boxes=np.concatenate(boxes).astype(np.float64),
        counts=np.array(counts), seconds=np.array(seconds),
    )  # fmt: skip
    return {"frames": len(counts)}


def main() -> None:
    # a dense matrix of all pairs must not take the machine down
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    # trackers print: standard output is kept for the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        try:
            answer = run(json.loads(line))
        except Exception as error:  # a peer may raise anything; the caller records it
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
