"""What INT8 costs and gains where there is much data to tell: results/int8_targets.json.

    python benchmarks/int8_targets.py [--only world speed]

World: `toy` over 5,000 frames of a synthetic world that it was neither trained nor calibrated on,
in 40 clips with hundreds of identities: the losses of both INT8 graphs with 95 % intervals
(pictures drawn anew; tracking as the mean over seeded noises), and the cosine of embeddings of the
same detections. Speed: `street` in float32 and INT8 on ONNX Runtime with one and two threads and on
OpenVINO with one, taking turns; of ONNX Runtime also what its convolutions alone gain, by its own
profile, which no graph of them can exceed. The INT8 graphs are rebuilt from the frozen tables. The
latest result of a part is kept where only the other one is measured. Exits 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnxruntime
import study

from edgemtl.data.config import load_data
from edgemtl.engine.openvino import OpenVinoSession
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.timing import time_loads
from edgemtl.evaluate.look import shown_of_data
from edgemtl.evaluate.parity import climb
from edgemtl.evaluate.rungs import Rung
from edgemtl.models import resolve_model
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.calibrate import OutputFiles, rebuild
from edgemtl.quantize.losses import LossOptions, Measured
from edgemtl.track import TrackerConfig

RESULT = study.RESULTS / "int8_targets.json"
TABLES = study.HERE.parent / "calibration" / "tables"
CLIPS, FRAMES = 40, 125
WORLD = f"""classes = ["disc", "box", "triangle", "star", "ring"]
image_classes = ["day", "dusk", "night", "fog"]
[[val]]
name = "world"
format = "synthetic"
seed = 9401
clips = {CLIPS}
frames_per_clip = {FRAMES}
"""
BUDGET = Budget({"det": 1.0, "cls": 0.5, "track": 0.5})
COSINE = 0.99
SPEED_UP = {"onnxruntime, 1 thread": 2.2, "onnxruntime, 2 threads": 1.8, "openvino, 1 thread": 2.0}
CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv")
ROUNDS = 300
LOADS = 12
"""The rounds are spread over so many loads of the networks."""


def rebuilt(name: str, folder: Path) -> OutputFiles:
    return rebuild(
        resolve_model(name), TABLES / f"{name}.ranges.json", folder / f"{name}.int8.onnx"
    )


def world(folder: Path) -> study.Json:
    """Losses of `toy`, by graph; identities and frames."""
    files, file = rebuilt("toy", folder), folder / "world.toml"
    file.write_text(WORLD, encoding="utf-8")
    mix, options = load_data(file, "val"), LossOptions()

    def measured(path: Path) -> Measured:
        with closing(OrtSession(path, threads=1)) as session:
            return Measured(session, mix, options, path.name)

    exact = measured(resolve_model("toy"))
    graphs = {"int8": files.host, "int8 trt": files.trt}
    losses = {}
    for name, path in graphs.items():
        found = measured(path).losses(exact, BUDGET)
        losses[name] = [loss.to_dict() for loss in found]
        print(name, *(loss.words for loss in found), sep="\n  ", flush=True)
    rungs = [Rung("fp32", lambda: OrtSession(resolve_model("toy"), threads=1))]
    rungs += [
        Rung(name, lambda at=path: OrtSession(at, threads=1)) for name, path in graphs.items()
    ]
    ladder = climb(rungs, shown_of_data(mix, 1000), TrackerConfig())
    cosines = {
        row.name: round(row.agreement.mean_cosine, 5) for row in ladder.rows if row.agreement
    }
    seen = {i for n in range(len(mix.sets[0])) for i in mix.sets[0].truth(n).identities.tolist()}
    return {
        "frames": CLIPS * FRAMES, "identities": len(seen), "losses": losses, "cosine": cosines,
    }  # fmt: skip


def speed(folder: Path) -> study.Json:
    """Milliseconds of `street` by session and graph, and float32's over INT8's, load by load."""
    paths = {"fp32": resolve_model("street"), "int8": rebuilt("street", folder).host}
    found = {}
    for name in SPEED_UP:
        kind, _, threads = name.partition(", ")
        make: Any = OrtSession if kind == "onnxruntime" else OpenVinoSession
        makers = {k: partial(make, p, threads=int(threads.split()[0])) for k, p in paths.items()}
        taken = time_loads(makers, ROUNDS // LOADS, LOADS)
        ratios = [
            statistics.median(a) / statistics.median(b)
            for a, b in zip(taken["fp32"], taken["int8"], strict=True)
        ]
        every = {key: [ms for load in one for ms in load] for key, one in taken.items()}
        found[name] = {
            **study.median_ms(every),
            "speed_up": round(statistics.median(ratios), 3),
            "speed_up_of_loads": sorted(round(ratio, 3) for ratio in ratios),
        }
        if kind == "onnxruntime":
            found[name]["convolutions"] = convolutions(paths, int(threads.split()[0]), folder)
        print(name, found[name], flush=True)
    return found


def convolutions(paths: dict[str, Path], threads: int, folder: Path) -> float:
    """How much faster the convolutions alone are in INT8: medians of every node, summed."""
    spent = {}
    for precision, path in paths.items():
        nodes: dict[str, list[int]] = {}
        for load in range(LOADS):
            where = folder / f"{precision}-{load}"
            for name, duration in profiled(path, threads, ROUNDS // LOADS, where):
                nodes.setdefault(name, []).append(duration)
        spent[precision] = sum(statistics.median(times) for times in nodes.values())
    return round(spent["fp32"] / spent["int8"], 3)


def profiled(path: Path, threads: int, rounds: int, where: Path) -> Iterator[tuple[str, int]]:
    """Each convolution of each round, and its microseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, True
    options.profile_file_prefix = str(where)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    picture = np.random.default_rng(0).integers(0, 256, (1, *entry.shape[1:]), np.uint8)
    if entry.type == "tensor(int8)":
        picture = (picture - 128).view(np.int8)
    for _ in range(rounds):
        session.run(None, {entry.name: picture})
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        kernel = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if kernel and event["args"]["op_name"] in CONVOLUTIONS:
            yield event["name"], event["dur"]


def misses(parts: study.Json) -> list[str]:
    """Targets that were not met, in words."""
    found = [f"{part}: not measured yet" for part in ("world", "speed") if part not in parts]
    for graph, losses in parts.get("world", {}).get("losses", {}).items():
        found += [
            f"{graph}: {one['score']} loses {one['loss_points']:.2f}, at most {one['budget']}"
            for one in losses
            if one["budget"] is not None and one["loss_points"] > one["budget"]
        ]
    for graph, cosine in parts.get("world", {}).get("cosine", {}).items():
        if cosine < COSINE:
            found.append(f"world, {graph}: cosine of embeddings {cosine}, at least {COSINE}")
    for name, times in parts.get("speed", {}).items():
        if times["speed_up"] < SPEED_UP[name]:
            found.append(f"{name}: INT8 is {times['speed_up']:.2f}x, target {SPEED_UP[name]}x")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=("world", "speed"), default=["world", "speed"])
    options = parser.parse_args()
    parts: study.Json = {}
    if RESULT.exists():
        known = json.loads(RESULT.read_text(encoding="utf-8"))
        parts = {part: known[part] for part in ("world", "speed") if part in known}
    with tempfile.TemporaryDirectory() as folder:
        for part in options.only:
            parts[part] = (world if part == "world" else speed)(Path(folder))
    return study.finish(RESULT, parts, misses(parts))


if __name__ == "__main__":
    sys.exit(main())
