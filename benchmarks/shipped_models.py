"""Scores and speed of the shipped models in FP32 and INT8, into results/shipped_models.json.

    python benchmarks/shipped_models.py --data-root DATA

INT8 is rebuilt from the frozen tables under calibration/; scores are over the ``[[val]]`` sets
of benchmarks/data/NAME.toml. Speed is the network alone on one thread of ONNX Runtime, the two
precisions taking turns, so that both see the same machine. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.bench.host import host_facts
from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.evaluate import evaluate_model
from edgemtl.files import write_text
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import rebuild

HERE = Path(__file__).parent
ROOT = HERE.resolve().parent
MODELS = ("toy", "street")
TARGETS = {"vehicles map50": 0.30, "top-1": 0.70}
MOST_LOST = 0.03
"""INT8 may lose this much of each score."""
SPEED_UP = 1.5
"""Of INT8 over FP32, one thread, median."""
WARM_UP, ROUNDS = 10, 100


def speed(paths: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Milliseconds per picture of each model (batch 1, one thread): median and 95th percentile."""
    sessions = {name: open_session(path, threads=1) for name, path in paths.items()}
    taken: dict[str, list[float]] = {name: [] for name in paths}
    rng = np.random.default_rng(0)
    pictures = {}
    for name, session in sessions.items():
        slot = session.input(session.acquire())
        low, high = (-128, 128) if slot.dtype == np.int8 else (0, 256)
        pictures[name] = rng.integers(low, high, (1, *slot.shape[1:])).astype(slot.dtype)
        session.close()
    sessions = {name: open_session(path, threads=1) for name, path in paths.items()}
    for round_number in range(WARM_UP + ROUNDS):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.infer(pictures[name])
            if round_number >= WARM_UP:
                taken[name].append(1e3 * (time.perf_counter() - started))
    for session in sessions.values():
        session.close()
    return {
        name: {"p50_ms": statistics.median(times), "p95_ms": float(np.percentile(times, 95))}
        for name, times in taken.items()
    }


def measure(name: str, data_root: Path | None, folder: Path) -> dict[str, Any]:
    """Everything about one model."""
    table = ROOT / "calibration" / "tables" / f"{name}.ranges.json"
    int8 = rebuild(resolve_model(name), table, folder / f"{name}.int8.onnx").host
    paths = {"fp32": resolve_model(name), "int8": int8}
    validation = load_data(HERE / "data" / f"{name}.toml", "val", data_root)
    scores = {}
    for precision, path in paths.items():
        with closing(open_session(path)) as session:
            scores[precision] = evaluate_model(session, validation).to_dict()
    times = speed(paths)
    return {
        "scores": scores,
        "speed": times,
        "speed_up": round(times["fp32"]["p50_ms"] / times["int8"]["p50_ms"], 3),
        "size_bytes": {precision: path.stat().st_size for precision, path in paths.items()},
    }


def misses(models: dict[str, Any]) -> list[str]:
    """Targets of `street` that were not met, in words."""
    street = models["street"]
    fp32, int8 = (_headline(street["scores"][precision]) for precision in ("fp32", "int8"))
    found = [
        f"street {key}: {fp32[key]:.3f} < {least}"
        for key, least in TARGETS.items()
        if fp32[key] < least
    ]
    found += [
        f"street int8 {key}: {int8[key]:.3f}, fp32 {fp32[key]:.3f}"
        for key in fp32
        if int8[key] < fp32[key] - MOST_LOST
    ]
    if street["speed_up"] < SPEED_UP:
        found.append(f"street int8 is {street['speed_up']:.2f} times as fast, not {SPEED_UP}")
    return found


def _headline(scores: dict[str, Any]) -> dict[str, float]:
    together = scores["together"]["classification"]
    return {
        "vehicles map50": scores["sets"]["vehicles"]["detection"]["map50"],
        "top-1": together["top1"],
        "macro-F1": together["macro_f1"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    root = parser.parse_args().data_root
    with tempfile.TemporaryDirectory() as folder:
        models = {name: measure(name, root, Path(folder)) for name in MODELS}
    missed = misses(models)
    result = {"host": host_facts(), "models": models, "missed": missed}
    path = HERE / "results" / "shipped_models.json"
    write_text(path, json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
