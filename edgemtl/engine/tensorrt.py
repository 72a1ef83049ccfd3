"""TensorRT and TensorRT-RTX: engines on an NVIDIA GPU. Whatever a run needs is made once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.engine.bindings import first_error, load_bindings, make_logger, one_line
from edgemtl.engine.cuda import Cuda, GpuStream, Graph
from edgemtl.engine.gpu import require_gpu
from edgemtl.engine.gpu_slot import GpuSlot, make_slots
from edgemtl.engine.host import HostSession, check_runnable
from edgemtl.engine.inspect import engine_tensors, inspect_engine
from edgemtl.engine.manifest import EngineManifest, read_engine, require_same_place
from edgemtl.engine.session import Ticket
from edgemtl.engine.slots import SLOTS
from edgemtl.errors import ConfigError, EngineError
from edgemtl.manifest import TensorInfo, check_against_graph


class TensorRTSession(HostSession):
    """An engine on a GPU; see ``engine.session.Session``.

    Three streams, shared by the slots, carry uploads, runs and downloads; events make each wait for
    the one before it, so that neighbouring frames overlap. GPUs that share the host's memory
    (Jetson) work on it directly, without copies. ``submit`` allocates nothing and does not wait.

    ``cuda_graph``: full batches are launched as a CUDA graph, captured when the session is made;
    other batches run without. Each slot's graph has an execution context of its own, so this takes
    as much memory again for each slot. Engines that cannot be captured run without one, and
    ``backend`` tells why. ``timed``: the GPU notes times, see :meth:`gpu_ms`.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch: int = 1,
        slots: int = SLOTS,
        cuda_graph: bool = False,
        timed: bool = False,
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
        self._runtime: Any = None
        self._cuda_engine: Any = None
        self._context: Any = None
        self._slots: list[GpuSlot] = []
        self._gpu = Cuda(purpose)
        with self._gpu.active():
            try:
                image = self._open(plan, path)
                check_runnable(self._engine.model, image, batch, str(path))
                super().__init__(self._engine.model, max(batch, self._fewest), slots)
                self._make_buffers(timed)
                if cuda_graph:
                    self._kind += self._make_graphs()
            except BaseException:
                self._let_go()
                raise

    @property
    def backend(self) -> str:
        return f"{self._bindings} ({self._kind})"

    def gpu_ms(self, ticket: Ticket) -> dict[str, float]:
        """Milliseconds on the GPU of a ticket that was collected, until its slot comes again:
        ``upload``, ``run`` (and the wait for its turn), ``download``; where nothing is copied,
        ``run`` alone. Raises ValueError if the session is not ``timed``."""
        with self._gpu.active():
            return self._slots[ticket].gpu_ms()

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
        inputs, outputs = engine_tensors(trt, self._cuda_engine)
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

    def _make_buffers(self, timed: bool) -> None:
        """Pinned memory instead of the pageable arrays that every session starts with."""
        self._slots = make_slots(self._gpu, self._inputs, self._outputs, timed)
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

    def _capture(self, slot: GpuSlot) -> Graph:
        """A context that is changed after its graph was captured makes the graph undefined, says
        TensorRT: so this one is the graph's alone, and shape and addresses are set for good."""
        stream = slot.streams.compute
        context = self._new_context("no execution context for it", "edgemtl doctor")
        self._graph_contexts.append(context)
        self._set_shape(context, self.batch)
        slot.point(context, self._image)
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
        if made.begun is not None:
            made.begun.record(streams.upload)
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
        made.point(self._context, self._image)
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
