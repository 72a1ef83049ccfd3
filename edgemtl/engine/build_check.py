"""``edgemtl build --check``: what a device would say to a graph, asked on a machine without one.

TensorRT-RTX parses and builds on a CPU, but takes more than TensorRT does; so the graph is also
held against what TensorRT 10.3 reads. Nothing is written. It is a check, not a proof.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemtl.engine.bindings import (
    Bindings,
    first_error,
    load_bindings,
    make_logger,
    strongly_typed,
)
from edgemtl.engine.build_graph import choose_graph
from edgemtl.engine.build_job import open_builder, parse_errors, set_batch
from edgemtl.engine.build_layers import parsed_layers
from edgemtl.engine.manifest import Precision
from edgemtl.graph.check import refusals
from edgemtl.graph.placement import convolution_precisions, counted, unfused


@dataclass(frozen=True, slots=True)
class CheckReport:
    """``errors``: what stops a build; ``warnings``: Q/DQ that stays float. ``layers``: (operator of
    the library, type of its output) -> how many; ``convolutions``: output tensor -> precision."""

    built_from: Path
    precision: Precision
    builder: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    layers: dict[tuple[str, str], int]
    convolutions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "built_from": str(self.built_from),
            "precision": self.precision,
            "builder": self.builder,
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "layers": [[*kind, count] for kind, count in self.layers.items()],
            "convolutions": self.convolutions,
        }

    def rows(self) -> list[list[str]]:
        """A table for people: heading, then one row per kind of layer and type."""
        rows = [[kind, dtype, str(count)] for (kind, dtype), count in self.layers.items()]
        return [["layer", "type", "count"], *rows]

    def text(self) -> str:
        """What was found, the worst first."""
        verdict = "would be refused" if self.errors else "builds"
        lines = [f"{self.built_from.name} as {self.precision}: {verdict} ({self.builder})"]
        if self.convolutions:
            lines.append(f"convolutions: {counted(self.convolutions)}")
        lines += [f"error: {what}" for what in self.errors]
        lines += [f"warning: {what}" for what in self.warnings]
        if not self.errors:
            lines.append("a check, not a proof: TensorRT-RTX takes more than TensorRT does")
        return "\n".join(lines)


def check_build(model: Path, precision: Precision) -> CheckReport:
    """Parse and build the graph that ``edgemtl build`` would take of ``model``.

    Raises EngineError and ModelError where there is no such graph, MissingExtraError without
    TensorRT-RTX.
    """
    chosen = choose_graph(Path(model), precision)
    bindings = load_bindings("tensorrt_rtx", "checking what an engine would be built from")
    adopted = chosen.manifest.adopted is not None
    told = [f"the graph {what}" for what in refusals(chosen.model)]
    failed, layers = _tried(bindings, chosen.model.SerializeToString())
    return CheckReport(
        built_from=chosen.file,
        precision=precision,
        builder=str(bindings),
        # an adopted detector keeps its own operators, of which TensorRT may well read more
        errors=(*failed, *([] if adopted else told)),
        warnings=(*unfused(chosen.model), *(told if adopted else [])),
        layers=layers,
        convolutions=convolution_precisions(chosen.model),
    )


def _tried(bindings: Bindings, graph: bytes) -> tuple[list[str], dict[tuple[str, str], int]]:
    """Every error of parser or builder, and the layers as they were parsed."""
    trt, logger = bindings.module, make_logger(bindings.module)
    builder = open_builder(bindings, logger)
    network = builder.create_network(strongly_typed(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        return parse_errors(parser), {}
    config = builder.create_builder_config()
    set_batch(builder, network, config, None)
    if builder.build_serialized_network(network, config) is None:
        return [f"{bindings} cannot build it: {first_error(logger, 'no reason given')}"], {}
    kinds = Counter((layer.kind, layer.dtype) for layer in parsed_layers(network))
    return [], dict(sorted(kinds.items()))
