"""Fill the figures of README.md from benchmarks/results/*.json; ``--check`` only compares.

A block between ``<!-- figures: NAME -->`` and ``<!-- end -->`` is what the function of
that name makes of the results. Nothing in such a block is written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
TOUR_LINES = 24
TOUR_WIDTH = 110
TOUR_TEXT = {
    "info": "What a model is, and what its licence allows:",
    "run": "Detect, classify and track in one pass; video, JSON Lines and MOTChallenge text:",
    "calibrate": "INT8 for this host and for TensorRT, from one table of ranges:",
    "bench": "Latency from frame to result, per stage:",
    "build": "A TensorRT engine (here by TensorRT-RTX, on a machine without a GPU):",
    "track": "The tracker alone, over detections of any origin:",
    "doctor": "What this machine can do, and what is missing:",
}
CIFAR = {"alone": "a network of its own", "joint": "one that finds vehicles, too"}
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _lost(losses: list[dict[str, Any]], scores: Iterable[str]) -> list[str]:
    """Points lost with their interval, a cell for each score."""
    cells = {one["score"]: one for one in losses}
    return [
        f"{one['loss_points']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"
        for one in (cells[score] for score in scores)
    ]


def demo() -> str:
    """Scores and speed of the demo, FP32 beside INT8."""
    results = _load("demo")["results"]
    columns = [results["fp32"], results["int8"]]
    rows = [
        [name, *(f"{c[key]:.3f}" for c in columns)]
        for name, key in (("mAP50", "map50"), ("top-1", "top1"), ("HOTA", "hota"), ("IDF1", "idf1"))
    ]
    rows.append(["model size (MB)", *(f"{c['size_bytes'] / 1e6:.2f}" for c in columns)])
    return _table(["`toy`, rendered clip", "FP32", "INT8"], rows)


def tour() -> str:
    """Each command of the tour with what it printed; long outputs are cut in the middle."""
    blocks = []
    for step in _load("tour")["commands"]:
        name = step["command"].split()[1]
        lines = step["stdout"].splitlines()
        if len(lines) > TOUR_LINES:
            lines = [*lines[: TOUR_LINES - 4], "...", *lines[-3:]]
        lines = [
            line if len(line) <= TOUR_WIDTH else line[: TOUR_WIDTH - 3] + "..." for line in lines
        ]
        output = "\n".join(lines)
        blocks.append(f"{TOUR_TEXT[name]}\n```\n$ {step['command']}\n{output}\n```\n")
    return "\n".join(blocks)


SCORES = (
    ("mAP", ("detection", "map")),
    ("mAP50", ("detection", "map50")),
    ("top-1", ("classification", "top1")),
    ("macro-F1", ("classification", "macro_f1")),
    ("top-1 of the largest box", ("box_class", "top1")),
    ("HOTA", ("tracking", "hota")),
    ("IDF1", ("tracking", "idf1")),
    ("re-identification rank-1", ("retrieval", "rank1")),
)


def _score_rows(scores: dict[str, Any]) -> list[list[str]]:
    """One row per data set and score that FP32 and INT8 both have."""
    both = [scores[precision]["sets"] for precision in ("fp32", "int8")]
    rows = []
    for name in both[0]:
        for title, (task, key) in SCORES:
            values = [sets[name].get(task, {}).get(key) for sets in both]
            if None not in values:
                rows.append([f"{name}: {title}", *(f"{value:.3f}" for value in values)])
    return rows


def models() -> str:
    """Scores, speed and size of the shipped models, FP32 beside INT8."""
    result = _load("shipped_models")
    parts = []
    for name, model in result["models"].items():
        rows = _score_rows(model["scores"])
        speed, size = model["speed"], model["size_bytes"]
        pair = [speed["fp32"], speed["int8"]]
        rows.append(
            ["network, one thread, p50 (ms)", *(f"{column['p50_ms']:.1f}" for column in pair)]
        )
        rows.append(["speed against FP32", "1.00", f"{model['speed_up']:.2f}"])
        rows.append(["file (MB)", *(f"{size[column] / 1e6:.2f}" for column in ("fp32", "int8"))])
        parts.append(_table([f"`{name}`", "FP32", "INT8"], rows))
    host = result["host"]
    parts.append(
        f"Host: {host['cpu']}, {host['cores']} cores, ONNX Runtime "
        f"{host['packages']['onnxruntime']}.\n"
    )
    return "\n".join(parts)


PETS_ROWS = {
    "fp32": "`edgemtl run street`", "int8": "the same in INT8",
    "motion alone": "FP32's boxes, without embeddings",
    "yolox-nano, roboflow-botsort": "YOLOX-Nano, then Roboflow's BoT-SORT",
}  # fmt: skip


def pets() -> str:
    """People of the PETS video, as the files of `edgemtl run` have them, and a chain of peers."""
    result = _load("street_on_pets")
    scores = result["scores"]
    rows = [
        [words, *(f"{scores[name][key]:.3f}" if key in scores[name] else "" for key in
                  ("ap50", "hota", "idf1"))]
        for name, words in PETS_ROWS.items() if name in scores
    ]  # fmt: skip
    first, last = result["frames"]
    return _table([f"PETS frames {first} to {last}", "person AP50", "HOTA", "IDF1"], rows)


BUDGET_MODELS = {"toy": "`toy`", "street": "`street`", "yolox-nano": "YOLOX-Nano, adopted"}


def budgets() -> str:
    """What INT8 within a budget costs: the largest loss of each task in either dialect."""
    result, rows = _load("int8_budgets"), []
    tasks = {"map": "det", "top1": "cls", "hota": "track", "idf1": "track", "rank1": "embed"}
    for name, words in BUDGET_MODELS.items():
        one = result["models"][name]
        worst: dict[str, float] = {}
        for losses in one["chosen"]["losses"].values():
            for loss in losses:
                task = tasks[loss["score"]]
                worst[task] = max(worst.get(task, -100.0), loss["loss_points"])
        speed = [one["speed"][key]["p50_ms"] for key in ("fp32", "int8")]
        rows.append([
            words, f"`{one['budget']}`", one["chosen"]["observer"],
            str(len(one["chosen"]["float_layers"])),
            *(f"{worst[task]:+.1f}" if task in worst else "" for task in
              ("det", "cls", "track", "embed")),
            " to ".join(f"{ms:.1f}" for ms in speed),
        ])  # fmt: skip
    head = ["", "budget", "ranges", "layers in float", "det", "cls", "track", "embed", "ms"]
    return _table(head, rows)


def calibration_peer() -> str:
    """YOLOX-Nano in INT8 and the cost of a calibration, beside onnxruntime.quantization."""
    result = _load("calibration_peer")
    exact = result["yolox-nano"].pop("fp32")
    rows = [["float32", f"{exact['ap50']:.3f}", f"{exact['map']:.3f}", f"{exact['p50_ms']:.1f}"]]
    rows += [
        [f"INT8, {name}", f"{one['ap50']:.3f}", f"{one['map']:.3f}", f"{one['p50_ms']:.1f}"]
        for name, one in sorted(result["yolox-nano"].items(), reverse=True)
    ]
    text = _table(["YOLOX-Nano", "AP50", "mAP50-95", "ms"], rows)
    both = result["street"]["percentile"]
    ours, theirs = both.pop("ours"), next(iter(both.values()))
    return (
        f"{text}\nCalibrating `street` by percentiles: {ours['peak_mb']:.0f} MB at most over "
        f"{ours['images']} pictures, theirs {theirs['peak_mb']:.0f} MB over {theirs['images']}.\n"
    )


def against_yolo26() -> str:
    """Trainings of equal processor time on one thread, ours and YOLO26n."""
    result = _load("against_yolo26")
    spent = {name: one["cpu_s"] / 60 for name, one in result["training"].items()}
    rows = [
        [
            name, f"{spent[name.removesuffix(', suppressed')]:.0f}", f"{one['map']:.3f}",
            f"{one['map50']:.3f}", f"{one['parameters'] / 1e6:.2f}",
            f"{result['latency_cpu_ms'][name]:.1f}",
        ]
        for name, one in result["scores"].items()
    ]  # fmt: skip
    header = ["vehicles, validation", "minutes of one thread to train", "mAP50-95", "mAP50",
              "parameters (M)", "ms"]  # fmt: skip
    return _table(header, rows)


def cifar10() -> str:
    """CIFAR-10 by a network of its own and beside boxes."""
    rows = []
    for kind, one in _load("cifar10")["kinds"].items():
        scores = one["sets"]["cifar"]["classification"]
        classes = scores["per_class"].values()
        means = [sum(c[key] for c in classes) / len(classes) for key in ("precision", "recall")]
        boxes = one["sets"].get("vehicles", {}).get("detection")
        seen = one["pictures_seen"] * one["shares"].get("classify", 1.0)
        rows.append([
            CIFAR[kind], f"{scores['top1']:.3f}", *(f"{mean:.3f}" for mean in means),
            f"{boxes['map50']:.3f}" if boxes else "", f"{seen / 1e3:.0f}",
            f"{one['cost']['cpu_s'] / 60:.0f}",
        ])  # fmt: skip
    header = ["CIFAR-10", "accuracy", "precision", "recall", "mAP50 of vehicles",
              "thousand of its pictures seen", "minutes of processor"]  # fmt: skip
    return _table(header, rows)


def balancing() -> str:
    """Balances of the tasks on the same number of pictures."""
    result = _load("balancing")
    rows = []
    for kind, one in result["kinds"].items():
        scores = [f"{one['mean'][key]:.3f}" for key in ("map", "hota", "idf1", "rank1")]
        rows.append([f"`{kind}`", *scores, f"{one['step_cpu_ms']:.0f}", str(len(one["seeds"]))])
    header = ["`loss.balance`", "mAP", "HOTA", "IDF1", "rank-1", "ms of a step", "seeds"]
    return f"{result['images']:,} pictures of the synthetic world:\n\n{_table(header, rows)}"


def shared_vs_separate() -> str:
    """One network for all tasks beside three; of the synthetic world the mean over its seeds."""
    result = _load("shared_vs_separate")
    names = {"map": "mAP", "top1": "top-1", "hota": "HOTA", "idf1": "IDF1", "rank1": "rank-1"}
    rows = []
    for part in ("synthetic", "real"):
        if part not in result:
            continue
        seeds, cost = result[part].get("seeds", {"": result[part]}).values(), result[part]["cost"]
        sides = {
            side: [sum(s["scores"][side][k] for s in seeds) / len(seeds) for k in names]
            for side in ("shared", "separate")
        }
        if "longer" in result[part]:
            sides["shared, trained as long as the three"] = [
                result[part]["longer"]["scores"][k] for k in names
            ]
        for side, scores in sides.items():
            like = side.split(",")[0]
            times = [cost["latency_cpu_ms"][p][like] for p in ("fp32", "int8")]
            millions = cost["parameters"][like] / 1e6
            told = [*(f"{v:.3f}" for v in scores), *(f"{v:.2f}" for v in times), f"{millions:.2f}"]
            rows.append([f"{part}, {side}", *told])
    header = ["", *names.values(), "ms FP32", "ms INT8", "million parameters"]
    return _table(header, rows)


def quantise_aware() -> str:
    """What INT8 costs before and after training with its rounding."""
    result = _load("quantise_aware")
    names = {"map": "mAP", "top1": "top-1", "rank1": "rank-1", "hota": "HOTA", "idf1": "IDF1"}
    rows = [
        [f"{graph}, {when}", *_lost(found, names)]
        for when, graphs in result["losses"].items()
        for graph, found in graphs.items()
        if (when, graph) != ("before", "fp32")  # what all are compared with
    ]
    return _table(["points lost (95 %)", *names.values()], rows)


def int8_targets() -> str:
    """What INT8 costs `toy` over a large synthetic world, and what it gains `street`."""
    result = _load("int8_targets")
    world, speed = result["world"], result["speed"]
    names = {"map": "mAP", "top1": "top-1", "rank1": "rank-1", "hota": "HOTA", "idf1": "IDF1"}
    rows = [
        [graph, *_lost(losses, names), f"{world['cosine'][graph]:.4f}"]
        for graph, losses in world["losses"].items()
    ]
    table = _table(["points lost (95 %)", *names.values(), "cosine"], rows)
    alone = {
        name: f" (its convolutions alone {one['convolutions']:.2f}x)"
        for name, one in speed.items()
        if "convolutions" in one
    }
    gains = ", ".join(
        f"{one['speed_up']:.2f}x on {name}{alone.get(name, '')}" for name, one in speed.items()
    )
    seen = f"{world['frames']:,} frames of it, {world['identities']:,} identities"
    return f"{seen}:\n\n{table}\nINT8 over float32, `street`: {gains}.\n"


def head_cost() -> str:
    """What the two small tasks add to detection."""
    models = _load("head_cost")["models"]
    cells = [
        [f"`{name}`, {precision.upper()}", f"{one['detection']['processor_ms']:.2f}",
         f"{100 * one['processor_cost']['median']:.1f} %",
         "{:.1f} to {:.1f}".format(*(100 * end for end in one["processor_cost"]["interval"]))]
        for name in ("street", "toy") for precision, one in models[name].items()
    ]  # fmt: skip
    head = ["one thread of ONNX Runtime", "detection alone, ms", "both tasks add", "95 %"]
    return _table(head, cells)


def parity() -> str:
    """The shipped models' forms beside the checkpoint in torch."""
    rows = []
    for ladder in _load("parity")["models"].values():
        for rung in ladder["rungs"]:
            told = rung["agreement"]
            if told is None:
                continue
            rows.append([
                rung["name"], f"{told['match_rate']:.3f}", f"{told['mean_box_px']:.3f}",
                f"{told['mean_score']:.4f}", f"{told['mean_cosine']:.4f}",
                f"{told['same_image_class'] / told['images']:.3f}", f"{rung['ids']:.3f}",
            ])  # fmt: skip
    header = ["beside torch", "with a partner", "box px", "score", "cosine", "same class", "IDF1"]
    return _table(header, rows)


