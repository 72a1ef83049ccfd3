"""The steps of gpu.py: each returns JSON's own types, or raises what happened."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from gpu_torch import Call, forms, one_or_three

from edgemtl.bench.latency import BenchConfig, Percentiles, bench
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.cuda import Cuda
from edgemtl.engine.manifest import Precision
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.engine.timing import call_of, take_turns
from edgemtl.evaluate.look import Shown
from edgemtl.evaluate.parity import climb
from edgemtl.evaluate.rungs import rungs_of
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import rebuild
from edgemtl.records import Frame
from edgemtl.track import TrackerConfig

Json = dict[str, Any]
TABLES = Path(__file__).resolve().parents[1] / "calibration" / "tables"
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
FLAVOURS = ("tensorrt", "tensorrt_rtx")
BATCHES = (1, 2, 4, 8, 16)
COMPILED = (1, 16)
"""Batches that torch.compile is measured at: each takes it half a minute."""
ROUNDS = 100
FRAMES = 120
PICTURES = 24


def rounded(ms: Sequence[float]) -> Json:
    """Percentiles of milliseconds."""
    found = Percentiles.of([round(1e6 * value) for value in ms])
    return {name: round(getattr(found, name), 4) for name in ("p50", "p95", "p99", "mean")}


def memory(rounds: int = 20) -> Json:
    """The session's own memory, streams, events and graphs, without any engine.

    Raises AssertionError if what comes back is not what went there.
    """
    rng, gpu = np.random.default_rng(0), Cuda("the GPU's memory")
    with gpu.active():
        try:
            upload, download = gpu.stream(), gpu.stream()
            there = gpu.buffer(np.zeros((2, 3, 320, 416), np.int8))
            sent_all, begun, ended = gpu.event(), gpu.event(timed=True), gpu.event(timed=True)
            taken = []
            for _ in range(rounds):
                sent = rng.integers(-128, 128, there.host.shape, np.int8)
                there.host[...] = sent
                begun.record(upload)
                gpu.upload(there, 2, upload)
                sent_all.record(upload)
                sent_all.synchronize()
                if there.device is not None:
                    there.host[...] = 0
                download.wait_for_event(sent_all)
                gpu.download(there, 2, download)
                ended.record(download)
                ended.synchronize()
                assert (there.host == sent).all(), "what came back is not what was sent"
                taken.append(ended.time_since(begun))
            graph = "needs copies"
            if there.device is not None:
                made = gpu.capture(upload, lambda: gpu.upload(there, 2, upload))
                there.host[...] = 7
                made.launch(upload)
                upload.synchronize()
                there.host[...] = 0
                gpu.download(there, 2, upload)
                upload.synchronize()
                assert (there.host == 7).all(), "the graph did not copy what lay there at launch"
                graph = "captured and launched"
            return {"mapped": gpu.mapped, "round_trip_ms": rounded(taken), "graph": graph}
        finally:
            gpu.free()


def build(name: str, precision: Precision, flavour: str, folder: Path) -> Json:
    """Build an engine of a shipped model, which is run and held to ONNX Runtime."""
    options = BuildOptions(precision, batch=(1, 1, max(BATCHES)), flavour=flavour)
    model = resolve_model(name)
    if precision == "int8":
        table = TABLES / f"{name}.ranges.json"
        model = rebuild(model, table, folder / f"{name}.int8.onnx").host
    report = build_engine(model, folder / f"{name}.{precision}.engine", options)
    told = report.to_dict()
    kept = ("engine", "size_bytes", "checked", "unchecked_because", "version", "build_seconds")
    return {**{key: told[key] for key in kept}, "engine": report.out.name}


def parity(name: str, engines: Sequence[Path]) -> Json:
    """All forms of a model over drawn pictures; the engines are its last rungs."""
    path = resolve_model(name)
    size_hw = (192, 320)
    world = SyntheticWorld(3, 1, PICTURES, size_hw)
    shown = [Shown(world, PICTURES, tuple(world.sequences))]
    files = [path.with_suffix(".safetensors"), path, *engines]
    ladder = climb([rung for file in files for rung in rungs_of(file, 1)], shown, TrackerConfig())
    return {"verdict": ladder.verdict(), **ladder.to_dict()}


class Drawn:
    """Frames of the synthetic world, as a camera would give them."""

    def __init__(self, count: int, size_hw: tuple[int, int]) -> None:
        self._world, self._count = SyntheticWorld(5, 1, count, size_hw), count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            now = round(1e9 * index / 30)
            yield Frame(self._world.image(index), index, now, now)

    def close(self) -> None:
        """Nothing to close."""


def stages(engine: Path, cuda_graph: bool) -> Json:
    """Latency per stage by the clock, the network's also by the GPU's own events; and what part of
    a frame is not the network."""
    with closing(TensorRTSession(engine, cuda_graph=cuda_graph, timed=True)) as session:
        report = bench(session, Drawn(FRAMES + 20, (720, 1280)), BenchConfig(FRAMES, 20))
        events: dict[str, list[float]] = {}
        blank = np.zeros((1, 3, *session.manifest.input.size_hw), session.manifest.input.dtype)
        for _ in range(ROUNDS):
            slot = session.acquire()
            session.input(slot)[:1] = blank
            ticket = session.submit(slot, 1)
            session.collect(ticket)
            for stage, ms in session.gpu_ms(ticket).items():
                events.setdefault(stage, []).append(ms)
    told = report.to_dict()
    return {
        "backend": told["backend"], "latency_ms": told["latency_ms"], "doubts": told["doubts"],
        "gpu_ms": {stage: rounded(ms) for stage, ms in events.items()},
        "share_outside_network": outside(told["latency_ms"]),
    }  # fmt: skip


def outside(latency_ms: Mapping[str, Mapping[str, float]]) -> float:
    """The part of a frame's median that pre-processing, decoding and tracking take; reading the
    picture is left out."""
    own = sum(latency_ms[stage]["p50"] for stage in ("preprocess", "postprocess", "track"))
    return round(own / (own + latency_ms["infer"]["p50"]), 4)


def batches(checkpoint: Path, engines: Mapping[str, Path], device: str, batch: int) -> Json:
    """Milliseconds of a whole batch: torch and the engines take turns. ``per_second``: pictures."""
    with ExitStack() as stack:
        calls: dict[str, Any] = dict(forms(checkpoint, batch, device, batch in COMPILED))
        for name, path in engines.items():
            session = stack.enter_context(closing(TensorRTSession(path, batch=batch)))
            calls[name] = call_of(session, batch)
        return measured(calls, batch, ROUNDS)


def measured(calls: Mapping[str, Any], batch: int, rounds: int) -> Json:
    """Percentiles of each call, and pictures per second. A call that fails when it is first made
    is told and left out."""
    able, found = dict(calls), {}
    for name, call in calls.items():
        try:
            call()
        except Exception as error:
            del able[name]
            found[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    for name, ms in take_turns(able, rounds).items():
        found[name] = {**rounded(ms), "per_second": round(1e3 * batch / statistics.median(ms), 1)}
    return found


def one_pass(checkpoint: Path, device: str) -> Json:
    """One network for all tasks against one for each, all in torch with float16."""
    calls: dict[str, Call] = one_or_three(checkpoint, device)
    found = measured(calls, 1, ROUNDS)
    three = sum(found[name]["p50"] for name in calls if name != "shared")
    return {"networks": found, "shared_to_three": round(found["shared"]["p50"] / three, 4)}
