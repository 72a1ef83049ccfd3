"""Calibration beside onnxruntime.quantization: results/calibration_peer.json.

    python benchmarks/calibration_peer.py --data-root DATA --env PEERS [--only street yolox-nano]

`street`, the same pictures and the same kind of observer, each in a process of its own: seconds of
the processor and peak memory, ours with the comparison on 50 further pictures that it ends with.
The peer keeps every activation of every picture until the end where it counts values, so that its
memory grows with the pictures: it gets as many as fit; time is compared for one picture, memory as
it is. Then YOLOX-Nano, which loses its accuracy easily: the peer's static quantisation with its
defaults and per channel and NVIDIA ModelOpt's (what is not INT8 in float32, as here is no float16)
beside ours with what the search of int8_budgets.py chose, from the same pictures: mAP and AP50 on
street's validation sets, and latency on one thread, all models taking turns. PEERS is of
peers/install.py; without it ModelOpt is left out. The latest result of a part is kept where only
the other one is measured. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent))

import study
from adopted_detectors import adopt
from peers.client import known

from edgemtl.data.config import load_data
from edgemtl.data.images import open_images
from edgemtl.engine.ort import OrtSession
from edgemtl.evaluate import EvaluateOptions, evaluate_model
from edgemtl.graph.file import load_model, with_manifest
from edgemtl.graph.layers import with_sums
from edgemtl.graph.ranges import load_ranges, save_ranges
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import CalibrateOptions, OutputFiles, calibrate, rebuild
from edgemtl.quantize.histogram import ObserverKind
from edgemtl.quantize.images import ImageBatches
from edgemtl.quantize.speed import time_models

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "calibration_peer.json"
KINDS: tuple[ObserverKind, ...] = ("minmax", "percentile", "entropy")
PICTURES = Path("imagenet_sample500") / "images.zip"
PEER, MODELOPT = "onnxruntime.quantization", "nvidia-modelopt"
PARTS = ("street", "yolox-nano")
VARIANTS: dict[str, dict[str, Any]] = {"defaults": {}, "per channel": {"per_channel": True}}
MEMORY = {"minmax": 600.0}
"""At most so many MB, of ours."""
SHARE = 0.1
"""Of the peer's peak memory, for observers that count values."""


class Reader:
    """Network inputs, as the peer asks for them: one picture at a time."""

    def __init__(self, model: Path, images: Path, count: int) -> None:
        graph, manifest = load_model(model)
        self._name = graph.graph.input[0].name
        source = open_images(images)
        indices = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int).tolist()
        self._batches: Iterator[Any] = iter(ImageBatches(source, indices, manifest.input, 1))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.copy()}


