"""One shared network against three single-task networks: results/shared_vs_separate.{json,svg}.

    python benchmarks/shared_vs_separate.py --work DIR --part synthetic
    python benchmarks/shared_vs_separate.py --work DIR --part real --data-root DATA

Same backbone, neck, data, pictures and number of steps; the three differ in `tasks` alone:
detection, image class, embeddings. The separate pipeline runs all three on a picture; a
detection's embedding is what the re-identification network says inside the detection's box. So IDF1
and rank-1 of the separate networks are of detections of the one with embeddings of the other,
through the same tracker and the same evaluation as the shared network's. Latency is of ONNX
Runtime on one thread, batch 1, all networks taking turns in one process; the separate networks' is
their sum, in which embeddings are computed for 100 boxes as in the shared one. The backbone's
weights: see benchmarks/train/street.toml. The shared network is trained once more, for about as
long as the three together: at the same number of steps it costs half of what they do.
Without --part, the result is put together from the parts that are done. Exits 1 if a target is
missed.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import study
from study_plot import shared_plot
from study_separate import Joined, Looker, deploy

from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.engine.session import Session
from edgemtl.evaluate import evaluate_model
from edgemtl.evaluate.model import run_model
from edgemtl.evaluate.sample import Sample

TASKS = ("map", "top1", "idf1", "rank1")
KINDS: dict[str, list[str] | None] = {
    "shared": None, "detect": ["detect"], "classify": ["classify"], "embed": ["embed"],
}  # fmt: skip
SEPARATE = ("detect", "classify", "embed")
SEEDS = (1, 2, 3)
MOST_LOST = 0.005
"""Synthetic world: of each score, mean over the seeds."""
MOST_LOST_SURELY = 0.01
"""Real data: the 95 % interval of no score's difference lies wholly below minus this."""
MOST_COST = 0.45
"""Of the separate networks' latency and parameters together."""
ROUNDS, REPEATS = 200, 1000
TIMES = ("cpu_s", "wall_s", "step_cpu_ms")

SYNTHETIC: study.Json = {
    "name": "study", "data": study.HERE / "data" / "study.toml", "size_hw": [128, 224],
    "images": 16000, "batch": 8, "group": 4, "cache_mb": 1500,
    "network": {"backbone": "efficientnet_lite0", "weights": "$EDGEMTL_LITE0",
                "fold_batch_norm": True, "frozen_stages": 1, "neck_width": 64,
                "embedding_grid": [5, 3], "embedding_hidden": 128},
    "augment": {"scale": [0.8, 1.25], "mosaic": 0.0, "gain": 0.15, "bias": 10.0,
                "saturation": 0.15},
    "optimiser": {"rate": 1.5e-3, "backbone_rate": 0.3, "amp": "bf16"},
    "loss": {"embed": 0.4}, "validate": {"every": 4000, "limit": 600},
    "data_checks": {"seconds": 2.0},  # a rendered world has no mistakes, and times are compared
}  # fmt: skip
REAL: study.Json = {
    "name": "study", "data": study.HERE / "data" / "study_real.toml", "size_hw": [320, 416],
    "images": 8000, "batch": 8, "group": 4, "group_span_s": 60.0, "seed": 1,
    "network": {"backbone": "efficientnet_lite0", "weights": "$EDGEMTL_LITE0",
                "fold_batch_norm": True, "frozen_stages": 3, "neck_width": 96,
                "embedding_grid": [5, 3], "embedding_hidden": 128},
    "augment": {"scale": [0.6, 1.6], "mosaic": 0.35, "mosaic_until": 0.6, "identity_colour": 0.4},
    "optimiser": {"rate": 1e-3, "backbone_rate": 0.25, "amp": "bf16"},
    "validate": {"every": 2000}, "data_checks": {"seconds": 2.0},
}  # fmt: skip
LONGER: dict[str, study.Json] = {
    "synthetic": {"images": 32000},
    "real": {"images": 16000, "loss": {"classify": 1.5}},
}
"""The shared network once more, for about as long as the three train together; the image class of
real pictures, which learns slowest beside the others, weighs more."""
QUICK: study.Json = {"images": 64, "size_hw": [64, 96], "validate": {"every": 32, "limit": 60}}


