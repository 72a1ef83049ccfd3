"""CIFAR-10 by a network of its own and by one that also detects: results/cifar10.{json,svg}.

    export EDGEMTL_LITE2=...   # see train/cifar.toml
    python benchmarks/cifar10.py --data-root DATA                     # trains both, on one core
    python benchmarks/cifar10.py --data-root DATA --run alone=FOLDER --run joint=FOLDER

Trains with train/cifar.toml and train/cifar_joint.toml, in a process of its own each, whose
processor time counts; exports the networks and scores the files with ONNX Runtime on val.zip, each
data set at the input size that it was trained at. ``--run`` takes the folder of a run that was
trained already; its times are those that cost.json notes there. What is scored are the averaged
weights at the end of a run, so that nothing is chosen on the pictures that judge. Exits with 1 if a
target is missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from study_separate import averaged

from edgemtl.bench.host import host_facts
from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.evaluate import EvaluateOptions, evaluate_model
from edgemtl.export import export_network
from edgemtl.files import write_text
from edgemtl.train.config import load_train_config

ROOT = Path(__file__).resolve().parent
RESULT = ROOT / "results" / "cifar10.json"
CONFIGS = {"alone": ROOT / "train" / "cifar.toml", "joint": ROOT / "train" / "cifar_joint.toml"}
COST = "cost.json"
TARGETS = {"accuracy": 0.92, "cpu_s": 7200.0}
"""Of the network of its own: at least this accuracy, from at most an hour on two cores."""


def train(config: Path, out: Path, data_root: Path) -> None:
    """Train in a process of its own (or go on with it), and note what it cost in ``out``."""
    command = [sys.executable, "-m", "edgemtl", "train", str(config), "--out", str(out)]
    command += ["--data-root", str(data_root.resolve())]
    command += ["--resume"] if (out / "last.safetensors").exists() else []
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        subprocess.run(command, check=True)
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        note_cost(out, used, time.monotonic() - started)


def note_cost(folder: Path, cpu_s: float, wall_s: float) -> None:
    """Add to what the run in ``folder`` has cost so far."""
    had = cost_of(folder) or {"cpu_s": 0.0, "wall_s": 0.0}
    total = {"cpu_s": round(had["cpu_s"] + cpu_s, 1), "wall_s": round(had["wall_s"] + wall_s, 1)}
    if folder.is_dir():
        write_text(folder / COST, json.dumps(total) + "\n")


def cost_of(folder: Path) -> dict[str, float] | None:
    """Seconds of processor and wall that a run took, judging included; None if not noted."""
    if not (folder / COST).is_file():
        return None
    found: dict[str, float] = json.loads((folder / COST).read_text(encoding="utf-8"))
    return found


def judgements(folder: Path) -> list[dict[str, float]]:
    """Step and score of every judgement in a run's log."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "score" in row]
    return [{"step": row["step"], "score": row["score"]} for row in rows]


def score(kind: str, folder: Path, data_root: Path, limit: int | None = None) -> dict[str, Any]:
    """What the exported network of a run is worth on every validation set."""
    config = load_train_config(CONFIGS[kind])
    mix = load_data(config.data, "val", data_root)
    sets = {}
    with tempfile.TemporaryDirectory() as scratch:
        for data in mix.sets:
            size_hw = config.sizes.get(data.name, config.size_hw)
            file = Path(scratch) / f"{data.name}.onnx"
            export_network(*averaged(folder), file, size_hw=size_hw)
            with closing(open_session(file, backend="onnxruntime", threads=1)) as session:
                options = EvaluateOptions(limit=limit, sets=(data.name,))
                found = evaluate_model(session, mix, options).to_dict()["sets"][data.name]
            sets[data.name] = {"size_hw": list(size_hw), **found}
    return {
        "sets": sets,
        "pictures_seen": config.images,
        "shares": config.sampling.wanted(),
        "judgements": judgements(folder),
        "cost": cost_of(folder),
    }


def misses(found: dict[str, Any]) -> list[str]:
    """What is not measured, and targets that the network of its own does not meet, in words."""
    missed = [f"{kind}: not measured yet" for kind in CONFIGS if kind not in found]
    if "alone" not in found:
        return missed
    own = found["alone"]
    accuracy, cost = own["sets"]["cifar"]["classification"]["top1"], own["cost"]
    if accuracy < TARGETS["accuracy"]:
        missed.append(f"accuracy {accuracy:.4f} < {TARGETS['accuracy']}")
    if cost is None or cost["cpu_s"] > TARGETS["cpu_s"]:
        took = "unknown" if cost is None else f"{cost['cpu_s']:.0f}"
        missed.append(f"seconds of processor: {took}, at most {TARGETS['cpu_s']:.0f}")
    return missed


def plot(found: dict[str, Any], path: Path) -> None:
    """Precision and recall of every class, side by side."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "edgemtl", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(8.5, 5.5), sharex=True)
    for row, measure in zip(axes, ("precision", "recall"), strict=True):
        for number, (kind, one) in enumerate(found.items()):
            scores = one["sets"]["cifar"]["classification"]
            values = [each[measure] for each in scores["per_class"].values()]
            places = [place + 0.4 * (number - (len(found) - 1) / 2) for place in range(len(values))]
            row.bar(places, values, 0.38, label=f"{kind}: accuracy {scores['top1']:.3f}")
            row.set_xticks(range(len(values)), list(scores["per_class"]), rotation=20)
        row.set(ylabel=measure, ylim=(0.5, 1.0))
        row.grid(axis="y", alpha=0.3)
    # beneath, where no bar is
    axes[1].legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    axes[0].set_title("CIFAR-10, 2,000 pictures that training did not see", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder to train in")
    parser.add_argument("--run", action="append", default=[], metavar="KIND=FOLDER")
    parser.add_argument("--only", choices=tuple(CONFIGS), nargs="+", default=list(CONFIGS))
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.run)
    found: dict[str, Any] = {}
    if RESULT.exists():  # what is not measured now is kept
        found = json.loads(RESULT.read_text(encoding="utf-8"))["kinds"]
    for kind in options.only:
        folder = Path(given.get(kind, options.runs / CONFIGS[kind].stem))
        if kind not in given:
            train(CONFIGS[kind], folder, options.data_root)
        found[kind] = score(kind, folder, options.data_root)
    missed = misses(found)
    result = {"host": host_facts(), "targets": TARGETS, "kinds": found, "missed": missed}
    write_text(RESULT, json.dumps(result, indent=1, sort_keys=True) + "\n")
    plot(found, RESULT.with_suffix(".svg"))
    for kind, one in found.items():
        scores = one["sets"]["cifar"]["classification"]
        words = f"accuracy {scores['top1']:.4f}, macro F1 {scores['macro_f1']:.4f}"
        print(f"{kind}: {words}, {one['cost']}")
    print(*missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
