"""What an engine shall be like, whoever builds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgemtl.engine.bindings import Flavour
from edgemtl.engine.manifest import DEFAULT_BATCH, DEFAULT_WORKSPACE_MB, Batch, Precision


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """``precision`` must be in the graph or follow from it, see ``build_graph.choose_graph``.

    ``workspace_mb``: cap of the scratch memory that a kernel may use. ``batch``: the fewest
    pictures in one run, those that kernels are chosen for, and the most; None: as the graph says,
    or 1 to 4, best for 1. ``flavour``: default what this machine can use. ``timing_cache``: file of
    TensorRT's kernel timings, which make the next build faster; default one in the user's cache
    folder. ``profile``: keep the layers' names in the engine, and report all layers.
    Raises ValueError for numbers that cannot be meant.
    """

    precision: Precision
    workspace_mb: int = DEFAULT_WORKSPACE_MB
    batch: Batch | None = None
    flavour: Flavour | None = None
    timing_cache: Path | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        if self.workspace_mb < 1:
            raise ValueError(f"workspace_mb: expected at least 1, got {self.workspace_mb}")
        low, best, high = self.batch or DEFAULT_BATCH
        if not 1 <= low <= best <= high:
            raise ValueError(
                f"batch: expected 1 <= fewest <= best <= most, got {low}:{best}:{high}"
            )
