"""How far the tracker's scores hang on its parameters: results/tracker_sensitivity.json.

    python benchmarks/tracker_sensitivity.py --data ../shared/data [--grid GRID.json] [--jobs 2]

On the five sequences of tracker_quality.py, combined scores:

- jitter: 40 seeded draws with every number of TrackerConfig scaled by its own factor from .95 to
  1.05, all at once; mean, sd, lowest and highest.
- one at a time: each parameter alone at .95 and at 1.05.
- leave one sequence out: for each sequence, that configuration of the grid is chosen which is best
  on the other four (HOTA + IDF1 of the four together) and scored on the one left out; the five are
  combined. It says what a configuration searched in this way is worth on a sequence that it has not
  seen. The grid is JSON: {parameter: [values, ...], ...}, all combinations, or a list of
  {parameter: value, ...}, each a change of the default configuration; without --grid it is GRID.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mot_data import follow, load, row

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.metrics import TrackingMeter, combine
from edgemtl.track import TrackerConfig

OUT = Path(__file__).resolve().parent / "results" / "tracker_sensitivity.json"
DRAWS, SHARE = 40, 0.05
KEYS = ("hota", "mota", "idf1")
GRID: dict[str, list[float]] = {
    "split_score": [0.4, 0.55, 0.7],
    "birth_score": [0.55, 0.7],
    "confirm_score": [1.0, 2.0],
    "lost_s": [1.5, 3.0],
}
Change = Mapping[str, float]
_DATA: list[Any] = []


def numbers(config: TrackerConfig) -> list[str]:
    """Names of the parameters that are numbers and not 0, which no factor changes."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return [name for name, value in values.items() if type(value) in (int, float) and value]


def scaled(config: TrackerConfig, factors: Change) -> Change:
    """The changed values; whole numbers stay whole."""
    values = {name: getattr(config, name) * factor for name, factor in factors.items()}
    return {
        name: round(value) if isinstance(getattr(config, name), int) else value
        for name, value in values.items()
    }


def jitters(config: TrackerConfig, draws: int = DRAWS, seed: int = 0) -> list[Change]:
    """All parameters at once, ``draws`` times."""
    rng, names = np.random.default_rng(seed), numbers(config)
    return [
        scaled(config, dict(zip(names, map(float, each), strict=True)))
        for each in rng.uniform(1 - SHARE, 1 + SHARE, (draws, len(names)))
    ]


def combinations(grid: Mapping[str, Sequence[float]] | Sequence[Change]) -> list[Change]:
    """The configurations of a grid, the default among them."""
    if isinstance(grid, Mapping):
        made = itertools.product(*grid.values())
        changes: list[Change] = [dict(zip(grid, each, strict=True)) for each in made]
    else:
        changes = list(grid)
    return changes if {} in changes else [{}, *changes]


def _start(data: Path) -> None:
    _DATA[:] = load(data)


def meters(job: tuple[TrackerConfig, Change]) -> list[TrackingMeter]:
    """One configuration over each sequence."""
    config, change = job
    made = replace(config, **change)
    return [each.meter(each.numbers, follow(each.stream, made).frames()) for each in _DATA]


def score(job: tuple[TrackerConfig, Change]) -> dict[str, float]:
    """Combined scores of one configuration."""
    return row(combine(meters(job)))


def fit(job: tuple[TrackerConfig, Change]) -> list[float]:
    """For each sequence, HOTA + IDF1 of the others together."""
    all_of_them = meters(job)
    found = []
    for out in range(len(all_of_them)):
        others = combine([each for n, each in enumerate(all_of_them) if n != out])
        found.append(others.hota + others.idf1)
    return found


def leave_one_out(
    config: TrackerConfig, changes: list[Change], pool: ProcessPoolExecutor, data: Path
) -> dict[str, Any]:
    """Choose on four, score on the fifth; all five combined."""
    fits = np.array(list(pool.map(fit, [(config, change) for change in changes], chunksize=4)))
    chosen = [changes[int(each)] for each in fits.argmax(0)]
    _start(data)
    left = [meters((config, change))[number] for number, change in enumerate(chosen)]
    return {
        "configurations": len(changes),
        "chosen": {
            each.name: {"change": dict(change), "scores": row(meter.result())}
            for each, change, meter in zip(_DATA, chosen, left, strict=True)
        },
        "combined": row(combine(left)),
    }


def spread(scores: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """mean, sd, min and max by score."""
    found = {}
    for key in KEYS:
        values = np.array([each[key] for each in scores])
        found[key] = {
            "mean": round(float(values.mean()), 4), "sd": round(float(values.std(ddof=1)), 4),
            "min": round(float(values.min()), 4), "max": round(float(values.max()), 4),
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--grid", type=Path, help="JSON; default: GRID of this script")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    config, names = TrackerConfig(), numbers(TrackerConfig())
    grid = json.loads(arguments.grid.read_text(encoding="utf-8")) if arguments.grid else GRID
    drawn = jitters(config)
    alone = [scaled(config, {n: f}) for n in names for f in (1 - SHARE, 1 + SHARE)]
    jobs = [(config, change) for change in ({}, *drawn, *alone)]
    with ProcessPoolExecutor(
        arguments.jobs, initializer=_start, initargs=(arguments.data,)
    ) as pool:
        base, *rest = pool.map(score, jobs, chunksize=4)
        held_out = leave_one_out(config, combinations(grid), pool, arguments.data)
    single = rest[len(drawn) :]
    result = {
        "host": host_facts(),
        "share": SHARE,
        "default": base,
        "jitter": {"draws": len(drawn), **spread(rest[: len(drawn)])},
        "one_at_a_time": {
            name: {
                f"{key}_change": [round(each[key] - base[key], 4) for each in pair] for key in KEYS
            }
            for name, pair in zip(names, zip(single[::2], single[1::2], strict=True), strict=True)
        },
        "grid": grid,
        "leave_one_out": held_out,
    }
    write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("default", "jitter", "leave_one_out")}, indent=1))


if __name__ == "__main__":
    main()
