"""Pre-processing on one thread: our letterbox, cv2.resize alone, chains of OpenCV, Ultralytics'.

    python benchmarks/preprocessing.py --env PEERS     (of peers/install.py; without it: no peer)

Medians of calls that take turns, so that only ratios of one run are compared; of the thread's own
time on the processor, which other work disturbs less than the clock's. ``cv2.resize`` only resizes,
to the size that the picture has inside the network input, into memory that is there already; all
others go all the way to planes. Exits 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from peers.client import ONE_THREAD, known

from edgemtl import ops
from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.manifest import InputSpec

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "preprocessing.json"
# source height and width, network height and width
SIZES = [
    ((900, 1600), (384, 640)),
    ((768, 1366), (384, 640)),
    ((720, 1280), (288, 512)),
    ((1080, 1920), (256, 416)),
    ((576, 768), (384, 512)),
]
# what, against what, and the largest ratio: of the geometric mean, and at any size
TARGETS = [
    ("int8", "cv2.resize", 0.6, 1.0),
    ("uint8", "cv2.resize", 0.6, 1.0),
    ("uint8", "ultralytics", 0.25, 1.0),
    ("float32", "ultralytics", 0.25, 1.0),
]
SHOWN = [
    "cv2.resize", "int8", "uint8", "float32", "cv2 chain uint8", "cv2 chain float32", "ultralytics",
    "nv12 uint8", "cv2 chain nv12",
]  # fmt: skip
BLOCK = 4
"""Calls in a row of each kind; the first of a block, after another's memory, is not counted."""

Hw = tuple[int, int]
Call = Callable[[], object]


