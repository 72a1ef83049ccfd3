"""Imports run one way through the rooms, without a circle, and rooms of one layer stay apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import edgemtl

PACKAGE = Path(edgemtl.__file__).parent
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "settings",
        "manifest",
        "onnx_file",
        "files",
        "progress",
        "models",
        "system_files",
        "jetson",
    ),
    ("_native", "records"),
    ("ops", "metrics", "engine.session", "track_file", "drawing", "svg"),
    ("nn", "data", "track", "graph", "engine"),
    ("evaluate",),
    ("train", "export", "adopt", "quantize", "engine.build", "runtime", "bench"),
    ("cli", "console", "demo", "doctor", "finetune", "best", "__main__"),
)
FREE_LAYERS = {0, 6}
"""The bottom (errors may be raised by all of it) and the top (entry points) are one room each."""


def _room(module: str) -> tuple[int, str]:
    """(layer, room) of a module name without the leading ``edgemtl.``; the longest match wins."""
    best = max(
        (
            (len(room), layer, room)
            for layer, rooms in enumerate(LAYERS)
            for room in rooms
            if module == room or module.startswith((f"{room}.", f"{room}_"))
        ),
        default=None,
    )
    assert best is not None, f"edgemtl.{module} belongs to no layer: add it to LAYERS"
    return best[1], best[2]


def _imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, function-local imports included."""
    known = {p.stem for p in PACKAGE.iterdir()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
            if (
                node.module == "edgemtl"
                or (PACKAGE.parent / node.module.replace(".", "/")).is_dir()
            ):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "edgemtl" and len(parts) > 1 and parts[1] in known:
                yield ".".join(parts[1:])


def test_imports_run_one_way() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if module == "__init__":
            continue
        layer, room = _room(module)
        for imported in _imports(path):
            other_layer, other_room = _room(imported)
            sibling = other_layer == layer and other_room != room and layer not in FREE_LAYERS
            if other_layer > layer or sibling:
                wrong.append(f"edgemtl.{module} imports edgemtl.{imported}")
    assert wrong == []
