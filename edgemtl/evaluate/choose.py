"""Which backend to run a model on: the fastest one installed that says what ONNX Runtime says."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import ExitStack, closing, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine.host import default_threads
from edgemtl.engine.openvino import OpenVinoSession
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.session import Session
from edgemtl.engine.timing import time_sessions
from edgemtl.errors import EdgeMTLError, OutputError
from edgemtl.evaluate.look import Shown, look
from edgemtl.evaluate.parity import further_apart
from edgemtl.files import make_folder, write_text
from edgemtl.metrics.agreement import Agreement, compare_outputs
from edgemtl.metrics.tolerance import TOLERANCES, Kind
from edgemtl.models import resolve_model
from edgemtl.onnx_file import model_bytes
from edgemtl.track import TrackerConfig

_CANDIDATES = 10
"""Of each picture so many are compared, the best ones, whatever they score: no picture is like
those that a model was made for."""
_PICTURES, _SEED = 4, 7
_ROUNDS = 20
_GAIN = 0.95
"""Another backend than the default must be faster by more than the noise of timing."""
_PRECISION: dict[str, Kind] = {"fp32": "fp32", "fp16": "fp16"}


def best_backend(model: str | Path, threads: int | None = None) -> str:
    """The backend for a model: ``onnxruntime``, ``openvino``, or ``tensorrt`` for engines.

    Where OpenVINO is installed, a .onnx file is run by both on the same pictures once, a second or
    two, and the answer is kept in the user's cache folder. OpenVINO is chosen if its results are
    within the tolerances of the parity ladder and it is faster. Raises ModelError.
    """
    path = resolve_model(model)
    if path.suffix == ".engine":
        return "tensorrt"
    if find_spec("openvino") is None:
        return "onnxruntime"
    threads = threads or default_threads()
    key, cache = _key(path, threads), _cache()
    known = _read(cache)
    if key not in known:
        known[key] = _measured(path, threads)
        with suppress(OutputError):  # without a cache it is measured again
            make_folder(cache.parent)
            write_text(cache, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return known[key]


def _measured(path: Path, threads: int) -> str:
    with ExitStack() as stack:
        default = stack.enter_context(closing(OrtSession(path, threads=threads)))
        try:
            other = stack.enter_context(closing(OpenVinoSession(path, threads=threads)))
            if not agree(default, other):
                return "onnxruntime"
        except EdgeMTLError:
            return "onnxruntime"
        taken = time_sessions({"onnxruntime": default, "openvino": other}, _ROUNDS)
    ours, theirs = (float(np.median(taken[name])) for name in ("onnxruntime", "openvino"))
    return "openvino" if theirs < _GAIN * ours else "onnxruntime"


def agree(default: Session, other: Session) -> bool:
    """Whether ``other`` says what ``default`` says of a few drawn pictures."""
    world = SyntheticWorld(_SEED, _PICTURES, 1, default.manifest.input.size_hw)
    first, second = (
        look(session, [Shown(world, _PICTURES)], TrackerConfig(), None, min_score=0.0)
        for session in (default, other)
    )
    if not (first.finite and second.finite):
        return False
    bounds = TOLERANCES[_PRECISION.get(default.manifest.precision, "int8")]
    found = []
    for a, b in zip(first.outputs, second.outputs, strict=True):
        best = np.sort(a.scores[0])[::-1][:_CANDIDATES]
        lowest = float(best[-1]) if len(best) else 0.0
        found.append(compare_outputs(a, b, min_score=lowest, min_iou=bounds.min_iou))
    if further_apart(first, second, default.manifest) > bounds.score:  # NaN: there is none
        return False
    return not bounds.exceeded(Agreement.combine(found))


def _key(path: Path, threads: int) -> str:
    versions = [_version(name) for name in ("onnxruntime", "openvino")]
    content = hashlib.sha256(model_bytes(path)).hexdigest()
    return " ".join([content, str(threads), platform.node(), platform.machine(), *versions])


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # part of another distribution, as onnxruntime-gpu
        return "unknown"


def _cache() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(folder) / "edgemtl" / "backends.json"


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    backends = ("onnxruntime", "openvino")
    return {k: v for k, v in found.items() if v in backends} if isinstance(found, dict) else {}
