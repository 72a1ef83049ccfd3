"""What ``edgemtl info`` prints: a manifest in words, and the licence of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgemtl.console import listing
from edgemtl.manifest import Adopted, Manifest
from edgemtl.models import resolve_model

LICENCE_FILE = "LICENSE-WEIGHTS"


def describe(model: str) -> tuple[dict[str, Any], str]:
    """(facts for JSON, text for people) of a MODEL. Raises ModelError or EngineError."""
    path = resolve_model(model)
    manifest, more = _read(path)
    licence_path = path.parent / LICENCE_FILE
    licence = licence_path.read_text(encoding="utf-8").strip() if licence_path.is_file() else None
    facts = {
        "path": path,
        "size_bytes": path.stat().st_size,
        "manifest": manifest.model_dump(mode="json"),
        "tasks": manifest.tasks,
        "outputs": {
            name: {"dtype": dtype, "shape": ["N", *shape]}
            for name, (dtype, shape) in manifest.expected_outputs().items()
        },
        "licence_text": licence,
        **more,
    }
    text = listing(_rows(path, manifest, more))
    if licence:
        text += f"\n\n{LICENCE_FILE}:\n{licence}"
    return facts, text


def _read(path: Path) -> tuple[Manifest, dict[str, Any]]:
    """The manifest, and what else the kind of file tells."""
    if path.suffix == ".engine":
        from edgemtl.engine.manifest import read_engine_manifest

        engine = read_engine_manifest(path)
        return engine.model, {"engine": engine.model_dump(mode="json", exclude={"model"})}
    from edgemtl.graph.cost import graph_cost
    from edgemtl.graph.file import load_model

    graph, manifest = load_model(path)
    opset = next(o.version for o in graph.opset_import if o.domain in ("", "ai.onnx"))
    cost = graph_cost(graph)
    return manifest, {
        "opset": opset,
        "nodes": len(graph.graph.node),
        "GMAC": round(cost.macs / 1e9, 4),
        "parameters": cost.parameters,
    }


def _rows(path: Path, manifest: Manifest, more: dict[str, Any]) -> list[list[str]]:
    height, width = manifest.input.size_hw
    pixels = manifest.input
    rows = [
        ["model", manifest.name],
        ["file", f"{path} ({path.stat().st_size / 1e6:.2f} MB)"],
        ["precision", f"{manifest.precision} (dialect {manifest.dialect})"],
        [
            "input",
            f"{pixels.dtype} [N, 3, {height}, {width}] {pixels.channels}, letterbox {pixels.pad}",
        ],
        ["tasks", ", ".join(manifest.tasks)],
        ["classes", ", ".join(manifest.classes) or "-"],
        ["image classes", ", ".join(manifest.image_classes) or "-"],
        ["embedding", f"{manifest.embedding_dim} numbers" if manifest.embedding_dim else "-"],
        *([f"attribute {a.name}", ", ".join(a.values)] for a in manifest.attributes),
        *([f"task {t.name}", ", ".join(t.classes) or "-"] for t in manifest.further),
        ["candidates", f"{manifest.top_k} a frame, shown from score {manifest.min_score:g}"],
        ["weights licence", manifest.weights_licence],
    ]
    if manifest.adopted is not None:
        rows.insert(4, ["adopted", _adopted(manifest.decode, manifest.adopted)])
    for source in manifest.data:
        count = "" if source.images is None else f", {source.images} images"
        rows.append([f"data ({source.role})", f"{source.name}{count}: {source.licence}"])
    if manifest.calibration is not None:
        record = manifest.calibration
        what = f"{record.images} images, {record.observer}, content {record.content_sha256[:12]}"
        rows.append(["calibration", what])
    rows += [[key, str(value)] for key, value in more.items() if key != "engine"]
    rows += [[f"engine {key}", str(value)] for key, value in more.get("engine", {}).items()]
    return rows


def _adopted(decode: str, adopted: Adopted) -> str:
    """How the runtime reads another project's output."""
    what = f"{decode}: output '{adopted.output}', {adopted.anchors} candidates"
    if decode == "yolox":
        what += ", boxes by grid cell" if adopted.grid else ", boxes in pixels"
    if adopted.nms_iou is None:
        return f"{what}, no suppression"
    across = "across classes" if adopted.class_agnostic else "by class"
    return f"{what}, suppression above IoU {adopted.nms_iou:g} {across}"
