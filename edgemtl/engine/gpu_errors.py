"""What CUDA and TensorRT say when they fail, told with what to do about it."""

from __future__ import annotations

from collections.abc import Callable

from edgemtl.engine.bindings import one_line
from edgemtl.engine.gpu import UPDATE_DRIVER, driver_cuda
from edgemtl.errors import EngineError

_SHORT = ("out of memory", "outofmemory", "insufficient memory", "bad_alloc")
_SMALLER = (
    "close other programs that use the GPU, or run a smaller batch; engines built with a smaller "
    "--batch or --workspace-mb take less"
)
_TOO_OLD = (
    "driver version is insufficient",
    "initialization failure with error: 35",
    "unsupported display driver",
)
_BROKEN = (
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "launch failure",
    "launch timed out",
    "device-side assert",
    "ecc error",
)
_AGAIN = (
    "the GPU does nothing more for this program: start it again; if the error comes back, build "
    "the engine again"
)


def memory_is_short(text: str) -> bool:
    """Whether CUDA or TensorRT say so in ``text``."""
    said = text.lower()
    return any(words in said for words in _SHORT)


def gpu_failure(
    what: str, reason: object, hint: str, memory_left: Callable[[], str] | None = None
) -> EngineError:
    """``what: reason``, with a hint of its own where the words are known.

    ``memory_left``: says how much there is, asked where memory is short.
    """
    text = one_line(reason)
    said = text.lower()
    if memory_is_short(text):
        hint = _SMALLER
        text += memory_left() if memory_left is not None else ""
    elif any(words in said for words in _TOO_OLD):
        hint = UPDATE_DRIVER
        text += f"; the driver supports CUDA {driver_cuda()}"
    elif any(words in said for words in _BROKEN):
        hint = _AGAIN
    return EngineError(f"{what}: {text}", hint)
