"""Task balancing on one budget: results/balancing.{json,svg}.

    python benchmarks/balancing.py --work DIR [--only fixed upgrad]

The synthetic world and the network of shared_vs_separate.py, as many pictures for each balance, two
seeds. The time of a step is processor time on one thread, all balances taking turns in one process
on the same batches. No target: the JSON and the picture say what came out.
"""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import closing
from pathlib import Path

import study
from shared_vs_separate import QUICK, SYNTHETIC, headline
from study_plot import figure
from study_separate import averaged

from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.evaluate import evaluate_model
from edgemtl.export import export_network
from edgemtl.train.runlog import read_rows

KINDS = ("fixed", "uncertainty", "upgrad", "aligned_mtl")
SEEDS = (1, 2)
IMAGES = 8000
SHOWN = ("map", "top1", "idf1", "rank1")


def config(kind: str, seed: int, quick: bool) -> study.Json:
    changes = {"seed": seed, "images": IMAGES, "validate": {"every": IMAGES // 2},
               "loss": {"balance": kind}}  # fmt: skip
    return study.merged(study.merged(SYNTHETIC, changes), QUICK if quick else {})


def one(folder: Path, kind: str, seed: int, quick: bool) -> study.Json:
    """One training: scores, processor seconds, and what the tasks counted in the end."""
    done = study.train(folder, config(kind, seed, quick), None)

    def evaluated() -> study.Json:
        model = export_network(*averaged(folder / "run"), folder / "fp32.onnx").path
        with closing(open_session(model, threads=1)) as session:
            return evaluate_model(session, load_data(SYNTHETIC["data"], "val")).to_dict()

    scores = study.once(folder / "scores.json", evaluated)
    weights = [row["weight"] for row in read_rows(folder / "run") if "weight" in row]
    return {"scores": headline(scores), "cpu_s": done.cpu_s, "last_weights": weights[-1:]}


def main() -> int:
    parser = study.arguments(__doc__, "balancing.json")
    parser.add_argument("--only", nargs="*", choices=KINDS, default=KINDS, help="train these now")
    options = parser.parse_args()
    seeds = SEEDS[:1] if options.quick else SEEDS
    for seed in seeds:
        for kind in options.only:
            folder = options.work / f"{kind}-seed{seed}"
            made = one(folder, kind, seed, options.quick)
            (folder / "result.json").write_text(json.dumps(made), encoding="utf-8")
    times = study.once(options.work / "steps.json", lambda: study.step_times(
        options.work, {kind: config(kind, 1, False) for kind in KINDS}, None,
        2 if options.quick else study.STEPS,
    ))  # fmt: skip
    kinds: study.Json = {}
    for kind in KINDS:
        files = [options.work / f"{kind}-seed{seed}" / "result.json" for seed in seeds]
        each = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        if each:
            mean = {
                name: round(statistics.mean(e["scores"][name] for e in each), 4)
                for name in each[0]["scores"]
            }
            kinds[kind] = {"mean": mean, "seeds": each, "step_cpu_ms": times[kind]}
    panel = {kind: [result["mean"][name] for name in SHOWN] for kind, result in kinds.items()}
    cost = {kind: [times[kind] / times["fixed"]] for kind in kinds}
    path = options.out.with_suffix(".svg")
    figure([("scores", SHOWN, panel), ("cost of a step", ["against fixed"], cost)], path)
    counts = {kind: len(kinds[kind]["seeds"]) if kind in kinds else 0 for kind in KINDS}
    missed = [
        f"{kind}: {count} of {len(SEEDS)} seeds measured"
        for kind, count in counts.items()
        if count < len(SEEDS)
    ]
    facts = {"images": IMAGES, "kinds": kinds, "step_cpu_ms": times}
    return study.finish(options.out, facts, missed)


if __name__ == "__main__":
    sys.exit(main())
