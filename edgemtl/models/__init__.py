"""The shipped models, and how a name or a path becomes a model file."""

from __future__ import annotations

from pathlib import Path

from edgemtl.errors import ModelError

_ROOM = Path(__file__).parent


def shipped_models() -> tuple[str, ...]:
    """Names of the models inside this package, sorted."""
    return tuple(sorted(path.parent.name for path in _ROOM.glob("*/*.onnx")))


def shipped_checkpoint(name: str | Path) -> Path | None:
    """The weights of a shipped model, to train on; None if there is none of this name."""
    found = _ROOM / str(name) / f"{name}.safetensors"
    return found if len(Path(name).parts) == 1 and found.is_file() else None


def resolve_model(model: str | Path) -> Path:
    """Path of a MODEL argument: a shipped name such as ``toy``, or a .onnx or .engine file.

    Raises ModelError if it is neither.
    """
    shipped = _ROOM / str(model) / f"{model}.onnx"
    if len(Path(model).parts) == 1 and shipped.is_file():
        return shipped
    path = Path(model)
    if path.is_dir():
        raise ModelError(f"model: expected a file, {path} is a folder", "name the .onnx in it")
    if not path.is_file():
        names = ", ".join(shipped_models()) or "none"
        raise ModelError(f"model: no file '{path}'", f"shipped models: {names}")
    if path.suffix not in {".onnx", ".engine"}:
        raise ModelError(
            f"model: expected .onnx or .engine, got '{path.name}'",
            "checkpoints (.safetensors) become models with 'edgemtl export'",
        )
    return path
