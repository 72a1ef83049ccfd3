"""Facts of the machine that a latency belongs to. What cannot be read is absent, never guessed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("edgemtl", "numpy", "opencv-python", "onnxruntime", "openvino", "tensorrt",
             "tensorrt-rtx")  # fmt: skip
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def host_facts() -> dict[str, Any]:
    """Processor, memory, system, packages and accelerators; JSON's own types only."""
    facts: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "instructions": _instructions(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(),
    }
    optional = {
        "memory_gib": _memory_gib(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "jetson": _read("/etc/nv_tegra_release") or _read("/proc/device-tree/model"),
        "power_mode": _command("nvpmodel", "-q"),
        "gpu": _command("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
    }
    return {**facts, **{key: value for key, value in optional.items() if value is not None}}


def conditions() -> dict[str, float]:
    """What changes while one measures: clock (MHz), temperature (C), power (W), load."""
    found = {
        "clock_mhz": _clock_mhz(),
        "temperature_c": _hottest(),
        "power_w": _power_w(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    gpu = _command(
        "nvidia-smi",
        "--query-gpu=clocks.sm,temperature.gpu,power.draw",
        "--format=csv,noheader,nounits",
    )
    if gpu:
        names = ("gpu_clock_mhz", "gpu_temperature_c", "gpu_power_w")
        for name, text in zip(names, gpu.splitlines()[0].split(","), strict=False):
            found[name] = _number(text)
    return {key: round(value, 2) for key, value in found.items() if value is not None}


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    except OSError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _command(*words: str) -> str | None:
    if shutil.which(words[0]) is None:
        return None
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _cpuinfo(key: str) -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _cpu_name() -> str:
    return _cpuinfo("model name") or _cpuinfo("Model") or platform.processor() or "unknown"


def _instructions() -> list[str]:
    words = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return [name for name in _INSTRUCTIONS if name in words]


def _memory_gib() -> float | None:
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _clock_mhz() -> float | None:
    khz = _number(_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"))
    return khz / 1000 if khz is not None else _number(_cpuinfo("cpu MHz"))


def _hottest() -> float | None:
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    readings = [_number(_read(zone)) for zone in zones]
    known = [value / 1000 for value in readings if value is not None and value > 0]
    return max(known, default=None)


def _power_w() -> float | None:
    """The board's input rail, where a Jetson's INA monitor shows it (mV and mA)."""
    for label in Path("/sys/class/hwmon").glob("hwmon*/in*_label"):
        if _read(label) in ("VDD_IN", "VIN_SYS_5V0", "VDD_GPU_SOC"):
            number = label.name[2:].split("_")[0]
            volts = _number(_read(label.with_name(f"in{number}_input")))
            amps = _number(_read(label.with_name(f"curr{number}_input")))
            if volts is not None and amps is not None:
                return volts * amps / 1e6
    return None
