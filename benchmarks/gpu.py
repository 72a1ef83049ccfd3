"""What only a GPU can prove, step by step: results/gpu.json and gpu.svg. Started by gpu.sh.

    python benchmarks/gpu.py --out DIR [--minutes 8]

Memory, streams, events and graphs on their own; engines of `toy` and `street` by TensorRT and by
TensorRT-RTX, whichever is there; all forms of `toy` compared; latency per stage by the clock and by
the GPU's events; torch, compiled torch and the engines in turns at batches of 1 to 16; one network
against three. A step that fails is written down with what happened, and the others go on; those for
which no time is left say so. Exits 1 without a GPU, and then writes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgemtl.bench.host import conditions, host_facts
from edgemtl.errors import EdgeMTLError
from edgemtl.files import write_text

RESULTS = Path(__file__).resolve().parent / "results"
LEAST_S = 10.0
"""A step begins only with this much of the time left."""
Json = dict[str, Any]


@dataclass
class Steps:
    """Runs steps one after the other, within ``budget_s``; ``done`` says how each one ended."""

    budget_s: float
    done: list[Json] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def left_s(self) -> float:
        return self.budget_s - (self.clock() - self._began)

    def run(self, name: str, work: Callable[[], Json]) -> Json | None:
        """What ``work`` found; None if it failed, or if there was no time for it."""
        if self.left_s < LEAST_S:
            self._note(name, False, 0.0, "left out: the time is over")
            return None
        began = self.clock()
        try:
            found = work()
        except Exception as error:  # whatever it is, it belongs into the report
            words = error.message if isinstance(error, EdgeMTLError) else str(error)
            lines = words.strip().splitlines() or [""]
            self._note(name, False, self.clock() - began, f"{type(error).__name__}: {lines[0]}")
            return None
        self._note(name, True, self.clock() - began, "")
        return found

    def _note(self, name: str, ok: bool, seconds: float, said: str) -> None:
        self.done.append({"name": name, "ok": ok, "seconds": round(seconds, 2), "said": said[:600]})
        print(f"{name}: {'ok' if ok else said} ({seconds:.1f} s)", flush=True)


def measure(steps: Steps, folder: Path, device: str) -> Json:
    """All steps; what each of them found, by its name."""
    import gpu_steps as do

    from edgemtl.models import resolve_model

    found: Json = {}

    def run(name: str, work: Callable[[], Json]) -> Json | None:
        result = steps.run(name, work)
        if result is not None:
            found[name] = result
        return result

    run("memory, streams, events and graphs", do.memory)
    built: dict[str, dict[str, Path]] = {"toy": {}, "street": {}}
    for flavour in do.FLAVOURS:
        for model in built:
            for precision in do.PRECISIONS:
                name = f"{flavour} {model} {precision}"
                where = folder / flavour
                where.mkdir(exist_ok=True)
                engine = run(name, lambda m=model, p=precision, w=where, f=flavour: do.build(
                    m, p, f, w))  # fmt: skip
                if engine is not None and engine["checked"]:
                    built[model][f"{flavour} {precision}"] = where / engine["engine"]
    run("parity of toy", lambda: do.parity("toy", list(built["toy"].values())))
    for name, path in built["street"].items():
        for graph in (False, True):
            what = f"stages of {name}" + (" with CUDA graph" if graph else "")
            run(what, lambda p=path, g=graph: do.stages(p, g))
    checkpoint = resolve_model("street").with_suffix(".safetensors")
    for batch in do.BATCHES:
        run(f"batch {batch}", lambda b=batch: do.batches(checkpoint, built["street"], device, b))
    run("one network or three", lambda: do.one_pass(checkpoint, device))
    return found


def tests(seconds: float) -> Json:
    """The tests that need a GPU. Raises RuntimeError, with their last line, if one fails."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-v",
        "--no-header",
        "tests/gpu",
        "tests/train",
    ]
    done = subprocess.run(
        command, cwd=RESULTS.parents[1], capture_output=True, text=True, timeout=seconds
    )
    last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1]
    if done.returncode:
        raise RuntimeError(last)
    return {"said": last}


def plot(found: Json, path: Path) -> None:
    """Latency at batch 1, pictures per second by batch, and one network against three."""
    from study_plot import figure

    panels = []
    rows = {int(name.split()[1]): each for name, each in found.items() if name.startswith("batch ")}
    if 1 in rows:
        named = {name: one for name, one in rows[1].items() if "p50" in one}
        panels.append(("street, one picture, ms", ["p50", "p95"], {
            name: [one["p50"], one["p95"]] for name, one in named.items()}))  # fmt: skip
    if rows:
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        panels.append(("street, pictures per second", [f"batch {b}" for b in rows], {
            name: [row.get(name, {}).get("per_second") for row in rows.values()] for name in names
        }))  # fmt: skip
    three = found.get("one network or three")
    if three is not None:
        panels.append(("torch fp16, ms", list(three["networks"]), {
            "p50": [one.get("p50") for one in three["networks"].values()]}))  # fmt: skip
    if panels:
        figure(panels, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--spent", type=float, default=0.0, help="seconds of them that are gone")
    parser.add_argument("--steps", type=Path, help="lines of JSON: the steps that were before")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("gpu.py: needs a GPU that torch can use", file=sys.stderr)
        return 1
    before = [] if options.steps is None else options.steps.read_text("utf-8").splitlines()
    steps = Steps(60 * options.minutes - options.spent, [json.loads(line) for line in before])
    host = {**host_facts(), "torch": torch.__version__, "cuda": torch.version.cuda}
    with tempfile.TemporaryDirectory() as folder:
        found = measure(steps, Path(folder), "cuda")
    said = steps.run("tests", lambda: tests(steps.left_s))
    found |= {} if said is None else {"tests": said}
    result = {"host": host, "conditions": conditions(), "steps": steps.done, "found": found}
    write_text(options.out / "gpu.json", json.dumps(result, indent=1) + "\n")
    plot(found, options.out / "gpu.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