def peer(model: Path, images: Path, count: int, kind: str, out: Path, **options: Any) -> None:
    """Static quantisation by onnxruntime.quantization, into Q/DQ nodes."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static

    methods = {
        "minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }  # fmt: skip
    quantize_static(
        model, out, Reader(model, images, count), quant_format=QuantFormat.QDQ,
        calibrate_method=methods[kind], **options,
    )  # fmt: skip


def modelopt(model: Path, images: Path, count: int, out: Path, python: Path) -> None:
    """The same by NVIDIA ModelOpt, in an environment of its own."""
    reader, shown = Reader(model, images, count), []
    while (given := reader.get_next()) is not None:
        shown.append(given)
    name = next(iter(shown[0]))
    pictures = out.with_suffix(".npz")
    np.savez(pictures, **{name: np.concatenate([given[name] for given in shown])})
    command = [python, "-m", "modelopt.onnx.quantization", "--quantize_mode", "int8"]
    command += ["--onnx_path", model, "--calibration_data_path", pictures, "--output_path", out]
    command += ["--calibration_eps", "cpu", "--high_precision_dtype", "fp32"]
    subprocess.run(command, check=True, capture_output=True)
    pictures.unlink()


def child(who: str, kind: str, count: int, images: Path, out: Path) -> None:
    model = resolve_model("street")
    if who == "ours":
        observer = next(one for one in KINDS if one == kind)
        calibrate(model, open_images(images), out, CalibrateOptions(observer, count))
    else:
        peer(model, images, count, kind, out)


def cost(who: str, kind: str, count: int, images: Path, folder: Path) -> dict[str, float]:
    """Seconds of processor and clock, and peak memory, of a process of its own."""
    out = folder / f"{who}-{kind}.onnx"
    command = [sys.executable, __file__, "--child", who, kind, str(count), str(images), str(out)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "exit": process.returncode, "images": count,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "wall_s": round(time.monotonic() - started, 1),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }  # fmt: skip


def ours_within(model: Path, pictures: Path, folder: Path) -> Path:
    """Our INT8 with the observer and the float layers that the search of int8_budgets.py chose."""
    searched = json.loads((HERE / "results" / "int8_budgets.json").read_text(encoding="utf-8"))
    chosen = searched["models"]["yolox-nano"]["chosen"]
    out = folder / "ours.onnx"
    calibrate(model, open_images(pictures), out, CalibrateOptions(chosen["observer"], 100))
    graph, _ = load_model(model)
    ranges = load_ranges(OutputFiles.beside(out).table)
    floats = with_sums(graph, chosen["float_layers"])
    save_ranges(
        ranges.model_copy(update={"float_layers": floats, "graphs": {}}), folder / "ours.json"
    )
    return rebuild(model, folder / "ours.json", out).host


def fragile(root: Path, folder: Path, env: Path | None) -> dict[str, Any]:
    """YOLOX-Nano in INT8 by the peers and by us: scores and latency."""
    model = adopt(root, folder)
    _, manifest = load_model(model)
    pictures = root / "detection_coco256" / "images" / "train2017"
    paths = {"fp32": model, "ours": ours_within(model, pictures, folder)}
    makers: dict[str, Callable[[Path], None]] = {
        f"{PEER}, {name}": lambda raw, how=options: peer(
            model, pictures, 100, "minmax", raw, **how)
        for name, options in VARIANTS.items()
    }  # fmt: skip
    if env is not None and "version" in known(env).get(MODELOPT, {}):
        python = env.resolve() / MODELOPT / "bin" / "python"
        makers[MODELOPT] = lambda raw: modelopt(model, pictures, 100, raw, python)
    for number, (name, make) in enumerate(makers.items()):
        raw, path = folder / "raw.onnx", folder / f"peer{number}.onnx"
        make(raw)
        emitted = with_manifest(onnx.load(raw), manifest)
        path.write_bytes(emitted.SerializeToString())
        paths[name] = path
    mix, scores = load_data(HERE / "data" / "street.toml", "val", root), {}
    for name, path in paths.items():
        with closing(OrtSession(path, threads=1)) as session:
            found = evaluate_model(session, mix, EvaluateOptions(tasks=("detect",))).to_dict()
        detection = found["together"]["detection"]
        scores[name] = {"map": detection["map"], "ap50": detection["map50"]}
    times = {
        k: one.to_dict() for k, one in time_models(paths, threads=1, rounds=240, loads=12).items()
    }
    return {name: {**scores[name], **times[name]} for name in paths}


def misses(costs: dict[str, Any], models: dict[str, Any]) -> list[str]:
    """Targets that were not met, in words."""
    found = []
    for kind, both in costs.items():
        ours, theirs = both["ours"], both[PEER]
        found += [f"{kind}, {who}: exit {one['exit']}" for who, one in both.items() if one["exit"]]
        if ours["peak_mb"] > MEMORY.get(kind, SHARE * theirs["peak_mb"]):
            found.append(f"{kind}: {ours['peak_mb']:.0f} MB, the peer {theirs['peak_mb']:.0f}")
        each = [one["cpu_s"] / one["images"] for one in (ours, theirs)]
        if kind != "minmax" and each[0] > each[1]:
            found.append(f"{kind}: {each[0]:.2f} s for a picture, the peer {each[1]:.2f}")
    if models and MODELOPT not in models:
        found.append(f"{MODELOPT}: not measured, it is not in --env")
    for name in models:
        if name not in ("ours", "fp32"):
            if models["ours"]["ap50"] <= models[name]["ap50"]:
                found.append(
                    f"AP50 {models['ours']['ap50']:.3f}, {name} {models[name]['ap50']:.3f}"
                )
            if models["ours"]["p50_ms"] > models[name]["p50_ms"]:
                found.append(
                    f"ms: {models['ours']['p50_ms']:.1f}, {name} {models[name]['p50_ms']:.1f}"
                )
    return found


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        who, kind, count, images, out = sys.argv[2:]
        child(who, kind, int(count), Path(images), Path(out))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--env", type=Path, help="of peers/install.py")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--images", type=int, default=450)
    parser.add_argument("--peer-images", type=int, default=60)
    options = parser.parse_args()
    root = options.data_root.resolve()
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    if RESULT.exists():
        before = json.loads(RESULT.read_text(encoding="utf-8"))
        parts = {part: before.get(part, {}) for part in PARTS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "street" in options.only:
            parts["street"] = {
                kind: {
                    "ours": cost("ours", kind, options.images, root / PICTURES, folder),
                    PEER: cost("peer", kind, options.peer_images, root / PICTURES, folder),
                }
                for kind in KINDS
            }
        if "yolox-nano" in options.only:
            parts["yolox-nano"] = fragile(root, folder, options.env)
    return study.finish(RESULT, parts, misses(parts["street"], parts["yolox-nano"]))


if __name__ == "__main__":
    sys.exit(main())
