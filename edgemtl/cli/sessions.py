"""The session of a command: ``auto`` is decided here, by a look at the model and the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemtl.engine.session import Session


def open_model(model: str, backend: str, threads: int | None, cuda_graph: bool = False) -> Session:
    """As ``engine.open_session``; ``auto`` is the fastest backend installed that passes parity."""
    from edgemtl.engine import open_session
    from edgemtl.evaluate.choose import best_backend

    if backend == "auto" and not cuda_graph:  # which leaves one backend
        backend = best_backend(model, threads)
    return open_session(model, backend=backend, threads=threads, cuda_graph=cuda_graph)