def preprocessing() -> str:
    """Letterboxes on one thread beside OpenCV and Ultralytics."""
    result = _load("preprocessing")
    columns = ("cv2.resize", "uint8", "float32", "nv12 uint8", "cv2 chain uint8", "ultralytics")
    rows = [
        [sizes, *(f"{figures[name]:.2f}" if name in figures else "-" for name in columns)]
        for sizes, figures in result["median_cpu_ms"].items()
    ]
    titles = ["`cv2.resize` alone", "ours, uint8", "ours, float32", "ours, from NV12",
              "OpenCV chain, uint8", "Ultralytics, float32"]  # fmt: skip
    text = _table(["ms of one thread", *titles], rows)
    ratios = {(r["what"], r["against"]): r["geometric_mean"] for r in result["ratios"]}
    against = ratios["uint8", "cv2.resize"]
    text += f"\nGeometric mean: {against:.2f} of the time of `cv2.resize` alone"
    if ("uint8", "ultralytics") in ratios:
        eight, full = ratios["uint8", "ultralytics"], ratios["float32", "ultralytics"]
        text += f", {eight:.2f} (uint8) and {full:.2f} (float32) of Ultralytics' pre-processing"
    return text + ".\n"


TRACKERS = {
    "boxmot-botsort": "BoxMOT BoT-SORT",
    "roboflow-botsort": "Roboflow BoT-SORT",
    "roboflow-cbiou": "Roboflow C-BIoU",
    "ultralytics-botsort": "Ultralytics BoT-SORT",
    "boxmot-bytetrack": "BoxMOT ByteTrack",
    "ultralytics-ocsort": "Ultralytics OC-SORT",
    "norfair": "norfair",
}
"""The peers of the README's table; the JSON has all."""


