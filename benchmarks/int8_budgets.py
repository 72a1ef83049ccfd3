"""INT8 within a budget for each task, our models and an adopted one: results/int8_budgets.json.

    python benchmarks/int8_budgets.py --data-root DATA [--only yolox-nano]

`edgemtl calibrate` as a user calls it. `toy` and `street` by their recipes; YOLOX-Nano, a SiLU
network that its project trained without INT8 in mind, is calibrated on COCO pictures and judged on
street's validation sets, whose classes it has. What is kept: the losses of both dialects with their
intervals, every trial, the layers in float, and the speed of float32, of whole INT8 and of what was
chosen, taking turns on one thread. Exits with 1 if a budget is not kept, or if INT8 is not faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import study
from adopted_detectors import adopt

from edgemtl.graph.ranges import load_ranges, save_ranges
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import OutputFiles, rebuild
from edgemtl.quantize.speed import time_models

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "int8_budgets.json"
RECIPES = HERE.parent / "calibration" / "recipes"
ADOPTED = "yolox-nano"
ADOPTED_BUDGET = "det=3,track=5"
KEPT = ("budget", "kept", "chosen", "trials", "recommended", "overlap", "oddities", "provenance")


def calibrate(model: Path, out: Path, options: list[str], root: Path) -> dict[str, Any]:
    """What the command says of one model, as JSON, with DATA for ``root``.

    Raises SystemExit if it wrote no report.
    """
    command = [sys.executable, "-m", "edgemtl", "calibrate", str(model), "--out", str(out)]
    done = subprocess.run(
        [*command, *options, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    report = Path(f"{out.with_suffix('')}.report.json")
    if not report.exists():
        raise SystemExit(f"{model}: no report; exit {done.returncode}")
    text = report.read_text(encoding="utf-8").replace(str(root), "DATA")
    found: dict[str, Any] = json.loads(text)
    return found


def measure(name: str, root: Path, folder: Path) -> dict[str, Any]:
    """One model: the report, and the speed of what there is."""
    out = folder / f"{name}.int8.onnx"
    if name == ADOPTED:
        model = adopt(root, folder)
        options = ["--images", str(root / "detection_coco256" / "images" / "train2017")]
        options += ["--limit", "100", "--eval", str(HERE / "data" / "street.toml")]
        options += ["--data-root", str(root), "--budget", ADOPTED_BUDGET, "--allow-slower"]
    else:
        model = resolve_model(name)
        options = ["--recipe", str(RECIPES / f"{name}.toml"), "--data-root", str(root)]
    found = calibrate(model, out, options, root)
    paths = {"fp32": model, "int8": out}
    if found["kept"] and found["chosen"]["float_layers"]:
        table = folder / f"{name}.whole.json"
        ranges = load_ranges(OutputFiles.beside(out).table)
        save_ranges(ranges.model_copy(update={"float_layers": (), "graphs": {}}), table)
        paths["int8, whole"] = rebuild(model, table, folder / f"{name}.whole.onnx").host
    speed = time_models(
        {k: p for k, p in paths.items() if p.exists()}, threads=1, rounds=240, loads=12
    )
    kept = {key: found[key] for key in KEPT}
    return {**kept, "speed": {key: one.to_dict() for key, one in speed.items()}}


def misses(models: dict[str, Any]) -> list[str]:
    """What did not come out, in words."""
    found = []
    for name, one in models.items():
        if not one["kept"]:
            found.append(f"{name}: no INT8 within {one['budget']}")
            continue
        exact, int8 = (one["speed"][key]["p50_ms"] for key in ("fp32", "int8"))
        if int8 >= exact:
            found.append(f"{name}: INT8 takes {int8:.1f} ms, float32 {exact:.1f}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["toy", "street", ADOPTED])
    options = parser.parse_args()
    models = {}
    if RESULT.exists():
        models = json.loads(RESULT.read_text(encoding="utf-8"))["models"]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            models[name] = measure(name, options.data_root.resolve(), Path(folder))
    return study.finish(RESULT, {"models": models}, misses(models))


if __name__ == "__main__":
    sys.exit(main())
