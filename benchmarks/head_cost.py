"""What the image class and the embeddings cost over detection alone, into results/head_cost.json.

    python benchmarks/head_cost.py [--rounds N]

The shipped networks `toy` (192x320) and `street` (320x416), in FP32 and in INT8 (rebuilt from the
frozen tables), against the very same graphs without the outputs of the two small heads and all that
only these need: what an export of a network with detection alone holds. ONNX Runtime, one thread;
the two graphs take turns picture by picture, and who begins changes every round. Processor time of
the thread, which other programs on the machine disturb less than the clock's; both are in the file.
Exits with 1 if the median costs more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.graph.cost import graph_cost
from edgemtl.graph.file import load_model
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import rebuild

HERE = Path(__file__).parent
ROOT = HERE.resolve().parent
MODELS = ("toy", "street")
MOST = 0.05
DETECTION = ("boxes", "scores", "labels")
WARM_UP = 10


def detection_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the outputs of detection alone, and the nodes that these need."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    kept = [value for value in cut.graph.output if value.name in DETECTION]
    del cut.graph.output[:]
    cut.graph.output.extend(kept)
    needed = set(DETECTION)
    nodes = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    del cut.graph.node[:]
    cut.graph.node.extend(reversed(nodes))
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del cut.graph.initializer[:]
    cut.graph.initializer.extend(constants)
    return cut


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def compare(model: onnx.ModelProto, rounds: int) -> dict[str, Any]:
    """Milliseconds of both graphs, and how much more the whole one takes."""
    graphs = {"detection": detection_only(model), "all": model}
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    entry = sessions["all"].get_inputs()[0]
    low, high = (-128, 128) if entry.type == "tensor(int8)" else (0, 256)
    shape = (1, *entry.shape[1:])
    picture = np.random.default_rng(0).integers(low, high, shape)
    feed = {entry.name: picture.astype(np.int8 if low else np.uint8)}
    clocks = {"processor": time.thread_time_ns, "clock": time.perf_counter_ns}
    taken: dict[tuple[str, str], list[int]] = {(n, c): [] for n in sessions for c in clocks}
    for number in range(WARM_UP + rounds):
        for name in list(sessions)[:: 1 if number % 2 else -1]:
            began = {clock: read() for clock, read in clocks.items()}
            sessions[name].run(None, feed)
            for clock, read in clocks.items():
                if number >= WARM_UP:
                    taken[name, clock].append(read() - began[clock])
    result: dict[str, Any] = {
        name: {"gmac": graph_cost(graph).macs / 1e9} for name, graph in graphs.items()
    }
    for clock in clocks:
        one, both = (np.array(taken[name, clock]) / 1e6 for name in ("detection", "all"))
        result["detection"][f"{clock}_ms"] = _middle(one)
        result["all"][f"{clock}_ms"] = _middle(both)
        result[f"{clock}_cost"] = {
            "median": float(np.median(both) / np.median(one) - 1),
            "quarter": float(np.quantile(both, 0.25) / np.quantile(one, 0.25) - 1),
            "least": float(both.min() / one.min() - 1),
            "median_of_pairs": float(np.median(both / one) - 1),
        }
    return result


def _middle(times: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(times)), "least": float(times.min())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "head_cost.json")
    given = parser.parse_args()
    models: dict[str, Any] = {}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            table = ROOT / "calibration" / "tables" / f"{name}.ranges.json"
            int8 = rebuild(resolve_model(name), table, Path(folder) / f"{name}.int8.onnx").host
            models[name] = {}
            for precision, path in (("fp32", resolve_model(name)), ("int8", int8)):
                found = models[name][precision] = compare(load_model(path)[0], given.rounds)
                cost = found["processor_cost"]["median"]
                print(f"{name} {precision}: {100 * cost:+.2f} % {found['processor_cost']}")
                if cost > MOST:
                    missed.append(f"{name} {precision}: {100 * cost:.1f} % > {100 * MOST:.0f} %")
    result = {"host": host_facts(), "rounds": given.rounds, "models": models, "missed": missed}
    write_text(given.out, json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
