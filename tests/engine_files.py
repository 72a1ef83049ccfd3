"""Engines of the TensorRT in small (fake_gpu), and sessions on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from graph_tools import manifest_of
from tiny_model import tiny_model

from edgemtl.engine.gpu import Gpu
from edgemtl.engine.manifest import EngineManifest, manifest_path, sha256_of
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.files import write_text

ORIN = Gpu(name="Fake Orin", compute_capability="8.7")


def write_engine(plan: bytes, model: onnx.ModelProto, path: Path, **changes: object) -> Path:
    """An engine of the fake TensorRT with its manifest."""
    fields = {
        "model": manifest_of(model),
        "source": "m.onnx",
        "built_from": "gone.onnx",
        "onnx_sha256": "0" * 64,
        "engine_sha256": sha256_of(plan),
        "flavour": "tensorrt",
        "version": "10.3.0",
        "gpu": ORIN,
        "precision": "fp32",
        "workspace_mb": 1024,
        "batch": (1, 1, 4),
        "build_seconds": 1.5,
    }
    path.write_bytes(plan)
    manifest = EngineManifest(**{**fields, **changes})
    write_text(manifest_path(path), manifest.to_json())
    return path


def tiny_engine(path: Path, **changes: object) -> Path:
    model = tiny_model()
    return write_engine(model.SerializeToString(), model, path, **changes)


def open_onnx(path: Path, *, threads: int | None = None, **options: Any) -> TensorRTSession:
    """A session on an engine whose plan is the ONNX file ``path``."""
    plan = path.read_bytes()
    engine = path.with_suffix(".engine")
    model = onnx.ModelProto.FromString(plan)
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    write_engine(plan, model, engine, batch=(fixed, fixed, fixed) if fixed else (1, 1, 4))
    return TensorRTSession(engine, **options)
