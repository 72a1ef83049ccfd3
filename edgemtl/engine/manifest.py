"""The manifest beside every engine: what it was made of, and the only place where it runs."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgemtl.engine.bindings import Bindings, Flavour
from edgemtl.engine.gpu import Gpu
from edgemtl.errors import EngineError, ModelError, StaleEngineError
from edgemtl.manifest import Manifest
from edgemtl.models import resolve_model, shipped_models

Precision = Literal["fp32", "fp16", "int8"]
Batch = tuple[int, int, int]
"""Pictures in one run: the fewest, those that kernels are chosen for, and the most."""
DEFAULT_WORKSPACE_MB = 1024
DEFAULT_BATCH: Batch = (1, 1, 4)


class EngineManifest(BaseModel):
    """An engine's provenance. An engine is code for one version of TensorRT, mostly for one GPU.

    ``source``: MODEL as it was given to the build; ``built_from``: the .onnx file behind it, as
    seen from the engine's folder, and ``onnx_sha256`` its hash. ``gpu`` is None where the engine
    was built without one, for every GPU that its flavour takes. ``profile``: it keeps the names of
    its layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Manifest
    source: str
    built_from: str
    onnx_sha256: str
    engine_sha256: str
    flavour: Flavour
    version: str
    gpu: Gpu | None = None
    precision: Precision
    workspace_mb: int = Field(ge=1)
    batch: Batch
    profile: bool = False
    build_seconds: float = Field(ge=0, allow_inf_nan=False)

    def to_json(self) -> str:
        """Readable and canonical JSON: sorted keys, two spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=2) + "\n"

    def rebuild(self, engine: Path, max_batch: int | None = None) -> str:
        """The command that builds this engine again, as ``engine``; ``max_batch``: for more."""
        command = ["edgemtl", "build", self.source, "--precision", self.precision]
        command += ["--out", str(engine)]
        if self.flavour == "tensorrt_rtx":
            command += ["--flavour", "rtx"]
        if self.workspace_mb != DEFAULT_WORKSPACE_MB:
            command += ["--workspace-mb", str(self.workspace_mb)]
        if max_batch is not None or self.batch != DEFAULT_BATCH:
            low, best, high = self.batch
            high = max_batch or high
            every = str(high) if low == high else f"{low}:{min(best, high)}:{high}"
            command += ["--batch", every]
        if self.profile:
            command.append("--profile")
        return shlex.join(command)

    @property
    def runs(self) -> str:
        """The batch for people: ``1 to 4, best for 1``."""
        low, best, high = self.batch
        return str(high) if low == high else f"{low} to {high}, best for {best}"


def manifest_path(engine: Path) -> Path:
    """``m.engine`` -> ``m.engine.json``."""
    return Path(f"{engine}.json")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_engine_manifest(engine: Path) -> EngineManifest:
    """The manifest of an engine, proven to belong to it. See :func:`read_engine`."""
    return read_engine(engine)[1]


def read_engine(engine: Path) -> tuple[bytes, EngineManifest]:
    """The bytes of an engine and its manifest.

    Raises EngineError if the manifest is missing; StaleEngineError, with the command that builds
    the engine again, if it is another engine's or the model has changed since; ModelError if it is
    malformed or a file cannot be read.
    """
    engine = Path(engine)
    plan, manifest = _read(engine), manifest_beside(engine)
    found = sha256_of(plan)
    if found != manifest.engine_sha256:
        raise StaleEngineError(
            f"{engine}: stale: the manifest belongs to the engine {manifest.engine_sha256[:12]}, "
            f"this one is {found[:12]} ({len(plan)} bytes)",
            manifest.rebuild(engine),
        )
    _require_same_model(manifest, engine)
    return plan, manifest


def manifest_beside(engine: Path) -> EngineManifest:
    """The manifest beside an engine, which may be another engine's.

    Raises EngineError if it is missing, ModelError if it is malformed or cannot be read.
    """
    beside = manifest_path(engine)
    again = f"edgemtl build MODEL.onnx --precision fp32|fp16|int8 --out {shlex.quote(str(engine))}"
    if not beside.is_file():
        raise EngineError(
            f"{engine}: its manifest '{beside.name}' is missing; an engine says nothing of itself",
            f"copy the two together, or build again: {again}",
        )
    try:
        return EngineManifest.model_validate_json(_read(beside))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ModelError(
            f"{beside}: the engine manifest's '{field}' is wrong: {first['msg'].lower()}", again
        ) from error


def _require_same_model(manifest: EngineManifest, engine: Path) -> None:
    """The model that an engine was built from may be gone, but not be another one by now."""
    shipped = manifest.source in shipped_models()
    model = resolve_model(manifest.source) if shipped else engine.parent / manifest.built_from
    found = sha256_of(_read(model)) if model.is_file() else manifest.onnx_sha256
    if found != manifest.onnx_sha256:
        raise StaleEngineError(
            f"{engine}: stale: '{model.name}' has changed since it was built from it "
            f"({manifest.onnx_sha256[:12]} then, {found[:12]} now)",
            manifest.rebuild(engine),
        )


def require_same_place(
    manifest: EngineManifest, engine: Path, bindings: Bindings, gpu: Gpu
) -> None:
    """Raise StaleEngineError, with the command that builds it again, for one made elsewhere.

    Other versions and other GPUs may refuse an engine, run it slowly or compute something else.
    """
    made = f"{manifest.flavour} {manifest.version}"
    if made != str(bindings):
        raise StaleEngineError(
            f"{engine}: foreign: built by {made}, here is {bindings}", manifest.rebuild(engine)
        )
    if manifest.gpu is not None and manifest.gpu != gpu:
        raise StaleEngineError(
            f"{engine}: foreign: built for {manifest.gpu}, here is {gpu}", manifest.rebuild(engine)
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}", "check the path") from error