def trackers() -> str:
    """Quality on given detections, and what lost frames leave of it."""
    quality, lost = _load("tracker_quality"), _load("tracker_robustness")
    scores = {"edgemtl": quality["edgemtl"], **quality["scores"]}
    disturbed = {"edgemtl": lost["edgemtl"], **lost["peers"]["scores"]}
    rows = []
    for name in ("edgemtl", *TRACKERS):
        one, bad = scores[name]["COMBINED"], disturbed[name]
        cells = [f"{one[key]:.3f}" for key in ("hota", "mota", "idf1")] + [f"{one['idsw']:.0f}"]
        cells += [f"{bad[kind]['hota']:.3f}" for kind in ("drop_30", "half_rate", "outage_2s")]
        rows.append([TRACKERS.get(name, "**edgemtl**"), *cells])
    titles = ["HOTA", "MOTA", "IDF1", "switches", "HOTA, 30 % of frames lost", "half the rate",
              "2 s outage"]  # fmt: skip
    text = _table(["tracker alone, default settings", *titles], rows)
    left = _load("tracker_leave_one_out")["combined"]
    shaken = _load("tracker_sensitivity")["jitter"]
    spread = ", ".join(
        f"{name} {shaken[key]['mean']:.3f} ({shaken[key]['min']:.3f} to {shaken[key]['max']:.3f})"
        for name, key in (("HOTA", "hota"), ("MOTA", "mota"), ("IDF1", "idf1"))
    )
    return (
        f"{text}\nWith parameters searched anew on four sequences and scored on the fifth, all "
        f"five together: HOTA {left['hota']:.3f}, MOTA {left['mota']:.3f}, IDF1 "
        f"{left['idf1']:.3f}. With the default parameters moved at random by up to 5 %, mean "
        f"and range: {spread}.\n"
    )


