"""Our network and YOLO26n, both from random weights: results/against_yolo26.{json,svg}.

    python benchmarks/against_yolo26.py --work DIR --data-root DATA --env PEERS

PEERS is of peers/install.py; Ultralytics (AGPL-3.0) runs there and is never imported here. Both
learn the training pictures of detection_vehicles at 416x416, their own size, on one thread, one
after the other, for the same processor time: on one thread that is the wall time of an idle
machine, and a busy one favours neither. How many pictures fit is measured first, so that both
schedules end with the budget; start-up and the last evaluation count for both. Both ONNX files are
scored by edgemtl's COCO metric on the validation pictures, and timed in one process, taking turns,
on one thread. Ours trains in bfloat16 (an option of its config), the peer, which has no such option
on a CPU, in float32. Ours with a pretrained backbone stands beside them, trained for the same time
(its weights: see benchmarks/train/street.toml). Exits 1 if a target is missed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import study
from peers.client import known
from study_plot import figure

from edgemtl.adopt import AdoptOptions, adopt
from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.evaluate import evaluate_model
from edgemtl.export import export_checkpoint

TRAINER = study.HERE / "peers" / "yolo_trainer.py"
PEER = {"yolo26n": ("end_to_end", "n6"), "yolo26n, suppressed": ("raw", "yolov8")}
"""Both exports: its end-to-end head, and the raw one, after which boxes are suppressed here (IoU
.7, its default; not part of the latency)."""
CLASSES = ("Ambulance", "Bus", "Car", "Motorcycle", "Truck")
SIZE = 416
BUDGET_S = 1500
"""Processor seconds of each training."""
SLACK = 1.02
"""Ours may take this much of the peer's time."""
ROUNDS = 200
OURS: study.Json = {
    "name": "ours", "data": "vehicles.toml", "size_hw": [SIZE, SIZE], "batch": 8, "seed": 1,
    "network": {"backbone": "mobilenet_v2", "backbone_width": 0.75, "neck_width": 64},
    "augment": {"scale": [0.6, 1.6], "mosaic": 0.5, "mosaic_until": 0.8},
    "optimiser": {"rate": 2e-3, "backbone_rate": 1.0, "amp": "bf16"},
}  # fmt: skip
FROM_SCRATCH: study.Json = {
    "batch": 4, "multi_scale": [0.5, 1.0], "augment": {"mosaic": 1.0},
    "optimiser": {"rate": 1.4e-3},
}  # fmt: skip
"""Random weights need many steps more than they need calm ones or large pictures."""
PRETRAINED: study.Json = {
    "network": {"backbone": "efficientnet_lite0", "weights": "$EDGEMTL_LITE0",
                "fold_batch_norm": True, "frozen_stages": 3, "neck_width": 96},
    "optimiser": {"rate": 1e-3, "backbone_rate": 0.06},
}  # fmt: skip
DATA = """classes = {classes}
[[train]]
name = "vehicles"
format = "coco"
images = "detection_vehicles/images/train"
annotations = "detection_vehicles/instances_train.json"
[[val]]
name = "vehicles"
format = "coco"
images = "detection_vehicles/images/val"
annotations = "detection_vehicles/instances_val.json"
"""


def yolo_data(folder: Path, source: Path) -> Path:
    """The same pictures and boxes in the peer's form; its data file."""
    for split in ("train", "val"):
        truth = json.loads((source / f"instances_{split}.json").read_text(encoding="utf-8"))
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        lines: dict[int, list[str]] = {image["id"]: [] for image in truth["images"]}
        sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
        for box in truth["annotations"]:
            w, h = sizes[box["image_id"]]
            x, y, bw, bh = box["bbox"]
            centre = ((x + bw / 2) / w, (y + bh / 2) / h, bw / w, bh / h)
            lines[box["image_id"]].append(
                " ".join([str(box["category_id"]), *(f"{v:.6f}" for v in centre)])
            )
        for image in truth["images"]:
            link = folder / "images" / split / image["file_name"]
            if not link.exists():
                link.symlink_to((source / "images" / split / image["file_name"]).resolve())
            label = folder / "labels" / split / (Path(image["file_name"]).stem + ".txt")
            label.write_text("\n".join(lines[image["id"]]) + "\n", encoding="utf-8")
    file = folder / "data.yaml"
    file.write_text(
        f"path: {folder.resolve()}\ntrain: images/train\nval: images/val\nnames: {list(CLASSES)}\n",
        encoding="utf-8",
    )
    return file


