"""The parity ladder of the shipped models: results/parity.json.

    python benchmarks/parity.py --data-root DATA

`toy` over the synthetic world, `street` over PETS 401-600 and the validation pictures of vehicles
and COCO: the checkpoint in torch, the float32 graph and the INT8 graphs rebuilt from the range
tables, on ONNX Runtime and OpenVINO. Exits 1 if a rung differs by more than its precision may.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from edgemtl.bench.host import host_facts
from edgemtl.data.config import load_data
from edgemtl.evaluate.look import shown_of_data
from edgemtl.evaluate.parity import climb
from edgemtl.evaluate.rungs import rungs_of
from edgemtl.files import write_text
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import rebuild
from edgemtl.track import TrackerConfig

ROOT = Path(__file__).resolve().parent
RESULT = ROOT / "results" / "parity.json"
TABLES = ROOT.parent / "calibration" / "tables"
MODELS = ("toy", "street")
LIMIT = 200
"""Pictures of each data set."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found, missed = {}, []
    for name in MODELS:
        path = resolve_model(name)
        shown = shown_of_data(
            load_data(ROOT / "data" / f"{name}.toml", "val", options.data_root), LIMIT
        )
        with tempfile.TemporaryDirectory() as folder:
            int8 = Path(folder) / f"{name}.int8.onnx"
            rebuild(path, TABLES / f"{name}.ranges.json", int8)
            files = [path.with_suffix(".safetensors"), path, int8, int8.with_suffix(".trt.onnx")]
            rungs = [rung for file in files for rung in rungs_of(file, 1)]
            ladder = climb(rungs, shown, TrackerConfig())
        print(name, ladder.verdict(), sep=": ")
        found[name] = ladder.to_dict()
        missed += [f"{name}: {ladder.verdict()}"] if ladder.first_different else []
    result = {"host": host_facts(), "models": found, "missed": missed}
    write_text(options.out, json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
