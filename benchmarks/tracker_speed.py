"""Cost of one tracker update against the number of objects, beside the peers.

    python benchmarks/tracker_speed.py --env PEERS     # of peers/install.py; about 15 minutes

Writes results/tracker_speed.json, .svg (log-log) and .md. Seeded scenes (tracker_scenes.py): 20 and
100 objects in Full HD, and 20 to 10,000 in areas that grow with them. Every tracker runs in a
process of its own on one thread and sees the same frames; the update calls alone are timed, inside
that process, as the lower of time on the clock and on the processor; the median of the frames
after WARM counts. The trackers take turns, a few rounds; a ratio is the median of the ratios of
each round. Ours is timed as Tracker.step, what a user calls; ``@core`` is the call of C or C++
alone, ours and boxmot's. A peer that would need too long is not asked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers.client import PeerError, Stream, Worker, installed, known, worker_for
from tracker_plot import plot
from tracker_scenes import FALSE_SHARE, MISSED, scene

from edgemtl.bench.host import conditions, host_facts
from edgemtl.files import write_text

OUT = Path(__file__).resolve().parent / "results" / "tracker_speed"
SPARSE = (20, 100, 300, 1000, 3000, 10000)
FULL_HD = (20, 100)
WARM, FRAMES = 10, 40
ROUNDS = {20: 5, 100: 5, 300: 3, 1000: 3, 3000: 3, 10000: 3}
SLOW_S = 0.05
"""An update that takes longer is measured in the first round only."""
BUDGET_S = 0.25
"""A run of a stream ends when its updates took so long, but not before LEAST of them."""
LEAST = 4
MOST_S = 2.0
"""A peer whose update would take longer, by the square of the objects, is not asked."""
OURS = "edgemtl"
REFERENCE = "boxmot-cpp-bytetrack"
MOST_CORE = 300
"""Up to here boxmot's C++ is timed without its Python, too."""
RECORDED_US = {
    "boxmot-cpp": {"20": 340, "100": 3260},
    "roboflow-bytetrack": {"20": 710, "100": 3010},
    "ultralytics-bytetrack": {"20": 1130, "100": 4660},
}
"""Of an earlier, separate study on another scene and machine: for orientation, not compared."""


