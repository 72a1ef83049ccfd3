"""A detector of another project, adopted: results/adopted_detectors.json.

    python benchmarks/adopted_detectors.py --data-root DATA

YOLOX-Nano as its project exported it (opset 11, raw head) becomes a model with `edgemtl info
--adopt`. `edgemtl eval` scores it on COCO pictures, `edgemtl run` tracks people over a real video,
scored on frames 401 to 600. Then the decoding alone, at 8,400 anchors and 80 classes, one thread:
ours from raw output to boxes in the source beside numpy with OpenCV's NMSBoxesBatched, taking
turns. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from street_on_pets import FIRST, LAST, run, score

from edgemtl import ops
from edgemtl.bench.host import host_facts
from edgemtl.files import write_text
from edgemtl.manifest import Adopted, InputSpec, Manifest
from edgemtl.records import RawOutputs

ROOT = Path(__file__).resolve().parents[1]
ANCHORS, CLASSES, SIZE, SOURCE = 8400, 80, (640, 640), (1080, 1920)
IOU, MOST = 0.7, 300
REPEATS = 60
TARGETS = {"map50": 0.50, "ap50_person": 0.80, "hota": 0.45, "idf1": 0.60, "speed_up": 2.0}


def adopt(data_root: Path, folder: Path) -> Path:
    """The command on the shared weights; the adopted file."""
    weights, out = data_root / "weights", folder / "yolox_nano.onnx"
    arguments = ["info", str(weights / "yolox_nano_416_coco.onnx"), "--adopt", str(out)]
    arguments += ["--decode", "yolox", "--classes", str(weights / "coco.names")]
    command([*arguments, "--licence", "Apache-2.0 (YOLOX)"], folder)
    return out


def command(arguments: list[str], folder: Path) -> dict[str, Any]:
    """What one edgemtl command says with --json."""
    line = [sys.executable, "-m", "edgemtl", *arguments, "--json"]
    done = subprocess.run(line, check=True, cwd=folder, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def coco_toml(data_root: Path, folder: Path) -> Path:
    """The validation pictures as a data file; class names are the weights' own."""
    text = (data_root / "weights" / "coco.names").read_text(encoding="utf-8")
    names = [name.strip() for name in text.strip().splitlines()]
    lines = [
        f"classes = {json.dumps(names)}",
        "[[val]]",
        'name = "coco"',
        'format = "coco"',
        'images = "detection_coco256/images/val2017"',
        'annotations = "detection_coco256/instances_val.json"',
    ]
    path = folder / "coco.toml"
    write_text(path, "\n".join(lines) + "\n")
    return path


def accuracy(data_root: Path, folder: Path) -> dict[str, float]:
    """mAP on the COCO pictures, person AP50 and tracking on the video."""
    model = adopt(data_root, folder)
    toml = coco_toml(data_root, folder)
    report = command(
        ["eval", str(model), "--data", str(toml), "--data-root", str(data_root)], folder
    )
    found = report["sets"]["coco"]["detection"]
    pets = data_root / "mot" / "PETS09-S2L1"
    run(model, pets / "vtest.avi", folder, "yolox_nano", annotated=False)
    tracked = score(folder, "yolox_nano", pets / "gt" / "gt.txt")
    people = {"ap50_person": tracked.pop("ap50")}
    return {"map": found["map"], "map50": found["map50"], **people, **tracked}


def yolov8_like(objects: int) -> NDArray[np.float32]:
    """[4 + 80, 8400]: noise below .01 and so many objects, five anchors each, above .3."""
    random = np.random.default_rng(0)
    values = random.uniform(0, 0.01, (4 + CLASSES, ANCHORS)).astype(np.float32)
    values[:4] = random.uniform(20, 600, (4, ANCHORS))
    for _ in range(objects):
        at, label = random.integers(0, ANCHORS - 5), random.integers(0, CLASSES)
        box = [*random.uniform(100, 540, 2), *random.uniform(20, 150, 2)]
        values[:4, at : at + 5] = np.array(box)[:, None] + random.normal(0, 2, (4, 5))
        values[4 + label, at : at + 5] = random.uniform(0.3, 0.95, 5)
    return values


def by_numpy(values: NDArray[np.float32], low: float, geometry: Any) -> NDArray[np.float32]:
    """What a script around an ONNX file does: transpose, threshold, OpenCV's suppression."""
    rows = values.T
    scores = rows[:, 4:].max(1)
    rows, scores = rows[scores >= low], scores[scores >= low]
    labels = rows[:, 4:].argmax(1)
    corners = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]], 1)
    keep = cv2.dnn.NMSBoxesBatched(corners, scores, labels, low, IOU)
    kept = corners[np.asarray(keep, int)[:MOST]]
    boxes = np.concatenate([kept[:, :2], kept[:, :2] + kept[:, 2:]], 1)
    boxes = (boxes - np.tile(geometry.pad_xy, 2)) / np.tile(geometry.scale_xy, 2)
    return np.clip(boxes, 0, [SOURCE[1], SOURCE[0]] * 2)


def speed() -> dict[str, dict[str, float]]:
    """Milliseconds a frame (medians of turns) and their ratio: few objects, many, low scores."""
    manifest = Manifest(
        name="speed",
        input=InputSpec(size_hw=SIZE, dtype="float32"),
        decode="yolov8",
        adopted=Adopted(output="o", anchors=ANCHORS, nms_iou=IOU),
        classes=tuple(str(number) for number in range(CLASSES)),
        top_k=MOST,
    )
    none, geometry = np.zeros((1, 0), np.float32), ops.letterbox_geometry(SOURCE, SIZE)
    figures = {}
    for name, objects, low in (
        ("20 objects", 20, 0.3),
        ("100 objects", 100, 0.3),
        ("all", 100, 0.001),
    ):
        values = yolov8_like(objects)
        outputs = RawOutputs(
            np.zeros((1, 0, 4), np.float32), none, none.astype(np.int32),
            values=values[None], manifest=manifest,
        )  # fmt: skip
        ways: dict[str, Callable[[], Any]] = {
            "edgemtl": lambda o=outputs, s=low: ops.decode(o, 0, geometry, s),
            "numpy_cv2": lambda v=values, s=low: by_numpy(v, s, geometry),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(REPEATS if low > 0.1 else 8):
            for way, work in ways.items():
                started = time.perf_counter()
                work()
                times[way].append(1e3 * (time.perf_counter() - started))
        medians = {way: statistics.median(spent) for way, spent in times.items()}
        figures[name] = {**medians, "speed_up": medians["numpy_cv2"] / medians["edgemtl"]}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="folder for the outputs")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        scores = accuracy(arguments.data_root.resolve(), folder)
    decode = speed()
    all_figures = {**scores, "speed_up": min(figures["speed_up"] for figures in decode.values())}
    missed = [
        f"{key}: {all_figures[key]:.3f} < {least}"
        for key, least in TARGETS.items()
        if all_figures[key] < least
    ]
    result = {
        "host": host_facts(), "model": "yolox_nano_416_coco.onnx", "coco_pictures": "val, 64",
        "frames": [FIRST, LAST], "scores": scores, "decode_ms": decode, "targets": TARGETS,
        "missed": missed,
    }  # fmt: skip
    out = ROOT / "benchmarks" / "results" / "adopted_detectors.json"
    write_text(out, json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(json.dumps({"scores": scores, "decode_ms": decode}, indent=1), *missed, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
