"""How far the tracker's scores hang on its parameters: results/tracker_sensitivity.json.

    python benchmarks/tracker_sensitivity.py --data ../shared/data [--jobs 2]

On the five sequences of tracker_quality.py, combined scores:

- jitter: 40 seeded draws with every number of TrackerConfig scaled by its own factor from .95 to
  1.05, all at once; mean, sd, lowest and highest;
- one at a time: each parameter alone at .95 and at 1.05.

What the search for the configuration is worth on a sequence that it never saw is told by
tracker_leave_one_out.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mot_data import follow, load, row

from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.metrics import combine
from edgemtl.track import TrackerConfig

OUT = Path(__file__).resolve().parent / "results" / "tracker_sensitivity.json"
DRAWS, SHARE = 40, 0.05
KEYS = ("hota", "mota", "idf1")
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


def _start(data: Path) -> None:
    _DATA[:] = load(data)


def score(job: tuple[TrackerConfig, Change]) -> dict[str, float]:
    """Combined scores of one configuration."""
    made = replace(job[0], **job[1])
    meters = [each.meter(each.numbers, follow(each.stream, made).frames()) for each in _DATA]
    return row(combine(meters))


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
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    config, names = TrackerConfig(), numbers(TrackerConfig())
    drawn = jitters(config)
    alone = [scaled(config, {n: f}) for n in names for f in (1 - SHARE, 1 + SHARE)]
    jobs = [(config, change) for change in ({}, *drawn, *alone)]
    with ProcessPoolExecutor(
        arguments.jobs, initializer=_start, initargs=(arguments.data,)
    ) as pool:
        base, *rest = pool.map(score, jobs, chunksize=4)
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
    }
    write_text(arguments.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("default", "jitter")}, indent=1))


if __name__ == "__main__":
    main()
