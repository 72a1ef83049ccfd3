"""The builder of TensorRT in small: the plan is the parsed ONNX file, and each call is noted."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx


class FakeBuild:
    """What a build was told, and how it is to behave.

    ``before_step`` runs before each of ``steps`` steps; ``change`` makes the plan of the ONNX
    bytes (None: the build fails); ``cache`` is what the timing cache holds after a build.
    """

    def __init__(self) -> None:
        self.flags: int | None = None
        self.workspace: int | None = None
        self.profiles: list[tuple[Any, ...]] = []
        self.steps, self.taken = 3, 0
        self.answers: list[bool] = []
        self.before_step: Callable[[int], None] = lambda number: None
        self.change: Callable[[bytes], bytes | None] = lambda data: data
        self.known: bytes | None = None
        self.verbosity: str | None = None
        self.reject_cache = False
        self.parse_error: SimpleNamespace | None = None
        self.broken_builder = False
        self.failure = "Error Code 10: could not find any implementation"


def add_builder(trt: ModuleType, *, typed_bit: int | None = 1) -> FakeBuild:
    """Give a fake TensorRT its builder; ``typed_bit``: STRONGLY_TYPED, None where it is gone."""
    told = FakeBuild()
    flag = {} if typed_bit is None else {"STRONGLY_TYPED": typed_bit}
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(**flag)
    trt.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    trt.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")

    class IProgressMonitor:
        def __init__(self) -> None:
            self.made = True

    class Config:
        progress_monitor: Any = None
        profiling_verbosity: Any = None

        def set_memory_pool_limit(self, pool: str, limit: int) -> None:
            assert pool == "workspace"
            told.workspace = limit

        def add_optimization_profile(self, profile: Any) -> int:
            told.profiles.append(profile.shapes)
            return len(told.profiles) - 1

        def create_timing_cache(self, data: bytes) -> SimpleNamespace:
            return SimpleNamespace(data=data, serialize=lambda: b"timings of " + data)

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            if told.reject_cache and cache.data:
                return False
            self.cache, told.known = cache, cache.data
            return True

        def get_timing_cache(self) -> Any:
            return self.cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            if told.broken_builder:
                logger.log("ERROR", "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self.logger = logger

        def create_network(self, flags: int) -> SimpleNamespace:
            told.flags = flags
            return SimpleNamespace(num_layers=0)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Any:
            profile = SimpleNamespace(shapes=None)
            profile.set_shape = lambda *shapes: setattr(profile, "shapes", shapes)
            return profile

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            assert config.progress_monitor.made
            told.verbosity = config.profiling_verbosity
            self.logger.log("INFO", "Total Host Persistent Memory: 0 bytes")
            for number in range(told.steps):
                told.before_step(number)
                told.answers.append(config.progress_monitor.step_complete("phase", number))
                if not told.answers[-1]:
                    return None
            plan = told.change(network.data)
            if plan is None:
                self.logger.log("ERROR", told.failure)
            return plan

    class OnnxParser:
        def __init__(self, network: Any, logger: Any) -> None:
            self.network = network

        @property
        def num_errors(self) -> int:
            return int(told.parse_error is not None)

        def get_error(self, index: int) -> Any:
            return told.parse_error

        def parse(self, data: bytes) -> bool:
            image = onnx.ModelProto.FromString(data).graph.input[0]
            sizes = [d.dim_value or -1 for d in image.type.tensor_type.shape.dim]
            self.network.data = data
            self.network.get_input = lambda index: SimpleNamespace(name=image.name, shape=sizes)
            return told.parse_error is None

    trt.IProgressMonitor, trt.Builder, trt.OnnxParser = IProgressMonitor, Builder, OnnxParser
    return told
