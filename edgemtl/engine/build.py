"""``edgemtl build``: a model -> an engine for TensorRT or TensorRT-RTX, with its manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.engine.bindings import (
    Bindings,
    Flavour,
    find_builder,
    first_error,
    make_logger,
    one_line,
    strongly_typed,
)
from edgemtl.engine.build_graph import ChosenGraph, choose_graph, model_argument
from edgemtl.engine.build_progress import make_monitor, run_cancellable
from edgemtl.engine.gpu import Gpu, find_gpu
from edgemtl.engine.manifest import (
    DEFAULT_MAX_BATCH,
    DEFAULT_WORKSPACE_MB,
    EngineManifest,
    Precision,
    manifest_path,
    sha256_of,
)
from edgemtl.errors import EngineError, MissingExtraError, OutputError
from edgemtl.files import atomic_path


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """``precision`` must be in the graph or follow from it, see ``build_graph.choose_graph``.

    ``workspace_mb``: cap of the scratch memory that a kernel may use. ``max_batch``: pictures in
    one run at most; kernels are chosen for one. ``flavour``: default what this machine can use.
    ``cache``: folder of TensorRT's kernel timings, which make the next build faster.
    """

    precision: Precision
    workspace_mb: int = DEFAULT_WORKSPACE_MB
    max_batch: int = DEFAULT_MAX_BATCH
    flavour: Flavour | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name in ("workspace_mb", "max_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built, and where it runs. ``checked``: it ran here and gave finite numbers."""

    out: Path
    built_from: Path
    engine: EngineManifest
    size_bytes: int
    checked: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the model's own manifest stays in the file."""
        return {
            "engine": str(self.out),
            "manifest": str(manifest_path(self.out)),
            "built_from": str(self.built_from),
            "size_bytes": self.size_bytes,
            "checked": self.checked,
            **self.engine.model_dump(mode="json", exclude={"model"}),
        }

    def text(self) -> str:
        """A few lines for people."""
        engine, (low, high) = self.engine, self.engine.batch
        place = str(engine.gpu) if engine.gpu else "any GPU of that library, built without one"
        check = "finite on a test run" if self.checked else "not run on this machine"
        return (
            f"{self.out}: {self.size_bytes / 1e6:.2f} MB, {engine.precision}, from "
            f"{self.built_from.name} in {engine.build_seconds:.1f} s\n"
            f"runs on: {engine.flavour} {engine.version}, {place}\n"
            f"batch: {low} to {high}; outputs: {check}"
        )


def build_engine(model: Path, out: Path, options: BuildOptions) -> BuildReport:
    """Build ``out`` (a .engine file) and its manifest from ``model``; both are written or none.

    Raises EngineError and ModelError for what cannot be built (one line of TensorRT's reasons),
    MissingExtraError without a builder, OutputError before any work if nothing can be written,
    KeyboardInterrupt after Ctrl-C.
    """
    model, out = Path(model), Path(out)
    if out.suffix != ".engine":
        raise OutputError(f"out: expected a name ending in .engine, got '{out.name}'")
    chosen = choose_graph(model, options.precision)
    bindings = find_builder(options.flavour)
    gpu = find_gpu() if bindings.flavour == "tensorrt" else None
    with ExitStack() as stack:
        plan_file, manifest_file = (
            stack.enter_context(atomic_path(path)) for path in (out, manifest_path(out))
        )
        started = time.perf_counter()
        job = _Job(bindings, chosen, options, gpu)
        plan = run_cancellable(job.run, f"building {out.name}, steps")
        engine = EngineManifest(
            model=chosen.manifest,
            source=model_argument(model),
            onnx_sha256=chosen.onnx_sha256,
            engine_sha256=sha256_of(plan),
            flavour=bindings.flavour,
            version=bindings.version,
            gpu=gpu,
            precision=options.precision,
            workspace_mb=options.workspace_mb,
            batch=job.batch,
            build_seconds=round(time.perf_counter() - started, 3),
        )
        checked = gpu is not None and _prove_finite(plan, engine, out)
        plan_file.write_bytes(plan)
        manifest_file.write_text(engine.to_json(), encoding="utf-8")
    return BuildReport(out, chosen.file, engine, len(plan), checked)


