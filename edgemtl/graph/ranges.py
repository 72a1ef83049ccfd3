"""The range table: everything that calibration found out, in one JSON file.

It is what one versions: the same network and the same table rebuild the same INT8 graphs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgemtl.errors import CalibrationError
from edgemtl.files import write_text

Finite = Annotated[float, Field(allow_inf_nan=False)]


class RangeTable(BaseModel):
    """Ranges of a network's activations, and where they came from.

    ``ranges``: tensor -> (low, high) in real units. ``means``: input tensor of a convolution ->
    mean of each channel, for bias correction; empty for none. ``float_layers``: output tensors of
    layers that stay in float. ``model_sha256``: canonical hash of the float model it belongs to.
    ``letterbox``, ``recipe`` (a file's name) and ``versions`` (package -> version) say how it was
    made. ``graphs``: Dialect.key -> canonical hash of the graph that it makes of the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = Field(default=1)
    model: str
    model_sha256: str
    observer: str
    images: int = Field(ge=1)
    content_sha256: str
    ranges: dict[str, tuple[Finite, Finite]]
    means: dict[str, tuple[Finite, ...]] = Field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    letterbox: str = ""
    recipe: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    graphs: dict[str, str] = Field(default_factory=dict)

    def to_json(self) -> str:
        """Readable and canonical: sorted keys, one tensor a line, the same bytes every time."""
        data = self.model_dump(mode="json")
        lines = []
        for key, value in sorted(data.items()):
            if isinstance(value, dict) and value:
                inner = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(value.items()))
                lines.append(f" {json.dumps(key)}: {{\n" + ",\n".join(inner) + "\n }")
            else:
                lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @property
    def sha256(self) -> str:
        """Hash of the canonical text without ``graphs``; manifests of INT8 models quote it."""
        bare = self.model_copy(update={"graphs": {}})
        return hashlib.sha256(bare.to_json().encode()).hexdigest()

    def span(self, tensors: tuple[str, ...]) -> tuple[float, float]:
        """The common range of tensors that share one, 0 included.

        Raises CalibrationError for a tensor that the table lacks, or a range upside down.
        """
        low, high = 0.0, 0.0
        for name in tensors:
            if name not in self.ranges:
                raise CalibrationError(
                    f"ranges: the table has none for the tensor '{name}'",
                    "calibrate this model again; the table belongs to another one",
                )
            first, last = self.ranges[name]
            if first > last:
                raise CalibrationError(
                    f"ranges: '{name}' has its low {first} above its high {last}"
                )
            low, high = min(low, first), max(high, last)
        return low, high

    def channel_means(self, tensor: str) -> tuple[float, ...]:
        """Mean of each channel. Raises CalibrationError if the table lacks them."""
        if tensor not in self.means:
            raise CalibrationError(
                f"ranges: the table has no means for the tensor '{tensor}'",
                "calibrate this model again; the table belongs to another one",
            )
        return self.means[tensor]


def load_ranges(path: Path) -> RangeTable:
    """Read a table. Raises CalibrationError, naming the file and the entry, if it is not one."""
    try:
        return RangeTable.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"'{'.'.join(map(str, first['loc']))}': {first['msg'].lower()}"
        raise CalibrationError(
            f"{path}: not a range table: {reason}", "make one with 'edgemtl calibrate'"
        ) from error


def save_ranges(table: RangeTable, path: Path) -> None:
    """Write a table, whole or not at all."""
    write_text(path, table.to_json())
