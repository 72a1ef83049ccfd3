"""``edgemtl run``: a model, a source and its sinks, opened and closed in the right order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgemtl.cli.sessions import open_model
from edgemtl.console import STOPS, say
from edgemtl.errors import ConfigError, StaleEngineError
from edgemtl.files import keep
from edgemtl.manifest import Manifest

if TYPE_CHECKING:
    from edgemtl.engine.session import Session
    from edgemtl.runtime.pipeline import PipelineConfig, RunSummary
    from edgemtl.runtime.source import Source


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where results go; None: not wanted."""

    video: Path | None = None
    jsonl: Path | None = None
    mot: Path | None = None
    show: bool = False

    def __post_init__(self) -> None:
        paths = [path.resolve() for path in (self.video, self.jsonl, self.mot) if path is not None]
        if len(set(paths)) < len(paths):
            raise ConfigError("two outputs have the same path", "give each its own file")

    def keep(self, source: str, model: str) -> None:
        """Raise OutputError where an output would replace what is read."""
        read = {"source": Path(source), "model": Path(model)}
        keep(read, (self.video, self.jsonl, self.mot), "name another file")


@dataclass(frozen=True, slots=True)
class Network:
    """Which model runs, and on what."""

    model: str
    backend: str = "auto"
    threads: int | None = None
    cuda_graph: bool = False
    rebuild: bool = False

    def open(self) -> Session:
        """As ``open_model``; with ``rebuild`` an engine that is stale or foreign is built again."""
        try:
            return self._open()
        except StaleEngineError as error:
            if not self.rebuild:
                error.hint = f"{error.hint}; --rebuild does it"
                raise
            from edgemtl.engine.build_again import build_again

            say(f"{error.message}: building it again")
            say(build_again(Path(self.model)).text())
        return self._open()

    def like(self, session: Session) -> Network:
        """The same on the backend that ``session`` has, which nobody chooses a second time."""
        name = session.backend.split()[0]
        return replace(self, backend=name) if name in {"onnxruntime", "openvino"} else self

    def _open(self) -> Session:
        return open_model(self.model, self.backend, self.threads, self.cuda_graph)


def run_model(
    network: Network, source: str, outputs: Outputs, config: PipelineConfig
) -> RunSummary:
    """Run ``network`` over ``source`` into ``outputs``; all of them are closed whatever happens."""
    from edgemtl.runtime.pipeline import run_pipeline
    from edgemtl.runtime.source import open_source

    outputs.keep(source, network.model)
    with ExitStack() as stack:
        calm = stack.enter_context(_Calm())
        frames = stack.enter_context(closing(open_source(source, policy=config.policy)))
        session = stack.enter_context(closing(network.open()))
        sinks = [
            stack.enter_context(closing(sink)) for sink in _sinks(outputs, session.manifest, frames)
        ]
        try:
            return run_pipeline(session, frames, sinks, config)
        finally:
            calm.hold()


class _Calm:
    """Once it holds, nobody's Ctrl-C comes between outputs and their names, until its end."""

    def __init__(self) -> None:
        self._kept: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Calm:
        return self

    def hold(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for one in STOPS:
                self._kept[one] = signal.signal(one, signal.SIG_IGN)

    def __exit__(self, *_: object) -> None:
        for one, handler in self._kept.items():
            signal.signal(one, handler)


def _sinks(outputs: Outputs, manifest: Manifest, frames: Source) -> Iterator[Any]:
    """One after the other, so that those already open are closed if a later one cannot be."""
    from edgemtl.runtime.sink import JsonlSink, MotSink, ShowSink, VideoSink

    if outputs.jsonl is not None:
        yield JsonlSink(outputs.jsonl, manifest)
    if outputs.mot is not None:
        yield MotSink(outputs.mot)
    if outputs.video is not None:
        endless = frames.live and frames.length is None  # a file on a server arrives at any pace
        yield VideoSink(outputs.video, frames.fps, manifest, paced=endless)
    if outputs.show:
        yield ShowSink(manifest)