@dataclass
class _Job:
    """One run of the builder, all of it in one thread. ``batch`` is known when it has ended."""

    bindings: Bindings
    chosen: ChosenGraph
    options: BuildOptions
    gpu: Gpu | None
    batch: tuple[int, int] = (1, 1)

    def run(self, step: Callable[[], bool]) -> bytes:
        """The serialised engine. Raises EngineError."""
        trt, logger = self.bindings.module, make_logger(self.bindings.module)
        builder = open_builder(self.bindings, logger)
        network = builder.create_network(strongly_typed(trt))
        self._parse(trt.OnnxParser(network, logger))
        config = builder.create_builder_config()
        config.set_memory_pool_limit(
            trt.MemoryPoolType.WORKSPACE, self.options.workspace_mb * 1024 * 1024
        )
        monitor = make_monitor(trt, step)
        config.progress_monitor = monitor
        self.batch = set_batch(builder, network, config, self.options.max_batch)
        cache = self._load_timings(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            reason = first_error(logger, "no reason given")
            raise EngineError(
                f"{self.bindings} cannot build '{self.chosen.file.name}': {reason}",
                "if it is out of memory, choose another --workspace-mb",
            )
        self._save_timings(config, cache)
        return bytes(plan)

    def _parse(self, parser: Any) -> None:
        if parser.parse(self.chosen.model.SerializeToString()):
            return
        raise EngineError(
            f"{self.chosen.file}: {self.bindings} cannot read the graph: {parse_errors(parser)[0]}",
            "export the model again with 'edgemtl export', or use a newer TensorRT",
        )

    def _load_timings(self, config: Any) -> Path | None:
        """Attach the timings of this GPU and version; the file to keep them in, or None.

        TensorRT-RTX measures nothing at build time, and a cache would make it look for a GPU.
        """
        if self.gpu is None:
            return None
        name = f"{self.bindings}-{self.gpu.name}".replace(" ", "-").replace(os.sep, "-")
        path = (self.options.cache or _cache_folder()) / f"{name}.timings"
        try:
            known = path.read_bytes()
        except OSError:
            known = b""
        cache = config.create_timing_cache(known)
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
        return path

    def _save_timings(self, config: Any, path: Path | None) -> None:
        """Only speed depends on the cache, so a folder that cannot be written is no failure."""
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
        except (OSError, OutputError):
            return


def open_builder(bindings: Bindings, logger: Any) -> Any:
    """A builder. Raises EngineError where the package cannot make one."""
    try:
        return bindings.module.Builder(logger)
    except (TypeError, RuntimeError) as error:  # how the bindings tell a failed constructor
        reason = first_error(logger, one_line(error))
        raise EngineError(
            f"{bindings} cannot build on this machine: {reason}", "edgemtl doctor"
        ) from error


def set_batch(builder: Any, network: Any, config: Any, most: int) -> tuple[int, int]:
    """One optimisation profile over a symbolic batch, up to ``most``; a fixed batch needs none.

    Returns the smallest and the largest batch.
    """
    image = network.get_input(0)
    fixed, rest = int(image.shape[0]), tuple(image.shape)[1:]
    if fixed > 0:
        return (fixed, fixed)
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, (1, *rest), (1, *rest), (most, *rest))
    config.add_optimization_profile(profile)
    return (1, most)


def parse_errors(parser: Any) -> list[str]:
    """Each of a parser's errors, why and where; at least one line."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    said = [
        one_line(error.desc())
        + (f" at {error.node_operator()} '{error.node_name()}'" if error.node_name() else "")
        for error in errors
    ]
    return list(dict.fromkeys(said)) or ["no reason given"]


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgemtl"


def _prove_finite(plan: bytes, engine: EngineManifest, out: Path) -> bool:
    """Run noise through the engine; False if it cannot be run here for want of pycuda.

    Raises EngineError for an output that is not finite: float16 overflows, broken kernels.
    """
    from edgemtl.engine.tensorrt import TensorRTSession

    try:
        session = TensorRTSession(out, unwritten=(plan, engine))
    except MissingExtraError:
        return False
    try:
        image = session.manifest.input
        levels = np.random.default_rng(0).integers(0, 256, (1, 3, *image.size_hw))
        noise = (levels * image.scale + image.offset).astype(image.dtype)
        outputs = session.infer(noise)
    finally:
        session.close()
    fields = ("boxes_net", "scores", "embeddings", "image_probs", "values")
    told = {name: getattr(outputs, name, None) for name in fields}
    for name, values in {**told, **outputs.attributes, **outputs.further}.items():
        if values is not None and not np.isfinite(values).all():
            raise EngineError(
                f"{out.name}: the {engine.precision} engine computes '{name}' that are not finite",
                "build another precision; float16 overflows above 65504",
            )
    return True
