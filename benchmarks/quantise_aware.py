"""What training with INT8's rounding brings: results/quantise_aware.json.

    python benchmarks/quantise_aware.py --work DIR

The shared network of shared_vs_separate.py on the synthetic world (seed 1; trained if DIR/shared
does not hold it) goes on with `edgemtl train --quantize` for a twentieth of the pictures that it
has seen. Both networks are exported and calibrated alike; what is told is how much each of their
graphs loses against the float network that was trained first, on the 2,400 validation frames, with
95 % intervals. Exits 1 if INT8 surely loses more after it than before.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import study
from shared_vs_separate import QUICK, SYNTHETIC
from study_separate import CALIBRATION

from edgemtl.data.config import load_data
from edgemtl.engine.ort import OrtSession
from edgemtl.export import export_checkpoint
from edgemtl.quantize.budget import Budget, Loss
from edgemtl.quantize.calibrate import OutputFiles, calibrate
from edgemtl.quantize.losses import LossOptions, Measured
from edgemtl.quantize.recipe import MixedPictures

SEED = 1
PART = 0.05
GRAPHS = ("fp32", "int8", "int8 trt")


def graphs(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Its float graph and both INT8 graphs, made once."""
    made = folder / "fp32.onnx"
    files = OutputFiles.beside(folder / "int8.onnx")
    if not files.table.exists():
        folder.mkdir(parents=True, exist_ok=True)
        export_checkpoint(checkpoint, made)
        pictures = MixedPictures(load_data(SYNTHETIC["data"], "train", None), 120)
        calibrate(made, pictures, files.host, CALIBRATION)
    return dict(zip(GRAPHS, (made, files.host, files.trt), strict=True))


def measure(before: dict[str, Path], after: dict[str, Path], quick: bool) -> study.Json:
    """Losses by network and graph, against the float graph of ``before``."""
    mix = load_data(SYNTHETIC["data"], "val", None)
    options = LossOptions(repeats=20, jitters=2) if quick else LossOptions()
    found: study.Json = {}
    exact: Measured | None = None
    for name, files in (("before", before), ("after", after)):
        found[name] = {}
        for graph, path in files.items():
            with closing(OrtSession(path, threads=1)) as session:
                measured = Measured(session, mix, options, f"{name}, {graph}")
            exact = exact or measured
            losses = measured.losses(exact, Budget({}))
            found[name][graph] = [loss.to_dict() for loss in losses]
            print(name, graph, *(loss.words for loss in losses), sep="\n  ", flush=True)
    return found


def misses(losses: study.Json) -> list[str]:
    """Scores that INT8 loses more of than before, beyond the interval."""
    found = []
    for graph in GRAPHS[1:]:
        pairs = zip(losses["before"][graph], losses["after"][graph], strict=True)
        for old, new in ((Loss.from_dict(a), Loss.from_dict(b)) for a, b in pairs):
            if new.loss.low > old.loss.value:
                found.append(f"{graph}: {new.words}, before {old.loss.value:.2f}")
    return found


def main() -> int:
    options = study.arguments(__doc__, "quantise_aware.json").parse_args()
    config = study.merged({**SYNTHETIC, "seed": SEED}, QUICK if options.quick else {})
    first = study.train(options.work / "shared", config, None)
    tuned = study.train(
        options.work / "tuned", {**config, "quantize": {"part": PART}}, None, first.best
    )
    files = [
        graphs(run.best, options.work / name / "quantise")
        for name, run in (("shared", first), ("tuned", tuned))
    ]
    losses = study.once(
        options.work / "quantise_aware.json", lambda: measure(*files, options.quick)
    )
    result = {
        "images": config["images"],
        "part": PART,
        "cpu_s": {"training": first.cpu_s, "with rounding": tuned.cpu_s},
        "judgements": tuned.judgements,
        "losses": losses,
    }
    return study.finish(options.out, result, misses(losses))


if __name__ == "__main__":
    sys.exit(main())