def yolo(folder: Path, python: Path, data: Path, epochs: int, fraction: float) -> study.Json:
    """Train the peer, once; its facts and the processor seconds of its process."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "trained.json").exists():
        job = {"model": "yolo26n.yaml", "data": str(data), "size": SIZE, "epochs": epochs,
               "fraction": fraction, "seed": 1, "folder": str(folder.resolve())}  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        (folder / "times.json").unlink(missing_ok=True)
        offline = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false"}
        shell = f"exec '{python}' '{TRAINER}' < job.json"
        study.timed(["sh", "-c", shell], folder, offline)
    facts: study.Json = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    return {**facts, **json.loads((folder / "times.json").read_text(encoding="utf-8"))[-1]}


def ours(folder: Path, images: int, root: Path, changes: study.Json) -> study.Trained:
    folder.mkdir(parents=True, exist_ok=True)
    names = json.dumps(CLASSES)
    (folder / "vehicles.toml").write_text(DATA.format(classes=names), encoding="utf-8")
    wanted = {"images": images, "validate": {"every": images}}
    return study.train(folder, study.merged({**OURS, **wanted}, changes), root)


def images_for(budget_s: float, folder: Path, root: Path, changes: study.Json) -> int:
    """How many pictures ours can see in ``budget_s``: from two short trainings."""
    few, more = (ours(folder / str(n), n, root, changes).cpu_s for n in (80, 400))
    each = (more - few) / 320
    return max(400, int((budget_s - few) / each) // 8 * 8)


def measure(work: Path, root: Path, python: Path, budget_s: float, quick: bool) -> study.Json:
    """Both trainings, their scores and latency."""
    data = yolo_data(work / "yolo-data", root / "detection_vehicles")
    part = 0.05 if quick else 1.0
    probe = yolo(work / "probe-yolo26n", python, data, 2, part)
    epoch = statistics.median(probe["epoch_cpu_s"])
    start_up = probe["cpu_s"] - sum(probe["epoch_cpu_s"])
    epochs = 2 if quick else max(3, int((budget_s - start_up) / epoch))
    theirs = yolo(work / "yolo26n", python, data, epochs, part)
    models, training = {}, {"yolo26n": {**theirs, "epochs": epochs}}
    for name, (file, kind) in PEER.items():
        options = AdoptOptions(decode=kind, classes=CLASSES, min_score=0.01, licence="AGPL-3.0")
        out = work / "yolo26n" / f"adopted-{file}.onnx"
        models[name] = adopt(work / "yolo26n" / f"{file}.onnx", out, options).out
    for name, changes in (("ours", FROM_SCRATCH), ("ours, pretrained", PRETRAINED)):
        folder = work / name.replace(", ", "-")
        plan = study.once(folder / "plan.json", lambda at=folder, how=changes: {
            "images": 80 if quick else images_for(
                theirs["cpu_s"], work / f"probe-{at.name}", root, how)
        })  # fmt: skip
        done = ours(folder, plan["images"], root, changes)
        models[name] = folder / "fp32.onnx"
        if not models[name].exists():
            export_checkpoint(done.best, models[name])
        training[name] = {"cpu_s": done.cpu_s, "wall_s": done.wall_s, **plan}
    mix = load_data(work / "ours" / "vehicles.toml", "val", root)
    scores = {}
    for name, path in models.items():
        with closing(open_session(path, threads=1)) as session:
            found = evaluate_model(session, mix).to_dict()["together"]["detection"]
        scores[name] = {**found, "parameters": study.parameters(path)}
    times = study.latency(models, 5 if quick else ROUNDS)
    ratios = [a / b for a, b in zip(times["ours"], times["yolo26n"], strict=True)]
    return {
        "size": SIZE, "budget_cpu_s": budget_s, "training": training, "scores": scores,
        "latency_cpu_ms": study.median_ms(times),
        "latency_ratio": round(statistics.median(ratios), 4),
    }  # fmt: skip


def misses(result: study.Json) -> list[str]:
    """Targets that were not met, in words."""
    found, scores = [], {name: one["map"] for name, one in result["scores"].items()}
    for name in (name for name in PEER if name in scores):
        if not scores["ours"] > scores[name]:
            found.append(f"mAP50-95: ours {scores['ours']:.4f}, {name} {scores[name]:.4f}")
    if result["latency_ratio"] > 1:
        found.append(f"latency: {result['latency_ratio']:.3f} of YOLO26n's")
    for name in ("ours", "ours, pretrained"):
        share = result["training"][name]["cpu_s"] / result["training"]["yolo26n"]["cpu_s"]
        if share > SLACK:
            found.append(f"{name} took {share:.3f} of YOLO26n's processor time: not comparable")
    return found


def main() -> int:
    parser = study.arguments(__doc__, "against_yolo26.json")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--env", type=Path, required=True, help="of peers/install.py")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="processor seconds of each")
    options = parser.parse_args()
    version = known(options.env).get("ultralytics", {})
    python = options.env.resolve() / "ultralytics" / "bin" / "python"
    try:
        root = options.data_root.resolve()
        result = measure(options.work, root, python, options.budget, options.quick)
    except subprocess.SubprocessError as error:
        raise SystemExit(f"the peer could not be run: {error}") from error
    names = list(result["scores"])
    both = {name: [result["scores"][name][s] for s in ("map", "map50")] for name in names}
    speed = {name: [result["latency_cpu_ms"][name]] for name in names}
    panels = [("vehicles, validation", ("mAP50-95", "mAP50"), both),
              ("one thread, 416x416", ("ms of processor time",), speed)]  # fmt: skip
    figure(panels, options.out.with_suffix(".svg"))
    return study.finish(options.out, {"peer": version, **result}, misses(result))


if __name__ == "__main__":
    sys.exit(main())