@dataclass(frozen=True)
class Place:
    """Where the picture lies in the network input."""

    net_hw: Hw
    size: Hw  # width, height: OpenCV's order
    sides: tuple[int, int, int, int]  # border at the top, bottom, left, right

    def planes(self, picture: np.ndarray, swap: int) -> np.ndarray:
        """OpenCV's chain: resize, border, colour order, planes: u8 [3, h, w]."""
        small = cv2.resize(picture, self.size, interpolation=cv2.INTER_LINEAR)
        framed = cv2.copyMakeBorder(small, *self.sides, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        return np.ascontiguousarray(cv2.cvtColor(framed, swap).transpose(2, 0, 1))


def place_of(src_hw: Hw, net_hw: Hw) -> Place:
    geometry = ops.letterbox_geometry(src_hw, net_hw)
    width, height = (round(src_hw[1 - k] * geometry.scale_xy[k]) for k in (0, 1))
    left, top = (int(pad) for pad in geometry.pad_xy)
    sides = (top, net_hw[0] - top - height, left, net_hw[1] - left - width)
    return Place(net_hw, (width, height), sides)


def calls(src_hw: Hw, net_hw: Hw) -> dict[str, Call]:
    """What is timed in this process, by name."""
    random, place = np.random.default_rng(0), place_of(src_hw, net_hw)
    picture = random.integers(0, 256, (*src_hw, 3), np.uint8)
    nv12 = random.integers(0, 256, (src_hw[0] * 3 // 2, src_hw[1]), np.uint8)
    y, uv = nv12[: src_hw[0]], nv12[src_hw[0] :]
    resized = np.empty((place.size[1], place.size[0], 3), np.uint8)
    specs = {
        "int8": InputSpec(size_hw=net_hw),
        "uint8": InputSpec(size_hw=net_hw, dtype="uint8", offset=0),
        "float32": InputSpec(size_hw=net_hw, dtype="float32", scale=1 / 255, offset=0),
    }
    outs = {name: np.empty((3, *net_hw), name) for name in specs}

    def ours(name: str) -> Call:
        return lambda: ops.letterbox(picture, outs[name], specs[name])

    def chain() -> np.ndarray:
        return place.planes(picture, cv2.COLOR_BGR2RGB)

    return {
        "cv2.resize": lambda: cv2.resize(picture, place.size, dst=resized),
        **{name: ours(name) for name in specs},
        "cv2 chain uint8": chain,
        "cv2 chain float32": lambda: chain().astype(np.float32) / np.float32(255),
        "nv12 uint8": lambda: ops.letterbox_nv12(y, uv, outs["uint8"], specs["uint8"]),
        "cv2 chain nv12": lambda: place.planes(
            cv2.cvtColor(nv12, cv2.COLOR_YUV2BGR_NV12), cv2.COLOR_BGR2RGB
        ),
    }


class Ultralytics:
    """Its pre-processing, in a process of its environment."""

    def __init__(self, python: str) -> None:
        environ = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "YOLO_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(HERE / "peers" / "picture_worker.py")], env=environ,
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def seconds(self, src_hw: Hw, net_hw: Hw) -> list[float]:
        """One block. Raises RuntimeError with the reason why it cannot be measured."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"src_hw": src_hw, "net_hw": net_hw, "repeats": BLOCK}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline() or '{"error": "process ended"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        if answer["shape"] != [1, 3, *net_hw] or answer["dtype"] != "torch.float32":
            raise RuntimeError(f"made {answer['dtype']} {answer['shape']}")
        found: list[float] = answer["seconds"]
        return found


def peer(env: Path | None) -> tuple[Ultralytics | None, str]:
    """A worker and its version, or None and the reason."""
    if env is not None:
        entry = known(env).get("ultralytics", {"skipped": f"not in {env.name}"})
        if "version" not in entry:
            return None, str(entry["skipped"])
        return Ultralytics(str(env / "ultralytics" / "bin" / "python")), str(entry["version"])
    if find_spec("ultralytics") is None:
        return None, "no --env, and not in this environment"
    return Ultralytics(sys.executable), version_of("ultralytics")


def timed(call: Call) -> list[float]:
    seconds = []
    for _ in range(BLOCK):
        start = time.thread_time()
        call()
        seconds.append(time.thread_time() - start)
    return seconds


def measure(sizes: tuple[Hw, Hw], rounds: int, worker: Ultralytics | None) -> dict[str, float]:
    """Median milliseconds by name."""
    ours = calls(*sizes)
    seconds: dict[str, list[float]] = {name: [] for name in ours}
    for _ in range(rounds):
        for name, call in ours.items():
            seconds[name] += timed(call)[1:]
        if worker is not None:
            seconds.setdefault("ultralytics", []).extend(worker.seconds(*sizes)[1:])
    return {name: round(statistics.median(values) * 1e3, 4) for name, values in seconds.items()}


def label(sizes: tuple[Hw, Hw]) -> str:
    (h, w), (net_h, net_w) = sizes
    return f"{w}x{h} -> {net_w}x{net_h}"


def ratios(times: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Every target that could be measured, with what came out."""
    found = []
    for what, other, mean, worst in TARGETS:
        if all(other in each for each in times.values()):
            each = {size: round(ms[what] / ms[other], 4) for size, ms in times.items()}
            whole = round(statistics.geometric_mean(each.values()), 4)
            found.append({
                "what": what, "against": other, "ratios": each, "geometric_mean": whole,
                "largest": max(each.values()), "targets": {"geometric_mean": mean, "each": worst},
                "met": whole <= mean and max(each.values()) <= worst,
            })  # fmt: skip
    return found


def table(times: dict[str, dict[str, float]]) -> list[str]:
    """Median milliseconds, as Markdown."""
    names = [name for name in SHOWN if any(name in each for each in times.values())]
    lines = [["source -> network", *names], ["---", *("---:" for _ in names)]]
    lines += [[size, *(f"{ms[name]:.3f}" for name in names)] for size, ms in times.items()]
    return ["| " + " | ".join(line) + " |" for line in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", type=Path, help="of peers/install.py")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    worker, version = peer(arguments.env)
    times = {label(sizes): measure(sizes, arguments.rounds, worker) for sizes in SIZES}
    result = {
        "host": host_facts(),
        "peers": {"ultralytics": {"version": version} if worker else {"skipped": version}},
        "calls": arguments.rounds * (BLOCK - 1),
        "median_cpu_ms": times,
        "ratios": ratios(times),
        "table": table(times),
    }
    print(*result["table"], "", sep="\n")
    for one in result["ratios"]:
        print(
            f"{one['what']} / {one['against']}: mean {one['geometric_mean']:.3f}, largest "
            f"{one['largest']:.3f}, target {one['targets']['geometric_mean']}: "
            f"{'met' if one['met'] else 'MISSED'}"
        )
    if worker is None:
        print(f"ultralytics skipped: {version}")
    write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    return 0 if all(one["met"] for one in result["ratios"]) else 1


if __name__ == "__main__":
    sys.exit(main())
