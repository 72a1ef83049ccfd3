"""Facts of the machine that a latency belongs to. What cannot be read is absent, never guessed."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from edgemtl.jetson import read_jetson
from edgemtl.jetson_state import (
    clocks_fixed,
    gpu_clock_mhz,
    gpu_load_percent,
    power_mode,
    total_power,
)
from edgemtl.system_files import ROOT, command, memory_gib, number, read_number, read_text

_PACKAGES = ("edgemtl", "numpy", "opencv-python", "onnxruntime", "openvino", "tensorrt",
             "tensorrt-rtx")  # fmt: skip
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def host_facts(root: Path = ROOT) -> dict[str, Any]:
    """Processor, memory, system, packages and accelerators; JSON's own types only.

    ``root``: of the file system that is asked; the interpreter is always this one.
    """
    facts: dict[str, Any] = {
        "cpu": _cpu_name(root),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "instructions": _instructions(root),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(),
    }
    optional = {
        "memory_gib": memory_gib("MemTotal", root),
        "governor": read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "jetson": _jetson(root),
        "gpu": command("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
    }
    return {**facts, **_known(optional)}


def conditions(root: Path = ROOT) -> dict[str, float]:
    """What changes while one measures: clocks (MHz), temperatures (C), power (W), loads."""
    power = total_power(root)
    found = {
        # first: an idle GPU soon lowers its clock
        "gpu_clock_mhz": gpu_clock_mhz(root),
        "gpu_load_percent": gpu_load_percent(root),
        "clock_mhz": _clock_mhz(root),
        "power_w": power.watts if power else None,
        "temperature_c": _hottest(root),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    gpu = command(
        "nvidia-smi",
        "--query-gpu=clocks.sm,temperature.gpu,power.draw",
        "--format=csv,noheader,nounits",
    )
    if gpu:
        names = ("gpu_clock_mhz", "gpu_temperature_c", "gpu_power_w")
        said = zip(names, map(number, gpu.splitlines()[0].split(",")), strict=False)
        found.update(_known(dict(said)))  # on a Jetson it says [N/A]
    return {key: round(value, 2) for key, value in _known(found).items()}


def board_line(facts: dict[str, Any]) -> str | None:
    """What a reader of a Jetson's latency must know, in one line; None on other machines."""
    jetson = facts.get("jetson")
    if jetson is None:
        return None
    fixed = {True: "clocks fixed", False: "clocks vary"}.get(jetson.get("clocks_fixed"))
    known = (jetson.get("model", "Jetson"), jetson["release"], jetson.get("power_mode"), fixed)
    return ", ".join(part for part in known if part is not None)


def _jetson(root: Path) -> dict[str, Any] | None:
    board = read_jetson(root)
    if board is None:
        return None
    power = total_power(root)
    return _known(
        {
            "model": board.model,
            "soc": board.soc,
            "release": board.release,
            "tensorrt": board.tensorrt,
            "power_mode": power_mode(root),
            "clocks_fixed": clocks_fixed(root),
            "power_counted": power.counted if power else None,
        }
    )


def _known(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}


def _cpuinfo(key: str, root: Path) -> str | None:
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _cpu_name(root: Path) -> str:
    names = (_cpuinfo("model name", root), _cpuinfo("Model", root), platform.processor())
    return next((name for name in names if name), "unknown")


def _instructions(root: Path) -> list[str]:
    words = set((_cpuinfo("flags", root) or _cpuinfo("Features", root) or "").split())
    return [name for name in _INSTRUCTIONS if name in words]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _clock_mhz(root: Path) -> float | None:
    khz = read_number(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return khz / 1000 if khz is not None else number(_cpuinfo("cpu MHz", root))


def _hottest(root: Path) -> float | None:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    readings = [read_number(zone) for zone in zones]
    known = [value / 1000 for value in readings if value is not None and value > 0]
    return max(known, default=None)
