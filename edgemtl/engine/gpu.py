"""The NVIDIA GPU of this machine, asked through the driver's C interface: it needs no toolkit."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from typing import Any

from pydantic import BaseModel, ConfigDict

from edgemtl.errors import EngineError

# enumerators of CUdevice_attribute (cuda.h)
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


class Gpu(BaseModel):
    """What an engine is bound to: the model of a GPU and its compute capability, such as 8.7."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    compute_capability: str

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


def find_gpu() -> Gpu | None:
    """The first visible GPU (CUDA_VISIBLE_DEVICES counts), None without a driver or a device."""
    cuda = _driver()
    if cuda is None or cuda.cuInit(0) != 0:
        return None
    device = ctypes.c_int(0)
    if cuda.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    name = ctypes.create_string_buffer(256)
    if cuda.cuDeviceGetName(name, len(name), device) != 0:
        return None
    numbers = [_attribute(cuda, device, which) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)]
    capability = ".".join(str(number) for number in numbers)
    return Gpu(name=name.value.decode(errors="replace"), compute_capability=capability)


def require_gpu(purpose: str, hint: str) -> Gpu:
    """As :func:`find_gpu`; raises EngineError, naming ``purpose``, where there is none."""
    gpu = find_gpu()
    if gpu is None:
        raise EngineError(f"{purpose} needs an NVIDIA GPU and its driver; none was found", hint)
    return gpu


def _attribute(cuda: Any, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int(0)
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def _driver() -> Any | None:
    # the plain name first: find_library asks the compiler's tools, which devices may lack
    fixed = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    for name in (fixed, ctypes.util.find_library("cuda")):
        if name is None:
            continue
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
