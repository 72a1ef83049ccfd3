"""Long builds in a thread of their own: steps are shown, and Ctrl-C ends them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from edgemtl.progress import track

T = TypeVar("T")


def run_cancellable(work: Callable[[Callable[[], bool]], T], what: str) -> T:
    """Result of ``work(step)``. ``step()`` tells a step done and returns whether to go on.

    TensorRT builds inside one C++ call. Python delivers Ctrl-C to the main thread only, and only
    between its own instructions; so the main thread waits here and the work runs beside it. After
    Ctrl-C the next ``step()`` returns False; KeyboardInterrupt goes on once the work has ended.
    """
    steps: SimpleQueue[bool] = SimpleQueue()
    cancelled = threading.Event()

    def step() -> bool:
        steps.put(True)
        return not cancelled.is_set()

    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work(step))
        except BaseException as error:
            result.set_exception(error)
        finally:
            steps.put(False)

    # not a pool: Ctrl-C while a pool starts its thread makes the pool forget it
    thread = threading.Thread(target=run, name="edgemtl-build")
    try:
        thread.start()
        for _ in track(iter(steps.get, False), what):
            pass
    except KeyboardInterrupt:
        cancelled.set()
        raise
    finally:
        if thread.ident is not None:
            thread.join()
    return result.result()


def make_monitor(module: Any, step: Callable[[], bool]) -> Any:
    """An IProgressMonitor of ``module`` (TensorRT or TensorRT-RTX) that calls ``step``.

    Phases nest and their number is not known in advance, so only steps are counted.
    """

    class StepMonitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """Nothing: a phase counts by its steps."""

        def phase_finish(self, phase_name: str) -> None:
            """Nothing: a phase counts by its steps."""

        def step_complete(self, phase_name: str, step_number: int) -> bool:
            return step()

    return StepMonitor()
