"""What the graph tests share: running graphs, ranges measured the obvious way, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgemtl.engine.halves import computable
from edgemtl.graph.file import canonical_hash
from edgemtl.graph.qdq import quantisable_tensors
from edgemtl.graph.ranges import RangeTable
from edgemtl.manifest import Manifest, manifest_from_metadata


def manifest_of(model: onnx.ModelProto) -> Manifest:
    return manifest_from_metadata({p.key: p.value for p in model.metadata_props}, "test")


def pictures(manifest: Manifest, count: int = 4, seed: int = 0) -> NDArray[np.int8]:
    """Blocky noise as int8 network input: every stride sees structure."""
    rng = np.random.default_rng(seed)
    h, w = manifest.input.size_hw
    coarse = rng.integers(-128, 128, (count, 3, h // 8, w // 8))
    smooth = np.kron(coarse, np.ones((8, 8), np.int64))
    return np.clip(smooth + rng.integers(-24, 25, (count, 3, h, w)), -128, 127).astype(np.int8)


def run(
    model: onnx.ModelProto, images: NDArray[Any], *, fused: bool = False, optimised: str = ""
) -> dict[str, NDArray[Any]]:
    """Outputs by name. Without ``fused``, Q/DQ are computed in float, one by one."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not fused:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if optimised:
        options.optimized_model_filepath = optimised
    session = onnxruntime.InferenceSession(
        computable(model.SerializeToString()), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def as_uint8(images: NDArray[np.int8]) -> NDArray[np.uint8]:
    return (images.astype(np.int32) + 128).astype(np.uint8)


def measured(model: onnx.ModelProto, images: NDArray[Any], **changes: Any) -> RangeTable:
    """Min-max ranges of every tensor to be quantised."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in quantisable_tensors(model)
    )
    found = run(watched, images)
    fields = {
        "model": "tiny",
        "model_sha256": canonical_hash(model),
        "observer": "minmax",
        "images": len(images),
        "content_sha256": "0" * 64,
        "ranges": {name: (float(v.min()), float(v.max())) for name, v in found.items()},
    }
    return RangeTable(**{**fields, **changes})