def prepare(folder: Path, config: study.Json, root: Path | None, quick: bool) -> study.Json:
    """Train and export the four networks into ``folder``; seconds and parameters of each."""
    config = study.merged(config, QUICK if quick else {})
    kinds = {k: config if tasks is None else {**config, "tasks": tasks}
             for k, tasks in KINDS.items()}  # fmt: skip
    runs = {kind: study.train(folder / kind, wanted, root) for kind, wanted in kinds.items()}
    steps = study.once(folder / "steps.json", lambda: study.step_times(
        folder, kinds, root, 2 if quick else study.STEPS))  # fmt: skip
    return {
        kind: {
            "cpu_s": done.cpu_s, "wall_s": done.wall_s, "step_cpu_ms": steps[kind],
            "judgements": study.at_cost(done.judgements, steps[kind]),
            "parameters": study.parameters(
                deploy(done.folder / "run", folder / kind, config["data"], root)),
        }
        for kind, done in runs.items()
    }  # fmt: skip


def sessions(folder: Path, name: str = "shared") -> tuple[Session, Session]:
    """The shared network ``name`` and the three as one."""
    alone = [open_session(folder / kind / "fp32.onnx", threads=1) for kind in SEPARATE[:2]]
    shared = open_session(folder / name / "fp32.onnx", threads=1)
    return shared, Joined(*alone, Looker(folder / "embed" / "run"))


def headline(scores: study.Json) -> dict[str, float]:
    """The scores that are compared, of an evaluation as JSON; 0 where nothing was found at all."""
    together = scores["together"]
    classes = together["classification"]["per_class"].values()
    wanted = {
        "map": ("detection", "map"), "map50": ("detection", "map50"),
        "top1": ("classification", "top1"), "hota": ("tracking", "hota"),
        "idf1": ("tracking", "idf1"), "rank1": ("retrieval", "rank1"),
    }  # fmt: skip
    found = {key: together.get(task, {}).get(name) or 0.0 for key, (task, name) in wanted.items()}
    means = {key: statistics.mean(c[key] for c in classes) for key in ("precision", "recall")}
    return {**found, **means}


def evaluate(folder: Path, data: Path, root: Path | None) -> study.Json:
    """Scores of both on the validation data."""
    mix = load_data(data, "val", root)
    found = {}
    for name, session in zip(("shared", "separate"), sessions(folder), strict=True):
        with closing(session):
            found[name] = evaluate_model(session, mix).to_dict()
    return found


def cost(folder: Path, rounds: int) -> study.Json:
    """Latency by precision and network, and what the shared one costs of the separate ones."""
    result: study.Json = {}
    for precision in ("fp32", "int8"):
        times = study.latency({k: folder / k / f"{precision}.onnx" for k in KINDS}, rounds)
        sums = [sum(ms) for ms in zip(*(times[k] for k in SEPARATE), strict=True)]
        ratio = statistics.median(a / b for a, b in zip(times["shared"], sums, strict=True))
        result[precision] = {
            **study.median_ms({**times, "separate": sums}), "ratio": round(ratio, 4),
        }  # fmt: skip
    weights = {k: study.parameters(folder / k / "fp32.onnx") for k in KINDS}
    weights["separate"] = sum(weights[k] for k in SEPARATE)
    ratio = round(weights["shared"] / weights["separate"], 4)
    return {"latency_cpu_ms": result, "parameters": {**weights, "ratio": ratio}}


