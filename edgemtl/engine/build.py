"""``edgemtl build``: a model -> an engine for TensorRT or TensorRT-RTX, with its manifest."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edgemtl
from edgemtl.engine.bindings import find_builder
from edgemtl.engine.build_graph import choose_graph, model_argument
from edgemtl.engine.build_job import BuildJob
from edgemtl.engine.build_layers import Layer, layer_rows, layers_json, layers_path
from edgemtl.engine.build_options import BuildOptions
from edgemtl.engine.build_progress import run_cancellable
from edgemtl.engine.build_proof import Proof, prove
from edgemtl.engine.gpu import find_gpu
from edgemtl.engine.manifest import EngineManifest, manifest_path, sha256_of
from edgemtl.errors import EdgeMTLError, OutputError
from edgemtl.files import atomic_path, write_text

__all__ = ["BuildOptions", "BuildReport", "build_engine", "log_path", "seen_from"]


def log_path(engine: Path) -> Path:
    """``m.engine`` -> ``m.engine.log``: what the builder said, also of a build that failed."""
    return Path(f"{engine}.log")


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built, and where it runs. ``proof``: whether it ran here, and was right; ``layers``
    of the engine, or as they were parsed where it could not be run; empty if not asked for."""

    out: Path
    built_from: Path
    engine: EngineManifest
    size_bytes: int
    proof: Proof
    layers: tuple[Layer, ...] = ()

    @property
    def checked(self) -> bool:
        """It ran here: finite numbers, and those of ONNX Runtime."""
        return self.proof.ran

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the model's own manifest stays in the file."""
        return {
            "engine": str(self.out),
            "manifest": str(manifest_path(self.out)),
            "log": str(log_path(self.out)),
            "onnx": str(self.built_from),
            "size_bytes": self.size_bytes,
            "checked": self.checked,
            "unchecked_because": self.proof.why,
            "layers": [asdict(layer) for layer in self.layers],
            **self.engine.model_dump(mode="json", exclude={"model"}),
        }

    def rows(self) -> list[list[object]]:
        """The layers as a table; the heading alone if none are known."""
        return layer_rows(self.layers)

    def text(self) -> str:
        """A few lines for people."""
        engine = self.engine
        place = str(engine.gpu) if engine.gpu else "any GPU of that library, built without one"
        why = f" ({self.proof.why})" if self.proof.why else ""
        check = "finite and as ONNX Runtime's" if self.checked else f"not run on this machine{why}"
        return (
            f"{self.out}: {self.size_bytes / 1e6:.2f} MB, {engine.precision}, from "
            f"{self.built_from.name} in {engine.build_seconds:.1f} s\n"
            f"runs on: {engine.flavour} {engine.version}, {place}\n"
            f"batch: {engine.runs}; outputs: {check}"
        )


def build_engine(model: Path, out: Path, options: BuildOptions) -> BuildReport:
    """Build ``out`` (a .engine file) and its manifest from ``model``; both are written or none.

    The builder's log is written beside them whatever happens, and the layers if asked for.
    Raises EngineError and ModelError for what cannot be built (one line of TensorRT's reasons) or
    computes something else than ONNX Runtime, MissingExtraError without a builder, OutputError
    before any work if nothing can be written, KeyboardInterrupt after Ctrl-C.
    """
    model, out = Path(model), Path(out)
    if out.suffix != ".engine":
        raise OutputError(f"out: expected a name ending in .engine, got '{out.name}'")
    chosen = choose_graph(model, options.precision)
    bindings = find_builder(options.flavour)
    here = find_gpu()
    with ExitStack() as stack:
        plan_file, manifest_file = (
            stack.enter_context(atomic_path(path)) for path in (out, manifest_path(out))
        )
        started = time.perf_counter()
        job = BuildJob(bindings, chosen, options, here if bindings.flavour == "tensorrt" else None)
        stack.enter_context(_kept_log(job, model, out))
        plan = run_cancellable(job.run, f"building {out.name}, steps")
        engine = EngineManifest(
            model=chosen.manifest,
            source=model_argument(model),
            built_from=seen_from(out, chosen.file),
            onnx_sha256=chosen.onnx_sha256,
            engine_sha256=sha256_of(plan),
            flavour=bindings.flavour,
            version=bindings.version,
            gpu=job.gpu,
            precision=options.precision,
            workspace_mb=options.workspace_mb,
            batch=job.batch,
            profile=options.profile,
            build_seconds=round(time.perf_counter() - started, 3),
        )
        proof = Proof(False) if here is None else prove(plan, engine, out, chosen)
        plan_file.write_bytes(plan)
        manifest_file.write_text(engine.to_json(), encoding="utf-8")
    layers = proof.layers or job.layers
    if options.profile:
        write_text(layers_path(out), layers_json(layers, "engine" if proof.layers else "parsed"))
    else:
        layers_path(out).unlink(missing_ok=True)  # of the engine that was here before
    return BuildReport(out, chosen.file, engine, len(plan), proof, layers)


@contextmanager
def _kept_log(job: BuildJob, model: Path, out: Path) -> Iterator[None]:
    """Write what the builder said, when it has ended; an error's hint names the file."""
    try:
        yield
    except EdgeMTLError as error:
        if _write_log(job, model, out, error.message):
            error.hint = f"{error.hint}; see {log_path(out)}"
        raise
    _write_log(job, model, out, "built")


def _write_log(job: BuildJob, model: Path, out: Path, end: str) -> bool:
    """Whether it could be written: a log is worth no failure."""
    head = [
        f"edgemtl {edgemtl.__version__}, {job.bindings}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
        f"model {model}, graph {job.chosen.file} ({job.chosen.onnx_sha256})",
        f"options {job.options}",
        f"GPU {job.gpu or 'none'}",
    ]
    with suppress(OutputError):
        write_text(log_path(out), "\n".join([*head, *job.log, end, ""]))
        return True
    return False


def seen_from(out: Path, file: Path) -> str:
    """The path of ``file`` from the folder of ``out``, so that both can move together."""
    try:
        return Path(os.path.relpath(file, out.parent)).as_posix()
    except ValueError:  # another drive
        return str(file.resolve())
