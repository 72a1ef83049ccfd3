"""What changes on a Jetson while it runs: power mode, clocks, load of the GPU, power.

Other machines have none of these files, and get None. Rails and their meaning: docs/jetson.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgemtl.system_files import ROOT, command, read_number, read_text

_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=([^\s>]+)", re.ASCII | re.MULTILINE)
_GPU = re.compile(r"(?:.*\.)?(?:gpu|ga10b|gv11b|gp10b)|gpu-gpc-0")
_TOTALS = (
    ("VDD_IN",),
    ("VIN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
)
"""What is counted as the whole, the first that a board has: the module's input (Orin Nano and NX);
the input of board and carrier (Thor's developer kit); on AGX Orin no rail holds the others, and
these three do not overlap (VDDQ_VDD2_1V8AO is part of VIN_SYS_5V0)."""


@dataclass(frozen=True, slots=True)
class Power:
    """Watts, and the rails that they are the sum of."""

    watts: float
    counted: str


def power_modes(root: Path = ROOT) -> dict[int, str]:
    """The modes that the board has, name by number."""
    text = read_text(root / "etc/nvpmodel.conf") or ""
    return {int(number): name for number, name in _MODE.findall(text)}


def fastest_mode(root: Path = ROOT) -> tuple[int, str] | None:
    """Number and name of the mode without a power limit."""
    for wanted in ("MAXN_SUPER", "MAXN"):
        for number, name in power_modes(root).items():
            if name == wanted:
                return number, name
    return None


def power_mode(root: Path = ROOT) -> str | None:
    """The name of the present mode, such as ``15W``; ``mode 9`` if the number has no name."""
    status = re.search(
        r"pmode:(\d{1,4})(?!\d)", read_text(root / "var/lib/nvpmodel/status") or "", re.ASCII
    )
    if status:
        number = int(status[1])
        return power_modes(root).get(number, f"mode {number}")
    said = command("nvpmodel", "-q") if root == ROOT else None
    found = re.search(r"NV Power Mode: *(\S+)", said or "")
    return found[1] if found else None


def clocks_fixed(root: Path = ROOT) -> bool | None:
    """Whether the clocks of CPU and GPU cannot change, as after ``jetson_clocks``.

    None where one of the two does not tell and the other is fixed. A core that is switched off
    does not tell, and does not count.
    """
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    cpu = [_fixed(policy, "scaling_min_freq", "scaling_max_freq") for policy in policies]
    folder = _gpu(root)
    gpu = _fixed(folder, "min_freq", "max_freq") if folder else None
    if False in (*cpu, gpu):
        return False
    return True if True in cpu and gpu else None


def _fixed(folder: Path, low: str, high: str) -> bool | None:
    limits = read_number(folder / low), read_number(folder / high)
    return None if None in limits else limits[0] == limits[1]


def gpu_clock_mhz(root: Path = ROOT) -> float | None:
    gpu = _gpu(root)
    hertz = read_number(gpu / "cur_freq") if gpu else None
    return None if hertz is None else hertz / 1e6


def gpu_load_percent(root: Path = ROOT) -> float | None:
    """Of Orin and older ones; the kernel tells it in tenths."""
    gpu = _gpu(root)
    places = [gpu / "device/load"] if gpu else []
    for place in (*places, root / "sys/devices/platform/gpu.0/load"):
        tenths = read_number(place)
        if tenths is not None:
            return tenths / 10
    return None


def total_power(root: Path = ROOT) -> Power | None:
    """What the whole board takes, as far as its monitors see it; None without them."""
    rails = power_rails(root)
    for names in _TOTALS:
        if rails.keys() >= set(names):
            return Power(sum(rails[name] for name in names), " + ".join(names))
    return None


def power_rails(root: Path = ROOT) -> dict[str, float]:
    """Watts of every rail that an INA monitor of Texas Instruments watches, by name."""
    rails = {}
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if not (read_text(chip / "name") or "").startswith("ina"):
            continue
        labels = {path.name[2:].split("_")[0]: path for path in chip.glob("in*_label")}
        for channel, label in (labels or {"1": chip / "label"}).items():
            name, watts = read_text(label), _channel_watts(chip, channel)
            if name is not None and watts is not None:
                rails[name] = watts
    return rails


def _channel_watts(chip: Path, channel: str) -> float | None:
    """Microwatts where the monitor multiplies itself (INA238), else mV and mA (INA3221)."""
    microwatts = read_number(chip / f"power{channel}_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts = read_number(chip / f"in{channel}_input")
    milliamperes = read_number(chip / f"curr{channel}_input")
    if millivolts is None or milliamperes is None:
        return None
    return millivolts * milliamperes / 1e6


def _gpu(root: Path) -> Path | None:
    """The GPU's folder among the devices whose clock the kernel sets."""
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        if _GPU.fullmatch(device.name):
            return device
    return None
