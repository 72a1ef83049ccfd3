"""The NVIDIA GPU of this machine, asked through the driver's C interface: it needs no toolkit."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from typing import Any

from pydantic import BaseModel, ConfigDict

from edgemtl.errors import EngineError, NoDeviceError

# enumerators of CUdevice_attribute (cuda.h)
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
# of CUresult: no device is no fault of the driver
_NO_DEVICE = 100
# insufficient driver, needs a newer one, two halves that do not fit, no compatibility here
_TOO_OLD = (35, 36, 803, 804)
UPDATE_DRIVER = "update the NVIDIA driver (on a Jetson: JetPack), or install what fits its CUDA"


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
    """As :func:`find_gpu`; raises NoDeviceError, naming ``purpose``, where there is none, and
    EngineError where the driver does not start."""
    gpu = find_gpu()
    if gpu is not None:
        return gpu
    cuda = _driver()
    code = _NO_DEVICE if cuda is None else cuda.cuInit(0)
    if code in _TOO_OLD:
        raise EngineError(
            f"{purpose}: the NVIDIA driver is too old (cuInit: error {code}); it supports "
            f"CUDA {driver_cuda()}",
            f"{UPDATE_DRIVER}; after an update, start the machine again",
        )
    if code not in (0, _NO_DEVICE):
        raise EngineError(
            f"{purpose}: the NVIDIA driver does not start (cuInit: error {code})",
            "start the machine again; what does 'nvidia-smi' say?",
        )
    raise NoDeviceError(f"{purpose} needs an NVIDIA GPU and its driver; none was found", hint)


def driver_cuda() -> str:
    """The newest CUDA that the driver supports, such as ``12.6``; ``unknown`` without a driver."""
    cuda, version = _driver(), ctypes.c_int(0)
    if cuda is None or cuda.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return "unknown"
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def require_driver() -> Any:
    """The driver's C interface, for calls that pycuda lacks. Raises EngineError without one."""
    cuda = _driver()
    if cuda is None:
        raise EngineError("libcuda, the NVIDIA driver's library, is gone", "edgemtl doctor")
    return cuda


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
