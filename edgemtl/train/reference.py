"""The keys of a training file as a page, made from the config classes themselves.

python -m edgemtl.train.reference > docs/training_keys.md
"""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from edgemtl.train.config import TrainConfig

_HEAD = """# The keys of a training file

Every key of `edgemtl train FILE.toml`, made from the classes that check the file (`python -m
edgemtl.train.reference`). A key that is not here is refused. Paths are relative to the file;
`$NAME` in a path is taken from the environment. Keys without a default must be given.
"""


def reference() -> str:
    """The page, in Markdown: a table for the file and one for each section."""
    tables = [_HEAD]
    waiting: list[tuple[str, type[BaseModel]]] = [("", TrainConfig)]
    while waiting:
        title, model = waiting.pop(0)
        doc = re.sub(r"\s+", " ", (model.__doc__ or "").strip())
        tables.append(f"## {title or 'The file itself'}\n\n{doc}\n")
        rows = ["| key | values | default | what it is |", "| --- | --- | --- | --- |"]
        for name, field in model.model_fields.items():
            key = field.alias or name
            section = _section(field.annotation)
            if section is None:
                rows.append(_row(key, field))
            else:
                many, kind = section
                waiting.append((f"[[{key}]]" if many else f"[{key}]", kind))
        tables.append("\n".join(rows) + "\n")
    return "\n".join(tables)


def _section(annotation: Any) -> tuple[bool, type[BaseModel]] | None:
    """(is it a list, its class) where a key is a section of its own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return False, annotation
    inner = get_args(annotation)
    many = get_origin(annotation) is tuple and inner and isinstance(inner[0], type)
    return (True, inner[0]) if many and issubclass(inner[0], BaseModel) else None


def _row(key: str, field: FieldInfo) -> str:
    required = field.is_required()
    default = "" if required else f"`{_shown(field.get_default(call_default_factory=True))}`"
    limits = ", ".join(
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if getattr(rule, name, None) is not None
    )
    kind = _named(field.annotation) + (f", {limits}" if limits else "")
    text = (field.description or "").replace("|", "\\|")
    return f"| `{key}` | {kind} | {default} | {text} |"


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(v) for v in value)}]"
    return str(value)


def _named(annotation: Any) -> str:
    """A type as a TOML file has it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_named(one) for one in inner if one is not type(None))
    if str(origin) == "typing.Literal":
        return " or ".join(f'`"{one}"`' for one in inner)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f"[{_named(inner[0])}, ...]"
        return f"[{', '.join(_named(one) for one in inner)}]"
    if origin is dict:
        return f"{{ {_named(inner[0])} = {_named(inner[1])} }}"
    if origin is not None and inner:
        return _named(inner[0])
    plain = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return plain.get(name, name.lower())


if __name__ == "__main__":
    print(reference(), end="")
