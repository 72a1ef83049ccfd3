"""Ultralytics' own pre-processing, timed. Runs in its environment; see preprocessing.py.

One job a line on standard input, as JSON: ``src_hw``, ``net_hw``, ``repeats``. One line of JSON
back: ``seconds`` of the thread on the processor, by repeat. The predictor is the package's own
class, its preprocess method what ``model.predict`` calls on a picture (letterbox, batch, planes,
RGB, float32 / 255); only the network, which it asks for its precision and stride, is a stand-in.
"""

from __future__ import annotations

import json
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np


def predictor(net_hw: tuple[int, int]) -> Any:
    """One that is ready to preprocess for a network of this input size, on the CPU."""
    import torch
    from ultralytics.engine.predictor import BasePredictor

    torch.set_num_threads(1)
    made = BasePredictor(overrides={"imgsz": list(net_hw), "device": "cpu", "mode": "predict"})
    made.model = SimpleNamespace(fp16=False, format="pt", stride=32)
    made.device = torch.device("cpu")
    made.imgsz = net_hw
    return made


def run(job: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """One block of repeats; predictors and pictures are kept."""
    key = json.dumps([job["src_hw"], job["net_hw"]])
    if key not in known:
        picture = np.random.default_rng(0).integers(0, 256, (*job["src_hw"], 3), np.uint8)
        known[key] = predictor((job["net_hw"][0], job["net_hw"][1])), picture
    made, picture = known[key]
    seconds = []
    for _ in range(job["repeats"]):
        start = time.thread_time()
        result = made.preprocess([picture])
        seconds.append(time.thread_time() - start)
    return {"seconds": seconds, "shape": list(result.shape), "dtype": str(result.dtype)}


def main() -> None:
    # the package prints: standard output is kept for the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    cv2.setNumThreads(1)
    known: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            answer = run(json.loads(line), known)
        except Exception as error:  # the peer may raise anything; the caller records it
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
