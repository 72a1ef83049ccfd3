"""One run of a builder: graph in, engine out, and what TensorRT said meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgemtl.engine.bindings import (
    Bindings,
    first_error,
    make_logger,
    one_line,
    strongly_typed,
)
from edgemtl.engine.build_graph import ChosenGraph
from edgemtl.engine.build_layers import Layer, parsed_layers
from edgemtl.engine.build_options import BuildOptions
from edgemtl.engine.build_progress import make_monitor
from edgemtl.engine.gpu import Gpu
from edgemtl.engine.gpu_errors import memory_is_short
from edgemtl.engine.manifest import DEFAULT_BATCH, Batch
from edgemtl.errors import EngineError, OutputError
from edgemtl.files import atomic_path

MEMORY_ADVICE = (
    "it is out of memory: --workspace-mb 256 --batch 1, and close what else is running; on a "
    "Jetson the desktop too (sudo systemctl isolate multi-user.target), and add swap"
)


@dataclass
class BuildJob:
    """One run of the builder, all of it in one thread. ``batch``, ``layers`` and ``log`` are known
    when it has ended, the log also when it failed."""

    bindings: Bindings
    chosen: ChosenGraph
    options: BuildOptions
    gpu: Gpu | None
    batch: Batch = (1, 1, 1)
    layers: tuple[Layer, ...] = ()
    log: Sequence[str] = field(default_factory=list)

    def run(self, step: Callable[[], bool]) -> bytes:
        """The serialised engine. Raises EngineError."""
        trt, logger = self.bindings.module, make_logger(self.bindings.module)
        self.log = logger.lines
        builder = open_builder(self.bindings, logger)
        network = builder.create_network(strongly_typed(trt))
        self._parse(trt.OnnxParser(network, logger))
        config = builder.create_builder_config()
        config.set_memory_pool_limit(
            trt.MemoryPoolType.WORKSPACE, self.options.workspace_mb * 1024 * 1024
        )
        if self.options.profile:
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
            self.layers = parsed_layers(network)
        config.progress_monitor = make_monitor(trt, step)
        self.batch = set_batch(builder, network, config, self.options.batch)
        cache = self._load_timings(config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._failed(logger)
        self._save_timings(config, cache)
        return bytes(plan)

    def _failed(self, logger: Any) -> EngineError:
        reason = first_error(logger, "no reason given")
        short = memory_is_short(" ".join(logger.errors))
        hint = MEMORY_ADVICE if short else "if memory is short, choose another --workspace-mb"
        return EngineError(
            f"{self.bindings} cannot build '{self.chosen.file.name}': {reason}", hint
        )

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
            if self.options.timing_cache is not None:
                raise EngineError(
                    f"timing cache: {self.bindings} times no kernels when it builds",
                    "leave it out; it belongs to TensorRT on the device itself",
                )
            return None
        path = self.options.timing_cache or _own_cache(f"{self.bindings}-{self.gpu.name}")
        try:
            known = path.read_bytes()
        except OSError:
            known = b""
        cache = config.create_timing_cache(known)
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
        return path

    def _save_timings(self, config: Any, path: Path | None) -> None:
        """Only speed depends on the cache, so one that cannot be written is no failure."""
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


def set_batch(builder: Any, network: Any, config: Any, wanted: Batch | None) -> Batch:
    """One optimisation profile over a symbolic batch; a graph of a fixed batch needs none.

    Returns the fewest pictures, those that kernels are chosen for, and the most. Raises EngineError
    where ``wanted`` is another batch than the graph's fixed one.
    """
    image = network.get_input(0)
    fixed, rest = int(image.shape[0]), tuple(image.shape)[1:]
    if fixed > 0:
        if wanted is not None and wanted != (fixed, fixed, fixed):
            raise EngineError(
                f"batch: the graph takes exactly {fixed} pictures at a time, "
                f"{':'.join(map(str, wanted))} were asked for",
                f"--batch {fixed}, or export the model with an open batch",
            )
        return (fixed, fixed, fixed)
    low, best, high = wanted or DEFAULT_BATCH
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, (low, *rest), (best, *rest), (high, *rest))
    config.add_optimization_profile(profile)
    return (low, best, high)


def parse_errors(parser: Any) -> list[str]:
    """Each of a parser's errors, why and where; at least one line."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    said = [
        one_line(error.desc())
        + (f" at {error.node_operator()} '{error.node_name()}'" if error.node_name() else "")
        for error in errors
    ]
    return list(dict.fromkeys(said)) or ["no reason given"]


def _own_cache(name: str) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "edgemtl" / f"{name.replace(' ', '-').replace(os.sep, '-')}.timings"
