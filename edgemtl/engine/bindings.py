"""TensorRT and TensorRT-RTX: two packages with one interface, found and loaded here."""

from __future__ import annotations

import importlib
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

from edgemtl.engine.api import TensorRT
from edgemtl.engine.gpu import find_gpu, require_gpu
from edgemtl.errors import MissingExtraError

Flavour = Literal["tensorrt", "tensorrt_rtx"]
EXTRAS: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
_LONGEST = 240
_MOST_LINES = 10_000


@dataclass(frozen=True, slots=True)
class Bindings:
    """A loaded package. Its version is read at run time: engines are bound to it exactly."""

    module: TensorRT
    flavour: Flavour

    @property
    def version(self) -> str:
        module: Any = self.module  # the type of a module cannot tell such names
        return str(module.__version__)

    def __str__(self) -> str:
        return f"{self.flavour} {self.version}"


def load_bindings(flavour: Flavour, purpose: str) -> Bindings:
    """The package of a flavour. Raises MissingExtraError, naming ``purpose``, if it is absent."""
    bindings = _load(flavour)
    if bindings is None:
        raise MissingExtraError(flavour, EXTRAS[flavour], purpose)
    return bindings


def find_builder(flavour: Flavour | None = None) -> Bindings:
    """The package that builds engines here: ``flavour``, or else the one that this machine can use.

    TensorRT times kernels on the GPU that it builds for; TensorRT-RTX leaves that to the device
    and builds anywhere. So without a GPU only the latter counts. Raises MissingExtraError if none
    is installed, EngineError if what is installed needs a GPU that is not there.
    """
    purpose = "building engines"
    hint = 'build on the device itself, or without a GPU after pip install "edgemtl[rtx]"'
    if flavour is not None:
        bindings = load_bindings(flavour, purpose)
        if flavour == "tensorrt":
            require_gpu(f"building with {bindings}", hint)
        return bindings
    full = _load("tensorrt")
    if full is not None and find_gpu() is not None:
        return full
    portable = _load("tensorrt_rtx")
    if portable is not None:
        return portable
    if full is not None:
        require_gpu(f"building with {full}", hint)
    missing = MissingExtraError("tensorrt", "tensorrt", purpose)
    missing.hint = f'{missing.hint}, or without a GPU: pip install "edgemtl[rtx]"'
    raise missing


def _load(flavour: Flavour) -> Bindings | None:
    """The package if it imports and has code: type stubs alone leave a folder without any."""
    try:
        module = importlib.import_module(flavour)
    except (ImportError, OSError):  # OSError: the package is there, its shared library is not
        return None
    return Bindings(module, flavour) if hasattr(module, "Runtime") else None


def make_logger(module: Any) -> Any:
    """A logger that prints nothing: its list ``errors`` keeps the errors, ``lines`` all but what is
    for TensorRT's own developers.

    TensorRT returns None where it fails; the reason goes to the logger alone. That CUDA does not
    start is an error here, though TensorRT may call it a warning.
    """
    severities = module.ILogger
    words = {
        severities.INTERNAL_ERROR: "internal error", severities.ERROR: "error",
        severities.WARNING: "warning", severities.INFO: "info",
    }  # fmt: skip

    class KeepingLog(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.lines: deque[str] = deque(maxlen=_MOST_LINES)

        def log(self, severity: Any, message: str) -> None:
            if severity not in words:
                return
            self.lines.append(f"{words[severity]}: {message.rstrip()}")
            if "error" in words[severity] or message.startswith("CUDA initialization failure"):
                self.errors.append(message)

    return KeepingLog()


def first_error(logger: Any, otherwise: str) -> str:
    """The first error that a logger of :func:`make_logger` kept, as one line."""
    return one_line(logger.errors[0]) if logger.errors else otherwise


def one_line(text: object) -> str:
    """``text`` without line breaks, cut to what a terminal shows well."""
    return " ".join(str(text).split())[:_LONGEST]


def strongly_typed(trt: Any) -> int:
    """Creation flags: bit 1 in TensorRT 10; in 11 always on, bit 0 kept and ignored."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)