@dataclass
class Costs:
    """Of one scene: seconds of an update by tracker and round; why others have none."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def microseconds(self) -> dict[str, float]:
        """Median of the rounds, by tracker."""
        return {
            name: round(statistics.median(each) * 1e6, 2) for name, each in self.seconds.items()
        }

    def ratio(self, name: str, ours: str = OURS) -> float:
        """How many times ours: the median over the rounds that both ran."""
        pairs = zip(self.seconds[name], self.seconds[ours], strict=False)
        return round(statistics.median(theirs / mine for theirs, mine in pairs), 1)

    def spread(self) -> dict[str, list[float]]:
        """Lowest and highest round in microseconds, by tracker."""
        return {
            name: [round(min(each) * 1e6, 2), round(max(each) * 1e6, 2)]
            for name, each in self.seconds.items()
        }


def once(worker: Worker, name: str, stream: Stream) -> float:
    """Median seconds of an update after the warm-up. Raises PeerError."""
    seconds = worker.run(name, stream, BUDGET_S, LEAST).seconds
    # the first update of all has no tracks to match
    return float(np.median(seconds[max(1, min(WARM, len(seconds) - LEAST)) :]))


def measure(
    objects: int, sparse: bool, workers: dict[str, Worker], before: tuple[int, Costs] | None
) -> Costs:
    """All trackers in turns over one scene; ``before``: a smaller scene, to leave out the slow."""
    stream, costs = scene(objects, FRAMES, sparse), Costs()
    for name in workers:
        if objects > MOST_CORE and name.endswith("@core") and not name.startswith(OURS):
            costs.skipped[name] = f"without its Python up to {MOST_CORE} objects only"
    for name in workers if before else ():
        smaller, less = before
        if name in less.skipped:
            costs.skipped[name] = less.skipped[name]
            continue
        guess = less.microseconds()[name] / 1e6 * (objects / smaller) ** 2
        if guess > MOST_S and not name.startswith(OURS):
            costs.skipped[name] = f"not asked: about {guess:.0f} s an update at {objects} objects"
    for _ in range(ROUNDS[objects]):
        for name, worker in workers.items():
            if name in costs.skipped or min(costs.seconds.get(name, [0])) > SLOW_S:
                continue
            try:
                costs.seconds.setdefault(name, []).append(once(worker, name, stream))
            except PeerError as error:
                costs.skipped[name] = f"{objects} objects: {error}"
                costs.seconds.pop(name, None)
    return costs


def summary(costs: Costs) -> dict[str, Any]:
    """One scene in the JSON."""
    us = costs.microseconds()
    whole = [name for name in us if "@" not in name]
    ratios = {name: costs.ratio(name) for name in whole if name != OURS}
    python = {name: us[name] for name in ratios if "-cpp-" not in name}
    native = {name: us[name] for name in ratios if "-cpp-" in name}
    found: dict[str, Any] = {"us": us, "us_range": costs.spread(), "times_ours": ratios}
    if python:
        fastest = min(python, key=lambda name: python[name])
        found["best_python_peer"] = {"peer": fastest, "times_ours": ratios[fastest]}
    if native:
        fastest = min(native, key=lambda name: native[name])
        found["best_cpp_peer"] = {"peer": fastest, "times_ours": ratios[fastest]}
    if REFERENCE + "@core" in us:
        found["core_times_our_core"] = costs.ratio(REFERENCE + "@core", OURS + "@core")
    return {**found, "skipped": costs.skipped}


def missed(scenes: dict[str, dict[str, Any]], growth: float) -> list[str]:
    """Targets that were not met, in words."""
    found = []
    for name in ("full_hd_20", "full_hd_100", "sparse_1000"):
        for kind, least in (("best_cpp_peer", 10), ("best_python_peer", 30)):
            best = scenes[name].get(kind, {"peer": "none", "times_ours": 0})
            if best["times_ours"] < least:
                found.append(
                    f"{name}: {best['peer']} takes {best['times_ours']} times ours, not {least}"
                )
    if growth >= 15:
        found.append(f"from 100 to 1000 objects the cost grows {growth} times, not under 15")
    return found


def table(scenes: dict[str, dict[str, Any]]) -> str:
    """Microseconds and times ours, by tracker and scene, as Markdown."""
    names = list(scenes["sparse_20"]["us"])
    order = sorted(names, key=lambda name: scenes["sparse_20"]["us"][name])
    lines = [["tracker", *scenes], ["---", *("---:" for _ in scenes)]]
    for name in order:
        cells = []
        for each in scenes.values():
            us, ratio = each["us"].get(name), each["times_ours"].get(name)
            text = "-" if us is None else f"{us:,.0f}" if us >= 100 else f"{us:.1f}"
            cells.append(text + (f" ({ratio:,.0f}x)" if ratio is not None else ""))
        lines.append([name, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def workers(
    env: Path | None, only: list[str] | None, stack: ExitStack
) -> Iterator[tuple[str, Worker]]:
    """A process for ours and one for each distribution; trackers in the order of their turns."""
    mine = stack.enter_context(Worker(sys.executable))
    yield from ((name, mine) for name in (OURS, OURS + "@core"))
    for distribution, names in installed(env).items() if env else ():
        native = [f"{name}@core" for name in names if distribution == "boxmot-cpp"]
        # the timed library is slower by the timing: a process of its own
        for group in (names, native):
            asked = [name for name in group if only is None or name in only]
            if asked:
                worker = stack.enter_context(worker_for(env, distribution))
                yield from ((name, worker) for name in asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", type=Path, help="of peers/install.py; default: ours alone")
    parser.add_argument("--only", nargs="*", help="peers by name, for a quick look (with --out)")
    parser.add_argument("--out", type=Path, default=OUT, help="without suffix")
    parser.add_argument("--most", type=int, default=SPARSE[-1], help="objects, for a quick look")
    arguments = parser.parse_args()
    started, costs = conditions(), {}
    with ExitStack() as stack:
        running = dict(workers(arguments.env, arguments.only, stack))
        for sparse, sizes in ((False, FULL_HD), (True, SPARSE)):
            before = None
            for objects in (n for n in sizes if n <= arguments.most):
                found = measure(objects, sparse, running, before)
                before = (objects, found)
                costs[f"{'sparse' if sparse else 'full_hd'}_{objects}"] = found
                print(objects, found.microseconds(), found.skipped, file=sys.stderr)
    scenes = {name: summary(found) for name, found in costs.items()}
    result: dict[str, Any] = {
        "host": host_facts(), "conditions": [started, conditions()],
        "peers": known(arguments.env) if arguments.env else {},
        "scene": {"missed": MISSED, "false": FALSE_SHARE, "warm": WARM, "frames": FRAMES},
        "scenes": scenes, "recorded_us": RECORDED_US,
    }  # fmt: skip
    if "sparse_1000" in scenes:
        us = {n: scenes[f"sparse_{n}"]["us"][OURS] for n in (100, 1000)}
        result["growth_100_to_1000"] = round(us[1000] / us[100], 2)
        result["missed"] = missed(scenes, result["growth_100_to_1000"])
        write_text(arguments.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
        write_text(arguments.out.with_suffix(".md"), table(scenes))
        plot(scenes, arguments.out.with_suffix(".svg"))
    print(table(scenes), *result.get("missed", []), sep="\n")
    return 1 if result.get("missed") else 0


if __name__ == "__main__":
    sys.exit(main())