def times_to_quality(facts: study.Json, names: dict[str, str]) -> study.Json:
    """Processor seconds of steps until both are as good as the worse of them ends.

    ``names``: of each task's score in the log. The log of the embedding network is of true boxes,
    the shared one's of detections: there each is asked for 95 % of what it ends with itself.
    """
    result: study.Json = {}
    for task, score in names.items():
        rows = [facts[kind]["judgements"][-1] for kind in ("shared", task)]
        ends = [row["scores"].get(score, 0.0) for row in rows]
        wanted = [0.95 * end for end in ends] if task == "embed" else [min(ends)] * 2
        both = [
            study.seconds_to(facts[kind]["judgements"], score, quality)
            for kind, quality in zip(("shared", task), wanted, strict=True)
        ]
        result[task] = {"shared_s": both[0], "separate_s": both[1]}
    known = [r for r in result.values() if None not in r.values()]
    result["all"] = {
        "shared_s": max((r["shared_s"] for r in known), default=None),
        "separate_s": round(sum(r["separate_s"] for r in known), 1),
    }
    return result


def synthetic(work: Path, seeds: Sequence[int], quick: bool) -> study.Json:
    """Each seed's figures, and their means."""
    each, more = {}, {}
    for seed in seeds:
        folder, config = work / f"seed{seed}", {**SYNTHETIC, "seed": seed}
        facts = prepare(folder, config, None, quick)
        scores = study.once(folder / "scores.json", lambda at=folder: evaluate(
            at, SYNTHETIC["data"], None))  # fmt: skip
        names = {"detect": "world.map", "classify": "world.top1", "embed": "world.rank1"}
        each[str(seed)] = {
            "scores": {side: headline(scores[side]) for side in ("shared", "separate")},
            "training": {kind: {k: f[k] for k in TIMES} for kind, f in facts.items()},
            "time_to_quality": times_to_quality(facts, names),
        }
        more[str(seed)] = longer(folder, config, LONGER["synthetic"], None, quick)
    alone = {seed: one["scores"]["separate"] for seed, one in each.items()}
    mean = {
        task: statistics.mean(one["scores"][task] for one in more.values())
        for task in next(iter(alone.values()))
    }
    return {
        "config": json.loads(json.dumps(SYNTHETIC, default=lambda path: path.name)),
        "seeds": each,
        "difference": minus({k: one["scores"]["shared"] for k, one in each.items()}, alone),
        "longer": {
            "config": LONGER["synthetic"],
            "seeds": more,
            "scores": mean,
            "difference": minus({k: one["scores"] for k, one in more.items()}, alone),
        },
        "cost": cost(work / f"seed{seeds[0]}", 5 if quick else ROUNDS),
    }


def minus(shared: dict[str, dict[str, float]], separate: dict[str, dict[str, float]]) -> study.Json:
    """What each score of the shared networks has more, of every seed and on average."""
    each = {
        task: [shared[seed][task] - separate[seed][task] for seed in shared]
        for task in next(iter(shared.values()))
    }
    return {
        task: {"mean": round(statistics.mean(d), 4), "each": [round(v, 4) for v in d]}
        for task, d in each.items()
    }


def real(work: Path, root: Path, quick: bool) -> study.Json:
    """Real data, one seed: intervals over the pictures."""
    facts = prepare(work, REAL, root, quick)
    scores = study.once(work / "scores.json", lambda: evaluate(work, REAL["data"], root))
    intervals = study.once(
        work / "intervals.json", lambda: minus_separate(work, "shared", root, quick)
    )
    return {
        "config": json.loads(json.dumps(REAL, default=lambda path: path.name)),
        "scores": {side: headline(scores[side]) for side in ("shared", "separate")},
        "sets": {side: scores[side]["sets"] for side in ("shared", "separate")},
        "intervals": intervals,
        "longer": {
            "config": LONGER["real"],
            **longer(work, REAL, LONGER["real"], root, quick),
            "intervals": study.once(
                work / "longer" / "intervals.json",
                lambda: minus_separate(work, "longer", root, quick),
            ),
        },
        "training": {kind: {k: f[k] for k in TIMES} for kind, f in facts.items()},
        "time_to_quality": times_to_quality(facts, {
            "detect": "vehicles.map", "classify": "vehicles.top1", "embed": "pets.rank1",
        }),
        "cost": cost(work, 5 if quick else ROUNDS),
    }  # fmt: skip


