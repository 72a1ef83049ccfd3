"""What this machine can do with edgemtl, what is missing, and the line that installs it."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import importlib.util
import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgemtl.models import shipped_models

_INT8_FLAGS = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "asimddp": "NEON dot product"}


@dataclass(frozen=True, slots=True)
class Check:
    """One ability: what it is for, whether it is there, what was found, how to get it."""

    what: str
    ok: bool
    found: str
    install: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Check]:
    """All checks, base abilities first. Raises nothing: what fails is a check that says so."""
    return [
        _system(),
        _int8(),
        _module("pre- and post-processing (C)", "edgemtl._native", None, "pip install ."),
        _module("ONNX Runtime", "onnxruntime", "onnxruntime", "pip install onnxruntime"),
        _module("model files", "onnx", "onnx", "pip install onnx"),
        _module("images and video", "cv2", "opencv-python", "pip install opencv-python"),
        _models(),
        _installed("training and export", ("torch", "torchvision", "safetensors"), "train"),
        _installed("OpenVINO", ("openvino",), "openvino"),
        _gpu(),
        _builder(),
        _installed("running engines", ("tensorrt", "pycuda"), "tensorrt"),
        _cameras(),
    ]


def _system() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
    return Check("machine", True, found + f"{cores} cores")


def _int8() -> Check:
    """INT8 pays off where the CPU multiplies bytes; the flags are Linux's own names."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return Check("fast INT8 on the CPU", False, "unknown (no /proc/cpuinfo); measure it: bench")
    names = [name for flag, name in _INT8_FLAGS.items() if flag in words]
    found = ", ".join(names) or "no dot-product instructions; measure before you deploy INT8: bench"
    return Check("fast INT8 on the CPU", bool(names), found)


def _module(what: str, module: str, distribution: str | None, install: str) -> Check:
    """A package that must import, not only be there."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return Check(what, False, " ".join(str(error).split())[:200], install)
    version = f"{distribution} {metadata.version(distribution)}" if distribution else "built"
    return Check(what, True, version)


def _installed(what: str, packages: tuple[str, ...], extra: str) -> Check:
    """Packages of an extra, looked for without importing them: some take seconds to load."""
    missing = [name for name in packages if not _present(name)]
    if missing:
        return Check(what, False, f"without {', '.join(missing)}", _install_line(extra))
    return Check(what, True, ", ".join(f"{name} {_version(name)}" for name in packages))


def _present(package: str) -> bool:
    """Whether ``package`` has code: type stubs alone leave a folder without a loader."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.loader is not None


def _install_line(extra: str) -> str:
    return f'pip install "edgemtl[{extra}]"'


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(version unknown)"


def _models() -> Check:
    names = shipped_models()
    return Check("shipped models", bool(names), ", ".join(names) or "none", "pip install .")


def _gpu() -> Check:
    """NVIDIA's driver library, asked through its C interface: it needs no toolkit."""
    library = ctypes.util.find_library("cuda")
    if library is None:
        return Check("NVIDIA GPU", False, "no driver (libcuda)")
    cuda = ctypes.CDLL(library)
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or not count.value:
        return Check("NVIDIA GPU", False, "a driver, but no device")
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGetName(name, len(name), 0)
    return Check("NVIDIA GPU", True, f"{count.value} x {name.value.decode(errors='replace')}")


def _builder() -> Check:
    found = [name for name in ("tensorrt", "tensorrt_rtx") if _present(name)]
    if found:
        names = ", ".join(f"{name} {_version(name.replace('_', '-'))}" for name in found)
        return Check("building engines", True, names)
    line = f"{_install_line('tensorrt')}, or without a GPU: {_install_line('rtx')}"
    return Check("building engines", False, "without tensorrt and tensorrt_rtx", line)


def _cameras() -> Check:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    return Check("cameras", bool(devices), ", ".join(devices) or "none under /dev/video*")
