"""What the image class and the embeddings cost over detection alone, into results/head_cost.json.

    python benchmarks/head_cost.py [--loads N]

The shipped networks `toy` (192x320) and `street` (320x416), in FP32 and in INT8 (rebuilt from the
frozen tables), against the very same graphs without the outputs of the two small heads and all that
only these need: what an export of a network with detection alone holds. ONNX Runtime, one thread;
the two graphs take turns picture by picture, and who begins changes every round. Processor time of
the thread, which other programs on the machine disturb less than the clock's.
Where its memory lies makes a graph some percent faster or slower each time that it is loaded, as
much as is to be measured: the cost is the median over many loads, each the ratio of two medians,
with a 95 % interval. Exits with 1 if it is more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgemtl.bench.host import host_facts
from edgemtl.engine.timing import take_turns
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
ROUNDS = 30
"""Of each load."""


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


def one_load(graphs: dict[str, onnx.ModelProto]) -> dict[str, float]:
    """Both graphs loaded anew: the median of each, ms of the thread's processor time."""
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    entry = sessions["all"].get_inputs()[0]
    low, high = (-128, 128) if entry.type == "tensor(int8)" else (0, 256)
    shape = (1, *entry.shape[1:])
    picture = np.random.default_rng(0).integers(low, high, shape)
    feed = {entry.name: picture.astype(np.int8 if low else np.uint8)}
    calls = {name: partial(session.run, None, feed) for name, session in sessions.items()}
    taken = take_turns(calls, ROUNDS, time.thread_time)
    return {name: float(np.median(ms)) for name, ms in taken.items()}


def compare(model: onnx.ModelProto, loads: int) -> dict[str, Any]:
    """Milliseconds of both graphs, and how much more the whole one takes."""
    graphs = {"detection": detection_only(model), "all": model}
    orders = [dict(list(graphs.items())[:: 1 if load % 2 else -1]) for load in range(loads)]
    found = [one_load(order) for order in orders]
    result: dict[str, Any] = {
        name: {
            "gmac": graph_cost(graph).macs / 1e9,
            "processor_ms": float(np.median([one[name] for one in found])),
        }
        for name, graph in graphs.items()
    }
    ratios = np.array([one["all"] / one["detection"] - 1 for one in found])
    result["processor_cost"] = {"median": float(np.median(ratios)), "interval": interval(ratios)}
    return result


def interval(values: np.ndarray) -> list[float]:
    """The median's 95 % interval, by drawing the loads anew."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    return [float(value) for value in np.percentile(np.median(drawn, axis=1), [2.5, 97.5])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=60)
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
                found = models[name][precision] = compare(load_model(path)[0], given.loads)
                cost = found["processor_cost"]["median"]
                low, high = (100 * end for end in found["processor_cost"]["interval"])
                words = f"{name} {precision}: {100 * cost:.1f} % ({low:.1f} to {high:.1f})"
                print(words, flush=True)
                if cost > MOST:
                    missed.append(f"{words} > {100 * MOST:.0f} %")
    result = {
        "host": host_facts(),
        "loads": given.loads,
        "rounds": ROUNDS,
        "models": models,
        "missed": missed,
    }
    write_text(given.out, json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