def minus_separate(work: Path, name: str, root: Path, quick: bool) -> study.Json:
    """What the shared network ``name`` has more than the separate ones, with 95 % intervals."""
    mix, seen = load_data(REAL["data"], "val", root), []
    for session in sessions(work, name):
        with closing(session):
            seen.append(Sample(run_model(session, mix)))
    shared, separate = seen
    repeats = 20 if quick else REPEATS
    found = {task: asdict(shared.minus(separate, task, repeats)) for task in TASKS}
    return {task: {k: round(v, 4) for k, v in d.items()} for task, d in found.items()}


def longer(
    work: Path, base: study.Json, changes: study.Json, root: Path | None, quick: bool
) -> study.Json:
    """The shared network trained with ``changes``, of LONGER, and what it is worth."""
    name, config = "longer", study.merged(base, QUICK if quick else changes)
    done = study.train(work / name, config, root)
    deploy(done.folder / "run", work / name, config["data"], root)

    def scores() -> study.Json:
        with closing(open_session(work / name / "fp32.onnx", threads=1)) as session:
            return evaluate_model(session, load_data(base["data"], "val", root)).to_dict()

    found = study.once(work / name / "scores.json", scores)
    return {
        "scores": headline(found),
        "sets": found["sets"],
        "training": {"cpu_s": done.cpu_s, "wall_s": done.wall_s},
    }


def misses(parts: study.Json) -> list[str]:
    """Targets that were not met, in words."""
    found = [f"{part}: not measured yet" for part in ("synthetic", "real") if part not in parts]
    better = False
    if "synthetic" in parts:
        seeds = len(parts["synthetic"]["seeds"])
        if seeds < len(SEEDS):
            found.append(f"synthetic: {seeds} of {len(SEEDS)} seeds measured")
        for task in TASKS:
            mean = parts["synthetic"]["difference"][task]["mean"]
            better |= mean > 0
            if mean < -MOST_LOST:
                found.append(f"synthetic {task}: {mean:+.4f}, may lose {MOST_LOST}")
    if "real" in parts:
        for task, interval in parts["real"]["intervals"].items():
            better |= interval["low"] > 0
            if interval["high"] < -MOST_LOST_SURELY:
                found.append(f"real {task}: at most {interval['high']:+.4f} with 95 % certainty")
        longer = parts["real"].get("longer", {"intervals": {}})["intervals"].values()
        better |= any(interval["low"] > 0 for interval in longer)
    for part, result in parts.items():
        ratios = {"parameters": result["cost"]["parameters"]["ratio"]}
        ratios |= {k: v["ratio"] for k, v in result["cost"]["latency_cpu_ms"].items()}
        found += [
            f"{part} {what}: {ratio:.3f} of the separate networks', target {MOST_COST}"
            for what, ratio in ratios.items()
            if ratio > MOST_COST
        ]
    return found if better or not parts else [*found, "no task is better than alone"]


def main() -> int:
    parser = study.arguments(__doc__, "shared_vs_separate.json")
    parser.add_argument("--part", choices=["synthetic", "real"])
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=SEEDS, help="synthetic: train these"
    )
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    parts: dict[str, Any] = {}
    for part in ("synthetic", "real"):
        folder, kept = options.work / part, options.work / f"{part}.json"
        if part == options.part:
            made = (
                synthetic(
                    folder, options.seeds[:1] if options.quick else options.seeds, options.quick
                )
                if part == "synthetic"
                else real(folder, options.data_root, options.quick)
            )
            kept.write_text(json.dumps(made), encoding="utf-8")
        if kept.exists():
            parts[part] = json.loads(kept.read_text(encoding="utf-8"))
    shared_plot(parts, options.out.with_suffix(".svg"))
    return study.finish(options.out, parts, misses(parts))


if __name__ == "__main__":
    sys.exit(main())
