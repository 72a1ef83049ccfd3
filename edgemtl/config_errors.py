"""What is wrong with a file of settings, told by its keys."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError

from edgemtl.errors import ConfigError


def explain(what: str, path: Path, error: ValidationError, kind: type[BaseModel]) -> ConfigError:
    """The first error of ``kind`` read from ``path``, as one that names file and key; ``what`` such
    a file is."""
    # a key that is missing is often one that was misspelt, so unknown ones are told first
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        owner = _owner(kind, first["loc"])
        known = ", ".join(sorted(f.alias or name for name, f in owner.model_fields.items()))
        return ConfigError(f"{what}: '{path}' has an unknown key '{key}'", f"known here: {known}")
    message = first["msg"].removeprefix("Value error, ")
    said = message[:1].lower() + message[1:]
    place = f", key '{key}'" if key else ""
    return ConfigError(f"{what}: '{path}'{place}: {said}", "correct this key")


def _owner(kind: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The section that the last key of ``place`` would be in; numbers choose one of a list."""
    for part in place[:-1]:
        by_key = {
            field.alias or name: field.annotation for name, field in kind.model_fields.items()
        }
        found = by_key.get(str(part))
        candidates = (kind if isinstance(part, int) else found, *get_args(found))
        kind = next((c for c in candidates if _is_section(c)), kind)
    return kind


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
