"""The bytes of an ONNX file, and what they hold."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgemtl.errors import ModelError


def model_bytes(path: Path) -> bytes:
    """The file's content. Raises ModelError if it cannot be read or is empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}", "check the path") from error
    if not data:
        raise ModelError(f"{path}: the file is empty", "export the model again")
    return data


def parse_model(data: bytes, where: str) -> onnx.ModelProto:
    """The model in ``data``, unchecked. Raises ModelError, naming ``where``, if it is cut off."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{where}: not an ONNX file, or only a part of one ({len(data)} bytes)",
            "copy it again, or export it again with 'edgemtl export'",
        ) from error
    return model
