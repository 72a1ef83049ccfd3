"""Scores and speed of the shipped models in FP32 and INT8, into results/shipped_models.json.

    python benchmarks/shipped_models.py --data-root DATA

INT8 is calibrated here, on pictures of the training split, as a user would; scores are over the
``[[val]]`` sets of benchmarks/data/NAME.toml. Speed is the network alone on one thread of ONNX
Runtime, the two precisions taking turns, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.bench.host import host_facts
from edgemtl.data.config import DataMix, load_data
from edgemtl.engine import open_session
from edgemtl.evaluate import evaluate_model
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate
from edgemtl.records import U8

HERE = Path(__file__).parent
MODELS = ("toy", "street")
WARM_UP, ROUNDS = 10, 100


class Pictures:
    """``count`` pictures of a mix, the same number from each data set, evenly spread."""

    def __init__(self, mix: DataMix, count: int) -> None:
        each = -(-count // len(mix.sets))
        self._places = [
            (data, int(index))
            for data in mix.sets
            for index in np.unique(np.linspace(0, len(data) - 1, each).round())
        ]

    def __len__(self) -> int:
        return len(self._places)

    def image(self, index: int) -> U8:
        data, place = self._places[index]
        return data.image(place)

    def file(self, index: int) -> str:
        data, place = self._places[index]
        return data.file(place)


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
    data = HERE / "data" / f"{name}.toml"
    int8 = folder / f"{name}.int8.onnx"
    pictures = Pictures(load_data(data, "train", data_root), 250)
    report = calibrate(resolve_model(name), pictures, int8, CalibrateOptions())
    paths = {"fp32": resolve_model(name), "int8": int8}
    validation = load_data(data, "val", data_root)
    scores = {}
    for precision, path in paths.items():
        with closing(open_session(path)) as session:
            scores[precision] = evaluate_model(session, validation).to_dict()
    return {
        "scores": scores,
        "calibration": report.to_dict()["agreement"],
        "speed": speed(paths),
        "size_bytes": {precision: path.stat().st_size for precision, path in paths.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    root = parser.parse_args().data_root
    with tempfile.TemporaryDirectory() as folder:
        models = {name: measure(name, root, Path(folder)) for name in MODELS}
    result = {"host": host_facts(), "models": models}
    path = HERE / "results" / "shipped_models.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
