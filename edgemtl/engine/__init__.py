"""Sessions: one protocol, whatever runs the network."""

from __future__ import annotations

from pathlib import Path

from edgemtl.engine.session import Session
from edgemtl.errors import ConfigError
from edgemtl.models import resolve_model

__all__ = ["BACKENDS", "Session", "open_session"]

BACKENDS = ("auto", "onnxruntime", "openvino", "tensorrt")


def open_session(
    model: str | Path,
    *,
    backend: str = "auto",
    threads: int | None = None,
    batch: int = 1,
    cuda_graph: bool = False,
) -> Session:
    """Load a model: a shipped name, a .onnx file (ONNX Runtime, or OpenVINO if asked for) or a
    .engine file (TensorRT).

    ``threads``: of the CPU backends; default all cores but one. ``cuda_graph``: of TensorRT. Raises
    ModelError for a file that is not ours or contradicts itself, EngineError for what the backend
    cannot run, ConfigError for a backend or an option that does not fit the file, MissingExtraError
    if its package is absent.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend: expected one of {', '.join(BACKENDS)}, got '{backend}'")
    path = resolve_model(model)
    is_engine = path.suffix == ".engine"
    if is_engine != (backend == "tensorrt") and (is_engine or backend == "tensorrt"):
        if backend == "auto":
            backend = "tensorrt"
        else:
            raise ConfigError(
                f"backend: '{backend}' cannot run '{path.name}'",
                "engines run on tensorrt, .onnx files on onnxruntime and openvino; "
                "'edgemtl build' makes an engine of an .onnx file",
            )
    if backend == "tensorrt":
        from edgemtl.engine.tensorrt import TensorRTSession

        return TensorRTSession(path, batch=batch, cuda_graph=cuda_graph)
    if cuda_graph:
        raise ConfigError(
            f"cuda_graph: only TensorRT has CUDA graphs, '{path.name}' does not run on it",
            "leave it out, or run an engine: 'edgemtl build' makes one of an .onnx file",
        )
    if backend == "openvino":
        from edgemtl.engine.openvino import OpenVinoSession

        return OpenVinoSession(path, threads=threads, batch=batch)
    from edgemtl.engine.ort import OrtSession

    return OrtSession(path, threads=threads, batch=batch)
