"""The rungs of the parity ladder: every way in which a file can be run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgemtl.engine import open_session
from edgemtl.engine.openvino import OpenVinoSession, computes_bf16
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.session import Session
from edgemtl.errors import MissingExtraError, ModelError
from edgemtl.graph.file import load_model
from edgemtl.manifest import Manifest
from edgemtl.metrics.tolerance import Kind
from edgemtl.models import resolve_model

CHECKPOINT = ".safetensors"
KINDS: dict[str, Kind] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8", "mixed": "int8"}


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to run a network. ``kind`` None: as the session's manifest says.

    ``open`` raises MissingExtraError and EngineError where it cannot be run.
    """

    name: str
    open: Callable[[], Session]
    kind: Kind | None = None

    def kind_of(self, manifest: Manifest) -> Kind:
        """What precision it is judged by."""
        return self.kind or KINDS[manifest.precision]


def rungs_of(model: str | Path, threads: int | None = None) -> Iterator[Rung]:
    """The rungs of one file: a checkpoint, a .onnx file or an engine.

    A graph for TensorRT is emulated by ONNX Runtime. OpenVINO computes in float32 what is not
    quantised, and where the processor has bfloat16, that is a rung of its own. Raises ModelError
    for what is none of these files.
    """
    path = Path(model)
    if path.suffix == CHECKPOINT:
        yield Rung(f"{path.name}, torch", lambda: _torch(path))
        return
    path = resolve_model(model)
    if path.suffix == ".engine":
        yield Rung(f"{path.name}, tensorrt", lambda: open_session(path))
        return
    _, manifest = load_model(path)
    if manifest.dialect == "trt":
        yield Rung(
            f"{path.name}, onnxruntime emulates",
            lambda: OrtSession(path, threads=threads),
        )
        return
    yield Rung(f"{path.name}, onnxruntime", lambda: OrtSession(path, threads=threads))
    if manifest.precision == "fp16":
        return  # OpenVINO would compute in float32 again
    yield Rung(f"{path.name}, openvino", lambda: OpenVinoSession(path, threads=threads))
    if manifest.precision == "fp32" and computes_bf16():
        yield Rung(
            f"{path.name}, openvino bf16",
            lambda: OpenVinoSession(path, threads=threads, precision="bf16"),
            "bf16",
        )


def _torch(path: Path) -> Session:
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train", "a checkpoint as a rung")
    from edgemtl.nn.checkpoint import load_network
    from edgemtl.nn.session import TorchSession

    if not path.is_file():
        raise ModelError(f"model: no file '{path}'", "name the best.safetensors of a training")
    network, manifest = load_network(path)
    return TorchSession(network, manifest)
