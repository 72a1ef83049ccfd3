"""TensorRT and TensorRT-RTX: engines on an NVIDIA GPU. Buffers, stream and events are made once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgemtl.engine.bindings import first_error, load_bindings, make_logger, one_line
from edgemtl.engine.gpu import require_gpu
from edgemtl.engine.host import HostSession, check_runnable
from edgemtl.engine.inspect import inspect_engine
from edgemtl.engine.manifest import EngineManifest, read_engine, require_same_place
from edgemtl.engine.slots import SLOTS
from edgemtl.errors import ConfigError, EngineError, MissingExtraError
from edgemtl.manifest import TensorInfo, check_against_graph


@dataclass(frozen=True, slots=True)
class _Buffer:
    """One input or output of one slot: pinned ``host`` memory and its twin on the GPU.

    ``device`` is None where the GPU works on the host's memory itself. ``rows[n]`` is the part of
    ``host`` that holds n pictures, cut in advance.
    """

    host: NDArray[Any]
    device: Any | None
    address: int
    rows: tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class _SlotBuffers:
    image: _Buffer
    outputs: dict[str, _Buffer]
    done: Any


class TensorRTSession(HostSession):
    """An engine on a GPU; see ``engine.session.Session``.

    One stream carries, for each ticket: upload, network, download, event. ``collect`` waits for
    the event of its own ticket, so one slot is filled while the other runs. GPUs that share the
    host's memory (Jetson) work on it directly, without copies. ``submit`` allocates nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch: int = 1,
        slots: int = SLOTS,
        unwritten: tuple[bytes, EngineManifest] | None = None,
    ) -> None:
        """``unwritten``: bytes and manifest of an engine that is not yet a file, named ``path``.

        Raises EngineError for an engine that is stale, foreign or damaged and for a missing GPU,
        ModelError for a malformed manifest, ConfigError for a batch that the engine lacks,
        MissingExtraError if TensorRT or pycuda is absent.
        """
        if batch < 1:
            raise ValueError(f"batch: expected at least 1, got {batch}")
        plan, self._engine = read_engine(path) if unwritten is None else unwritten
        self._fewest, _, most = self._engine.batch
        if batch > most:
            raise ConfigError(
                f"{path}: expected a batch of at most {most}, got {batch}",
                self._engine.rebuild(path, batch),
            )
        purpose = f"running '{path.name}'"
        gpu = require_gpu(purpose, "on a CPU, run the .onnx file that it was built from")
        self._bindings = load_bindings(self._engine.flavour, purpose)
        require_same_place(self._engine, path, self._bindings, gpu)
        self._gpu_name = gpu.name
        self._cuda = _load_pycuda(purpose)
        self._primary = _primary_context(self._cuda)
        with self._on_gpu():
            image = self._open(plan, path)
            check_runnable(self._engine.model, image, batch, str(path))
            super().__init__(self._engine.model, max(batch, self._fewest), slots)
            self._make_buffers(slots)

    @property
    def backend(self) -> str:
        return f"{self._bindings} ({self._gpu_name}, {self._engine.precision})"

    def inspect(self, rounds: int = 20) -> tuple[str, dict[str, float]]:
        """See :func:`edgemtl.engine.inspect.inspect_engine`; blank pictures are run."""
        blank = np.zeros_like(self._inputs[0])
        return inspect_engine(
            self._bindings.module, self._cuda_engine, self._context,
            lambda: self.infer(blank), rounds,
        )  # fmt: skip

    def _open(self, plan: bytes, path: Path) -> TensorInfo:
        """Load the engine; what it says of its input."""
        trt = self._bindings.module
        self._logger = make_logger(trt)  # TensorRT keeps no reference of its own
        self._runtime = trt.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(plan)
        context = None if engine is None else engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{path}: {self._bindings} cannot load it: "
                f"{first_error(self._logger, 'no reason given')}",
                self._engine.rebuild(path),
            )
        inputs, outputs = _infos(trt, engine)
        check_against_graph(self._engine.model, inputs, outputs, str(path))
        self._cuda_engine, self._context, self._image = engine, context, inputs[0].name
        return inputs[0]

    def _make_buffers(self, slots: int) -> None:
        """Pinned memory instead of the pageable arrays that every session starts with."""
        cuda = self._cuda
        self._stream = cuda.Stream()
        device = self._primary.get_device()
        mapped = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))
        flags = cuda.event_flags.DISABLE_TIMING | cuda.event_flags.BLOCKING_SYNC
        self._buffers = [
            _SlotBuffers(
                _buffer(cuda, self._inputs[slot], mapped),
                {name: _buffer(cuda, a, mapped) for name, a in self._outputs[slot].items()},
                cuda.Event(flags),
            )
            for slot in range(slots)
        ]
        self._inputs = [b.image.host for b in self._buffers]
        self._outputs = [{name: o.host for name, o in b.outputs.items()} for b in self._buffers]
        shape = self._inputs[0].shape
        self._shapes = [(n, *shape[1:]) for n in range(shape[0] + 1)]
        self._rows = 0

    def _start(self, slot: int, n_valid: int) -> None:
        """Upload, network, download and event, in the stream's order."""
        buffers, context, stream = self._buffers[slot], self._context, self._stream
        n_valid = max(n_valid, self._fewest)  # what else lies in the slot is not looked at
        with self._on_gpu():
            if n_valid != self._rows:
                context.set_input_shape(self._image, self._shapes[n_valid])
                self._rows = n_valid
            context.set_tensor_address(self._image, buffers.image.address)
            for name, buffer in buffers.outputs.items():
                context.set_tensor_address(name, buffer.address)
            image = buffers.image
            if image.device is not None:
                self._cuda.memcpy_htod_async(image.device, image.rows[n_valid], stream)
            if not context.execute_async_v3(stream.handle):
                reason = first_error(self._logger, "no reason given")
                raise EngineError(f"{self._bindings} cannot run the engine: {reason}")
            for buffer in buffers.outputs.values():
                if buffer.device is not None:
                    self._cuda.memcpy_dtoh_async(buffer.rows[n_valid], buffer.device, stream)
            buffers.done.record(stream)

    def _wait(self, slot: int) -> None:
        with self._on_gpu():
            self._buffers[slot].done.synchronize()

    def _free(self) -> None:
        """On the GPU's own context: what another thread than its maker frees, pycuda leaks."""
        with suppress(EngineError), self._on_gpu():
            self._stream.synchronize()
            self._buffers.clear()
            del self._context, self._cuda_engine, self._runtime, self._stream

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        """Make the GPU's context current in this thread; pycuda's errors become EngineError."""
        self._primary.push()
        try:
            yield
        except self._cuda.Error as error:
            raise EngineError(f"the GPU failed: {one_line(error)}", "edgemtl doctor") from error
        finally:
            self._primary.pop()


def _load_pycuda(purpose: str) -> Any:
    try:
        import pycuda.driver as cuda
    except (ImportError, OSError) as error:
        raise MissingExtraError("pycuda", "tensorrt", purpose) from error
    return cuda


@functools.cache
def _primary_context(cuda: Any) -> Any:
    """The context that TensorRT's own runtime uses, of the first visible GPU, kept for good."""
    cuda.init()
    return cuda.Device(0).retain_primary_context()


def _buffer(cuda: Any, like: NDArray[Any], mapped: bool) -> _Buffer:
    """Pinned memory of the shape and dtype of ``like``, mapped into the GPU's space or with a twin
    there."""
    flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
    host = cuda.pagelocked_zeros(like.shape, like.dtype, mem_flags=flags)
    device = None if mapped else cuda.mem_alloc(host.nbytes)
    address = int(host.base.get_device_pointer()) if device is None else int(device)
    return _Buffer(host, device, address, tuple(host[:n] for n in range(len(host) + 1)))


def _infos(trt: Any, engine: Any) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """Inputs and outputs as the engine itself tells them."""
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        shape = tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name))
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(TensorInfo(name, dtype, shape))
    return inputs, outputs
