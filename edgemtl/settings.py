"""Files of settings in TOML; what is wrong with one is told by its keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgemtl.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Model = TypeVar("Model", bound=BaseModel)


def read_settings(what: str, path: Path, kind: type[Model], example: str) -> Model:
    """``path`` as a ``kind``; ``what`` such a file is, ``example`` where the reader sees one.

    Raises ConfigError, naming file and key, for a file that cannot be read or is no such settings.
    """
    if not path.is_file():
        raise ConfigError(f"{what}: no file '{path}'", f"name a TOML file, as in {example}")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{what}: '{path}' cannot be read: {error.strerror}",
            "check the path and its permissions",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: '{path}' is not TOML: {error}") from error
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise _explain(what, path, error, kind) from error


def _explain(what: str, path: Path, error: ValidationError, kind: type[BaseModel]) -> ConfigError:
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
