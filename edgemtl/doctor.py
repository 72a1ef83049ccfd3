"""What this machine can do with edgemtl, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path

from edgemtl.doctor_check import Check, present, version
from edgemtl.doctor_jetson import Interpreter, board_checks, engine_checks
from edgemtl.engine.gpu import find_gpu
from edgemtl.jetson import read_jetson
from edgemtl.models import shipped_models
from edgemtl.system_files import ROOT, read_text

_INT8_FLAGS = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "asimddp": "NEON dot product"}


def examine(root: Path = ROOT) -> list[Check]:
    """All checks, base abilities first. Raises nothing: what fails is a check that says so.

    ``root``: of the file system that is asked; the packages are always this interpreter's.
    """
    board = read_jetson(root)
    return [
        _system(),
        *(board_checks(board, root) if board else []),
        _int8(root),
        _module("pre- and post-processing (C)", "edgemtl._native", "pip install ."),
        _module("ONNX Runtime", "onnxruntime", "pip install onnxruntime"),
        _module("model files", "onnx", "pip install onnx"),
        _module("images and video", "cv2", "pip install opencv-python"),
        _models(),
        _installed("training and export", ("torch", "torchvision", "safetensors"), "train"),
        _installed("OpenVINO", ("openvino",), "openvino"),
        _gpu(),
        *(
            engine_checks(board, Interpreter.running(), root)
            if board
            else [_builder(), _installed("running engines", ("tensorrt", "pycuda"), "tensorrt")]
        ),
        _cameras(root),
    ]


def _system() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
    return Check("machine", True, found + f"{cores} cores")


def _int8(root: Path) -> Check:
    """INT8 pays off where the CPU multiplies bytes; the flags are Linux's own names."""
    text = read_text(root / "proc/cpuinfo")
    if text is None:
        return Check("fast INT8 on the CPU", False, "unknown (no /proc/cpuinfo); measure it: bench")
    words = set(text.split())
    names = [name for flag, name in _INT8_FLAGS.items() if flag in words]
    found = ", ".join(names) or "no dot-product instructions; measure before you deploy INT8: bench"
    return Check("fast INT8 on the CPU", bool(names), found)


def _module(what: str, module: str, install: str) -> Check:
    """A package that must import, not only be there."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a package may be broken in any way
        return Check(what, False, " ".join(str(error).split())[:200], install)
    return Check(what, True, "built" if module == "edgemtl._native" else _named(module))


def _installed(what: str, packages: tuple[str, ...], extra: str) -> Check:
    """Packages of an extra, looked for without importing them: some take seconds to load."""
    missing = [name for name in packages if not present(name)]
    if missing:
        return Check(what, False, f"without {', '.join(missing)}", _install_line(extra))
    return Check(what, True, ", ".join(map(_named, packages)))


def _named(package: str) -> str:
    return f"{package} {version(package)}"


def _install_line(extra: str) -> str:
    return f'pip install "edgemtl[{extra}]"'


def _models() -> Check:
    names = shipped_models()
    return Check("shipped models", bool(names), ", ".join(names) or "none", "pip install .")


def _gpu() -> Check:
    gpu = find_gpu()
    return Check("NVIDIA GPU", gpu is not None, str(gpu or "none, or no driver (libcuda)"))


def _builder() -> Check:
    found = [name for name in ("tensorrt", "tensorrt_rtx") if present(name)]
    if found:
        return Check("building engines", True, ", ".join(map(_named, found)))
    line = f"{_install_line('tensorrt')}, or without a GPU: {_install_line('rtx')}"
    return Check("building engines", False, "without tensorrt and tensorrt_rtx", line)


def _cameras(root: Path) -> Check:
    devices = sorted(f"/dev/{path.name}" for path in (root / "dev").glob("video*"))
    return Check("cameras", bool(devices), ", ".join(devices) or "none under /dev/video*")
