"""TensorRT and TensorRT-RTX: engines on an NVIDIA GPU. Whatever a run needs is made once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.engine.bindings import first_error, load_bindings, make_logger, one_line
from edgemtl.engine.cuda import Buffer, Cuda, GpuEvent, GpuStream, Graph
from edgemtl.engine.gpu import require_gpu
from edgemtl.engine.host import HostSession, check_runnable
from edgemtl.engine.inspect import inspect_engine
from edgemtl.engine.manifest import EngineManifest, read_engine, require_same_place
from edgemtl.engine.slots import SLOTS
from edgemtl.errors import ConfigError, EngineError
from edgemtl.manifest import TensorInfo, check_against_graph


@dataclass(frozen=True, slots=True)
class _Streams:
    """One for each thing that a GPU does at a time; all the same where nothing is copied."""

    upload: GpuStream
    compute: GpuStream
    download: GpuStream


@dataclass(frozen=True, slots=True)
class _Slot:
    """Its memory, the streams of all slots, and the ends of its upload, its run, all of it."""

    image: Buffer
    outputs: dict[str, Buffer]
    streams: _Streams
    uploaded: GpuEvent
    computed: GpuEvent
    done: GpuEvent


class TensorRTSession(HostSession):
    """An engine on a GPU; see ``engine.session.Session``.

    Three streams, shared by the slots, carry uploads, runs and downloads; events make each wait for
    the one before it, so that neighbouring frames overlap. GPUs that share the host's memory
    (Jetson) work on it directly, without copies. ``submit`` allocates nothing and does not wait.

    ``cuda_graph``: full batches are launched as a CUDA graph, captured when the session is made;
    other batches run without. Each slot's graph has an execution context of its own, so this takes
    as much memory again for each slot. Engines that cannot be captured run without one, and
    ``backend`` tells why.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch: int = 1,
        slots: int = SLOTS,
        cuda_graph: bool = False,
        unwritten: tuple[bytes, EngineManifest] | None = None,
    ) -> None:
        """``unwritten``: bytes and manifest of an engine that is not yet a file, named ``path``.

        Raises EngineError for an engine that is stale, foreign or damaged, for a missing GPU, a
        driver that is too old and too little memory, ModelError for a malformed manifest,
        ConfigError for a batch that the engine lacks, MissingExtraError if TensorRT or pycuda is
        absent. Then nothing is left on the GPU.
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
        self._kind = f"{gpu.name}, {self._engine.precision}"
        self._graphs: list[Graph] = []
        self._graph_contexts: list[Any] = []
        self._slots: list[_Slot] = []
        self._gpu = Cuda(purpose)
        with self._gpu.active():
            try:
                image = self._open(plan, path)
                check_runnable(self._engine.model, image, batch, str(path))
                super().__init__(self._engine.model, max(batch, self._fewest), slots)
                self._make_buffers()
                if cuda_graph:
                    self._kind += self._make_graphs()
            except BaseException:
                self._let_go()
                raise

    @property
    def backend(self) -> str:
        return f"{self._bindings} ({self._kind})"

    def inspect(self, rounds: int = 20) -> tuple[str, dict[str, float]]:
        """See :func:`edgemtl.engine.inspect.inspect_engine`; blank pictures are run."""
        blank = np.zeros(self._shape, self._manifest.input.dtype)
        return inspect_engine(
            self._bindings.module, self._cuda_engine, self._context,
            lambda: self.infer(blank), rounds,
        )  # fmt: skip

    def _open(self, plan: bytes, path: Path) -> TensorInfo:
        """Load the engine; what it says of its input."""
        trt, again = self._bindings.module, self._engine.rebuild(path)
        self._logger = make_logger(trt)  # TensorRT keeps no reference of its own
        try:
            self._runtime = trt.Runtime(self._logger)
        except (TypeError, RuntimeError) as error:  # how the bindings tell a failed constructor
            reason = first_error(self._logger, one_line(error))
            raise self._gpu.failure(
                f"{self._bindings} does not start", reason, "edgemtl doctor"
            ) from error
        self._cuda_engine = self._runtime.deserialize_cuda_engine(plan)
        if self._cuda_engine is None:
            raise self._gpu.failure(f"{path}: {self._bindings} cannot load it", self._said(), again)
        self._context = self._new_context(f"{path}: {self._bindings} cannot load it", again)
        inputs, outputs = _infos(trt, self._cuda_engine)
        check_against_graph(self._engine.model, inputs, outputs, str(path))
        self._image = inputs[0].name
        return inputs[0]

    def _new_context(self, what: str, hint: str) -> Any:
        context = self._cuda_engine.create_execution_context()
        if context is None:
            raise self._gpu.failure(what, self._said(), hint)
        return context

    def _said(self) -> str:
        """Why TensorRT failed, forgotten once it is told."""
        reason = first_error(self._logger, "no reason given")
        self._logger.errors.clear()
        return reason

    def _make_buffers(self) -> None:
        """Pinned memory instead of the pageable arrays that every session starts with."""
        gpu = self._gpu
        compute = gpu.stream()
        streams = (
            _Streams(compute, compute, compute)
            if gpu.mapped
            else _Streams(gpu.stream(), compute, gpu.stream())
        )
        # no comprehension: before Python 3.12 its frame keeps the streams, cleared or not
        for image, outputs in zip(self._inputs, self._outputs, strict=True):
            twins = {name: gpu.buffer(array) for name, array in outputs.items()}
            events = gpu.event(), gpu.event(), gpu.event()
            self._slots.append(_Slot(gpu.buffer(image), twins, streams, *events))
        self._inputs = [s.image.host for s in self._slots]
        self._outputs = [{name: o.host for name, o in s.outputs.items()} for s in self._slots]
        self._shapes = [(n, *self._shape[1:]) for n in range(self.batch + 1)]
        self._rows = 0

    def _make_graphs(self) -> str:
        """A graph of a full batch for each slot. What ``backend`` says of it."""
        try:
            for slot in self._slots:
                self._graphs.append(self._capture(slot))
        except EngineError as error:
            self._gpu.drop_graphs()
            self._graphs, self._graph_contexts = [], []
            return f", no CUDA graph: {error.message}"
        return ", CUDA graph"

    def _capture(self, slot: _Slot) -> Graph:
        """A context that is changed after its graph was captured makes the graph undefined, says
        TensorRT: so this one is the graph's alone, and shape and addresses are set for good."""
        stream = slot.streams.compute
        context = self._new_context("no execution context for it", "edgemtl doctor")
        self._graph_contexts.append(context)
        self._set_shape(context, self.batch)
        _set_addresses(context, self._image, slot)
        # what a new shape changes is done in the next run, and must not be captured
        self._enqueue(context, stream)
        stream.synchronize()
        graph = self._gpu.capture(stream, lambda: self._enqueue(context, stream))
        graph.launch(stream)  # the first launch also brings it to the GPU
        stream.synchronize()
        return graph

    def _start(self, slot: int, n_valid: int) -> None:
        with self._gpu.active():
            # what else lies in the slot is not looked at
            self._put(slot, max(n_valid, self._fewest))

    def _put(self, slot: int, n_valid: int) -> None:
        """Nothing here waits. A slot comes again only after its ticket was collected, that is after
        its download: so an upload need not wait until the slot's last run has read its image."""
        gpu, made = self._gpu, self._slots[slot]
        streams = made.streams
        if not gpu.mapped:
            gpu.upload(made.image, n_valid, streams.upload)
            made.uploaded.record(streams.upload)
            streams.compute.wait_for_event(made.uploaded)
        self._run(slot, n_valid)
        if not gpu.mapped:
            made.computed.record(streams.compute)
            streams.download.wait_for_event(made.computed)
            for buffer in made.outputs.values():
                gpu.download(buffer, n_valid, streams.download)
        made.done.record(streams.download)

    def _run(self, slot: int, n_valid: int) -> None:
        """One context serves all slots: its runs are in the order of one stream, and each takes
        the addresses that are set when it is enqueued."""
        made = self._slots[slot]
        if self._graphs and n_valid == self.batch:
            self._graphs[slot].launch(made.streams.compute)
            return
        if n_valid != self._rows:
            self._rows = 0
            self._set_shape(self._context, n_valid)
            self._rows = n_valid
        _set_addresses(self._context, self._image, made)
        self._enqueue(self._context, made.streams.compute)

    def _set_shape(self, context: Any, rows: int) -> None:
        if not context.set_input_shape(self._image, self._shapes[rows]):
            what = f"{self._bindings} does not take {rows} pictures at once"
            raise self._gpu.failure(what, self._said(), "edgemtl doctor")

    def _enqueue(self, context: Any, stream: GpuStream) -> None:
        if not context.execute_async_v3(stream.handle):
            what = f"{self._bindings} cannot run the engine"
            raise self._gpu.failure(what, self._said(), "edgemtl doctor")

    def _wait(self, slot: int) -> None:
        with self._gpu.active():
            self._slots[slot].done.synchronize()

    def _free(self) -> None:
        with suppress(EngineError), self._gpu.active():
            self._let_go()

    def _let_go(self) -> None:
        self._gpu.free()
        self._graphs, self._graph_contexts = [], []
        self._context = self._cuda_engine = self._runtime = None
        self._slots, self._inputs, self._outputs = [], [], []


def _set_addresses(context: Any, image: str, slot: _Slot) -> None:
    context.set_tensor_address(image, slot.image.address)
    for name, buffer in slot.outputs.items():
        context.set_tensor_address(name, buffer.address)


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
