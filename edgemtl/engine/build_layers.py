"""The layers of a network for TensorRT: as they were parsed, and as the engine runs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Layer:
    """``kind`` in the library's words; ``dtype`` and ``shape`` of its first output, -1 where a size
    is open; ``ms``: its share of a run, where one was timed."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    ms: float | None = None


def layers_path(engine: Path) -> Path:
    """``m.engine`` -> ``m.engine.layers.json``."""
    return Path(f"{engine}.layers.json")


def parsed_layers(network: Any) -> tuple[Layer, ...]:
    """One for each layer of a parsed network, before anything is fused."""
    found = []
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        first = layer.get_output(0)
        kind = layer.type.name.lower()
        found.append(Layer(layer.name, kind, first.dtype.name.lower(), _sizes(first)))
    return tuple(found)


def _sizes(tensor: Any) -> tuple[int, ...]:
    try:
        return tuple(map(int, tensor.shape))
    except ValueError:  # of unknown rank: TensorRT's list of sizes has no length
        return ()


def inspected_layers(told: str, ms: dict[str, float] | None = None) -> tuple[Layer, ...]:
    """One for each layer of an engine, from what its inspector told as JSON.

    ``ms``: name of a layer -> milliseconds of it in a run. An engine that keeps no details tells
    names alone. Raises ValueError for what is no such text.
    """
    rows = json.loads(told)
    layers = rows.get("Layers") if isinstance(rows, dict) else None
    if not isinstance(layers, list):
        raise ValueError("told: expected JSON with a list 'Layers'")
    return tuple(_inspected(row, ms or {}) for row in layers)


def _inspected(row: Any, ms: dict[str, float]) -> Layer:
    if not isinstance(row, dict):
        return Layer(str(row), "", "", (), ms.get(str(row)))
    first: dict[str, Any] = next(iter(row.get("Outputs") or []), {})
    name = str(row.get("Name", ""))
    kind, dtype = str(row.get("LayerType", "")), first.get("Format/Datatype", first.get("Datatype"))
    shape = tuple(int(size) for size in first.get("Dimensions", []))
    return Layer(name, kind.lower(), str(dtype or "").lower(), shape, ms.get(name))


def layer_rows(layers: Sequence[Layer]) -> list[list[object]]:
    """A table for people: a heading, then the layers, the slowest first where they were timed."""
    timed = any(layer.ms is not None for layer in layers)
    shown = sorted(layers, key=lambda layer: -(layer.ms or 0.0)) if timed else layers
    rows: list[list[object]] = [["layer", "kind", "type", "shape", *(["ms"] if timed else [])]]
    for one in shown:
        name = one.name if len(one.name) <= 60 else f"{one.name[:57]}..."
        took = [] if not timed else ["-" if one.ms is None else f"{one.ms:.3f}"]
        rows.append([name, one.kind, one.dtype, "x".join(map(str, one.shape)), *took])
    return rows


def layers_json(layers: Iterable[Layer], source: str) -> str:
    """``source``: ``parsed`` or ``engine``."""
    return json.dumps({"source": source, "layers": [asdict(one) for one in layers]}, indent=1)
