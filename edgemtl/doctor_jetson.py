"""What a Jetson can do with edgemtl: board, memory, clocks, JetPack's TensorRT, what to install.

TensorRT comes with JetPack there. pip's package of this name is not JetPack's, and does not fit
all of them, so the extra ``tensorrt`` is never advised.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from edgemtl.doctor_check import Check, present, version
from edgemtl.jetson import MIN_TENSORRT, Jetson, version_numbers
from edgemtl.jetson_state import clocks_fixed, fastest_mode, power_mode, total_power
from edgemtl.system_files import memory_gib

TENSORRT = "sudo apt install tensorrt python3-libnvinfer"
ENVIRONMENT = "/usr/bin/python3 -m venv --system-site-packages edge && edge/bin/pip install ."
PYCUDA = "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"
CUDA = "sudo apt install nvidia-jetpack"
_LITTLE_GIB = 5.0
_LITTLE = (
    "build with --workspace-mb 256, with swap on a disk, and without the desktop "
    "(sudo systemctl set-default multi-user.target, then a restart)"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that asks: its version, such as ``3.10``, and what it sees; None: not there."""

    python: str
    in_environment: bool
    tensorrt: str | None
    pycuda: str | None

    @staticmethod
    def running() -> Interpreter:
        seen = {name: version(name) if present(name) else None for name in ("tensorrt", "pycuda")}
        python = ".".join(platform.python_version_tuple()[:2])
        return Interpreter(python, sys.prefix != sys.base_prefix, **seen)


def board_checks(board: Jetson, root: Path) -> list[Check]:
    """Board, memory, power mode, power reading."""
    return [_board(board), _memory(root), _power_mode(root), _power(root)]


def engine_checks(board: Jetson, me: Interpreter, root: Path) -> list[Check]:
    """TensorRT of JetPack, and whether ``me`` can build engines with it and run them."""
    return [_libraries(board), _building(board, me), _running(board, me, root)]


def _old(board: Jetson) -> bool:
    """JetPack 5 and older ones: no engines, whatever is installed."""
    return board.generation is not None and board.generation < 6


def _board(board: Jetson) -> Check:
    found = f"{board.model or 'a board without a readable name'}, {board.release}"
    if not _old(board):
        return Check("Jetson", True, found)
    orin = board.family == "Orin"
    never = f", which {board.family} boards do not get" if board.family and not orin else ""
    found += f"; engines need JetPack 6.1 or newer{never}; .onnx files run on the CPU"
    return Check("Jetson", False, found, "flash JetPack 6.1 or newer" if orin else None)


def _memory(root: Path) -> Check:
    what = "memory for building engines"
    total, swap = memory_gib("MemTotal", root), memory_gib("SwapTotal", root)
    if total is None:
        return Check(what, False, "unknown (no /proc/meminfo)")
    found = f"{total} GiB, shared by CPU and GPU"
    found += "" if swap is None else f", swap {swap} GiB"
    return Check(what, total >= _LITTLE_GIB, found, None if total >= _LITTLE_GIB else _LITTLE)


def _power_mode(root: Path) -> Check:
    """Known or not: no mode is wrong, but a latency without it says little."""
    mode, fixed, fastest = power_mode(root), clocks_fixed(root), fastest_mode(root)
    words = {
        True: "clocks fixed",
        False: "clocks vary (sudo jetson_clocks fixes them)",
        None: "clocks unknown",
    }
    found = f"{mode or 'unknown'}, {words[fixed]}"
    if mode is not None and fastest is not None and mode != fastest[1]:
        found += f"; the fastest mode is {fastest[1]} (sudo nvpmodel -m {fastest[0]})"
    return Check("power mode", mode is not None, found)


def _power(root: Path) -> Check:
    power = total_power(root)
    if power is None:
        return Check("power reading", False, "no monitor of the whole board is readable")
    return Check("power reading", True, f"{power.watts:.1f} W now ({power.counted})")


def _too_old(tensorrt: str | None) -> bool:
    numbers = version_numbers(tensorrt)
    return bool(numbers) and numbers < MIN_TENSORRT


def _libraries(board: Jetson) -> Check:
    what = "TensorRT of JetPack"
    if board.tensorrt is None:
        return Check(what, False, "not installed", None if _old(board) else TENSORRT)
    if not _too_old(board.tensorrt):
        return Check(what, True, board.tensorrt)
    wanted = ".".join(map(str, MIN_TENSORRT))
    install = None if _old(board) else f"update to JetPack 6.1 or newer, then {TENSORRT}"
    return Check(what, False, f"{board.tensorrt}, and edgemtl needs {wanted}", install)


def _building(board: Jetson, me: Interpreter) -> Check:
    """JetPack's Python package is compiled for the system's Python, and lies among its packages."""
    what = "building engines"
    if me.tensorrt is not None:
        mine, own = version_numbers(me.tensorrt), version_numbers(board.bindings)
        other = bool(mine) and bool(own) and own[: len(mine)] != mine
        found = f"tensorrt {me.tensorrt}" + (f", not JetPack's {board.bindings}" if other else "")
        return Check(what, not _too_old(me.tensorrt), found)
    if board.bindings is None:  # without the libraries too, their own check has the line
        install = None if _old(board) or board.tensorrt is None else TENSORRT
        return Check(what, False, "without TensorRT's Python package", install)
    found, install = f"JetPack's tensorrt {board.bindings}", ENVIRONMENT
    if board.bindings_python is not None and board.bindings_python != me.python:
        found += f" is for Python {board.bindings_python}, this is {me.python}"
    elif me.in_environment:
        found += " is hidden from this virtual environment"
    else:
        found += " is installed, and this Python does not find it"
        install = "sudo apt install --reinstall python3-libnvinfer"
    return Check(what, False, found, None if _old(board) else install)


def _running(board: Jetson, me: Interpreter, root: Path) -> Check:
    what = "running engines"
    if me.pycuda is not None:
        return Check(what, me.tensorrt is not None, f"pycuda {me.pycuda}")
    found, install = "without pycuda", PYCUDA
    if not (root / "usr/local/cuda/include/cuda.h").is_file():
        found, install = (
            f"{found} and CUDA's headers, which it is built with",
            f"{CUDA}, then {PYCUDA}",
        )
    return Check(what, False, found, None if _old(board) else install)