UPDATES = ("boxmot-cpp-bytetrack", "boxmot-cpp-ocsort", "roboflow-bytetrack",
           "ultralytics-bytetrack", "boxmot-bytetrack")  # fmt: skip
SCENES = {
    "full_hd_20": "20 objects",
    "full_hd_100": "100 objects",
    "sparse_1000": "1,000 objects, sparse",
}


def tracker_speed() -> str:
    """Ours and some peers; the picture and tracker_speed.md have all."""
    scenes = _load("tracker_speed")["scenes"]
    rows = []
    for name in ("edgemtl", *UPDATES):
        cells = [scenes[scene]["us"].get(name) for scene in SCENES]
        figures = ["-" if c is None else f"{c:,.1f}" if c < 100 else f"{c:,.0f}" for c in cells]
        rows.append([f"**{name}**" if name == "edgemtl" else name, *figures])
    return _table(["microseconds", *SCENES.values()], rows)


def adopted() -> str:
    """YOLOX-Nano, adopted."""
    result = _load("adopted_detectors")
    scores, decode = result["scores"], result["decode_ms"]["20 objects"]
    rows = [
        ["mAP50 on 64 COCO pictures, as pycocotools has it", f"{scores['map50']:.3f}"],
        ["person AP50 on PETS frames 401 to 600", f"{scores['ap50_person']:.3f}"],
        ["HOTA / IDF1 there", f"{scores['hota']:.3f} / {scores['idf1']:.3f}"],
        ["decoding 8,400 anchors of 80 classes, 20 objects (ms)", f"{decode['edgemtl']:.3f}"],
        ["the same in numpy and OpenCV (ms)", f"{decode['numpy_cv2']:.3f}"],
    ]
    return _table(["YOLOX-Nano, adopted", ""], rows)


FIGURES: dict[str, Callable[[], str]] = {
    "demo": demo, "tour": tour, "models": models, "pets": pets, "budgets": budgets,
    "calibration_peer": calibration_peer, "balancing": balancing, "parity": parity,
    "int8_targets": int8_targets, "against_yolo26": against_yolo26,
    "shared_vs_separate": shared_vs_separate, "quantise_aware": quantise_aware,
    "preprocessing": preprocessing, "trackers": trackers, "tracker_speed": tracker_speed,
    "adopted": adopted, "cifar10": cifar10, "head_cost": head_cost,
}  # fmt: skip


def filled(text: str) -> str:
    """``text`` with every marked block made anew. Raises KeyError for an unknown name."""
    return BLOCK.sub(lambda m: m.group(1) + FIGURES[m.group(2)]() + m.group(3), text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the README is out of date")
    check = parser.parse_args().check
    text = README.read_text(encoding="utf-8")
    new = filled(text)
    if new == text:
        return 0
    if check:
        print("README.md is out of date: run benchmarks/readme_figures.py", file=sys.stderr)
        return 1
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
