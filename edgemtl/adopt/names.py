"""Class names of an adopted detector: a text file, or what its exporter left in the file."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import onnx

from edgemtl.errors import ConfigError, ModelError

_KEY = "names"


def read_names(path: Path) -> tuple[str, ...]:
    """One name a line; empty lines at the end do not count. Raises ConfigError."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--classes: cannot read '{path}': {getattr(error, 'strerror', None) or 'not UTF-8'}",
            "a text file with one class name a line, in the order of the network's classes",
        ) from error
    return _checked([line.strip() for line in lines], f"--classes: '{path}'")


def known_names(model: onnx.ModelProto, where: str) -> tuple[str, ...]:
    """What the exporter wrote: ``{0: 'person', 1: ...}`` under the key ``names``, or a list.

    Raises ModelError if there is nothing of the kind.
    """
    text = {p.key: p.value for p in model.metadata_props}.get(_KEY, "")
    try:
        names = ast.literal_eval(text)
        if isinstance(names, dict):
            names = [names[number] for number in range(len(names))]
    except (ValueError, SyntaxError, KeyError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, (list, tuple)):
        raise ModelError(
            f"{where}: the file does not name its classes",
            "say them with --classes names.txt, one name a line",
        )
    return _checked([str(name).strip() for name in names], where)


def _checked(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Raise ConfigError for an empty list, an empty name or one that comes twice."""
    if not names:
        raise ConfigError(f"{where} holds no class name", "one name a line")
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            what = f"'{name}' comes twice" if name else "has no name"
            raise ConfigError(
                f"{where}: class {number} {what}", "one name a line, each of them once"
            )
    return tuple(names)
