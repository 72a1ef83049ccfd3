"""The system files of some boards, as these write them, for tests that have no board."""

from __future__ import annotations

from pathlib import Path

Files = dict[str, "str | bytes"]
"""Content by path below the root of a file system."""

CPU = "sys/devices/system/cpu/cpufreq"
GPU = "sys/class/devfreq"
HWMON = "sys/class/hwmon"
BINDINGS = "usr/lib/python{}/dist-packages/tensorrt/__init__.py"
CUDA_H = "usr/local/cuda/include/cuda.h"

NVPMODEL_NANO = """\
< PARAM TYPE=CLOCK NAME=GPU >
# < POWER_MODEL ID=9 NAME=COMMENTED >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""
NVPMODEL_AGX = """\
< POWER_MODEL ID=0 NAME=MAXN >
< POWER_MODEL ID=1 NAME=MODE_15W >
< POWER_MODEL ID=2 NAME=MODE_30W >
"""


def write_board(root: Path, files: Files) -> Path:
    """The files under ``root``, which is returned."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def identity(model: str, compatible: list[str], release: int, revision: str) -> Files:
    return {
        "proc/device-tree/model": model.encode() + b"\0",
        "proc/device-tree/compatible": b"".join(name.encode() + b"\0" for name in compatible),
        "etc/nv_tegra_release": (
            f"# R{release} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, "
            "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n"
            "TARGET_USERSPACE_LIB_DIR=nvidia\n"
        ),
    }


def memory(total_kib: int, swap_kib: int = 0) -> Files:
    lines = f"MemTotal:        {total_kib} kB\nMemFree:          282012 kB\n"
    return {"proc/meminfo": f"{lines}SwapTotal:       {swap_kib} kB\nHugePages_Total:       0\n"}


def packages(*installed: tuple[str, str], removed: tuple[str, ...] = ()) -> Files:
    """dpkg's list: ``installed`` with their versions, and ``removed`` ones, whose settings stay."""
    rows = [("adduser", "3.118ubuntu5", "install ok installed")]
    rows += [(name, version, "install ok installed") for name, version in installed]
    rows += [(name, "99.0-1", "deinstall ok config-files") for name in removed]
    text = "\n".join(
        f"Package: {name}\nStatus: {status}\nPriority: optional\nArchitecture: arm64\n"
        f"Version: {version}\nDepends: libc6\nDescription: of {name}\n A longer text.\n"
        for name, version, status in rows
    )
    return {"var/lib/dpkg/status": text}


def clocks(gpu: str, policies: dict[int, tuple[str, str]], gpu_limits: tuple[str, str]) -> Files:
    """``policies``: lowest and highest clock of each cluster, as the files have them."""
    files: Files = {
        f"{GPU}/{gpu}/min_freq": gpu_limits[0],
        f"{GPU}/{gpu}/max_freq": gpu_limits[1],
        f"{GPU}/{gpu}/cur_freq": "918000000\n",
    }
    for number, (low, high) in policies.items():
        files[f"{CPU}/policy{number}/scaling_min_freq"] = low
        files[f"{CPU}/policy{number}/scaling_max_freq"] = high
    return files


def monitor(number: int, channels: dict[int, tuple[str, int, int]]) -> Files:
    """An INA3221: label, mV and mA of each channel, and its sum of shunt voltages."""
    chip = f"{HWMON}/hwmon{number}"
    files: Files = {f"{chip}/name": "ina3221\n", f"{chip}/in7_label": "sum of shunt voltages\n"}
    files[f"{chip}/in7_input"] = "760\n"
    for channel, (label, millivolts, milliamperes) in channels.items():
        files[f"{chip}/in{channel}_label"] = f"{label}\n"
        files[f"{chip}/in{channel}_input"] = f"{millivolts}\n"
        files[f"{chip}/curr{channel}_input"] = f"{milliamperes}\n"
    return files


def tensorrt(version: str, soname: int, jetpack: str, python: str) -> Files:
    return {
        **packages(
            ("nvidia-jetpack", jetpack),
            (f"libnvinfer{soname}", version),
            ("python3-libnvinfer", version),
        ),
        BINDINGS.format(python): "",
        CUDA_H: "",
    }


def orin_nano(total_kib: int = 7802912, module: str = "0003") -> Files:
    """Orin Nano developer kit, JetPack 6.2, 15 W, clocks that vary."""
    vary = {0: ("729600\n", "1510400\n"), 4: ("729600\n", "1510400\n")}
    nano = [f"nvidia,p3768-0000+p3767-{module}", f"nvidia,p3767-{module}", "nvidia,tegra234"]
    return {
        **identity("NVIDIA Jetson Orin Nano Developer Kit", nano, 36, "4.3"),
        **memory(total_kib, total_kib // 2),
        **tensorrt("10.3.0.30-1+cuda12.5", 10, "6.2+b77", "3.10"),
        "var/lib/nvpmodel/status": "pmode:0000\n",
        "etc/nvpmodel.conf": NVPMODEL_NANO,
        **clocks("17000000.gpu", vary, ("306000000\n", "624750000\n")),
        f"{GPU}/17000000.gpu/device/load": "437\n",
        f"{HWMON}/hwmon0/name": "tmp451\n",
        **monitor(
            1,
            {
                1: ("VDD_IN", 5000, 1200),
                2: ("VDD_CPU_GPU_CV", 4960, 400),
                3: ("VDD_SOC", 4960, 300),
            },
        ),
    }


def orin_nano_4gb() -> Files:
    """The small module before anything was installed."""
    files = orin_nano(3621000, "0004")
    for name in (CUDA_H, BINDINGS.format("3.10"), "var/lib/dpkg/status"):
        del files[name]
    return {**files, **packages(("nvidia-l4t-core", "36.4.3-20250107174145"))}


def agx_orin() -> Files:
    """AGX Orin, JetPack 6.1, MAXN, after jetson_clocks; two cores' cluster is switched off."""
    fixed = {0: ("2201600\n", "2201600\n"), 8: ("<unsupported>\n", "<unsupported>\n")}
    agx = ["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"]
    return {
        **identity("NVIDIA Jetson AGX Orin Developer Kit", agx, 36, "4"),
        **memory(64349208),
        **tensorrt("10.3.0.30-1+cuda12.5", 10, "6.1+b123", "3.10"),
        "var/lib/nvpmodel/status": "pmode:0000 fmode:quiet\n",
        "etc/nvpmodel.conf": NVPMODEL_AGX,
        **clocks("17000000.gpu", fixed, ("1300500000\n", "1300500000\n")),
        "sys/devices/platform/gpu.0/load": "1000\n",
        **monitor(
            3,
            {
                1: ("VDD_GPU_SOC", 19000, 500),
                2: ("VDD_CPU_CV", 19000, 100),
                3: ("VIN_SYS_5V0", 5000, 1000),
            },
        ),
        **monitor(4, {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5000, 200), 3: ("NC", 0, 0)}),
    }


def thor() -> Files:
    """Thor's developer kit, JetPack 7.1; a monitor of one channel sees the carrier's input."""
    kit = ["nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"]
    vary = {0: ("54000\n", "2601000\n")}
    return {
        **identity("NVIDIA Jetson AGX Thor Developer Kit", kit, 38, "4.0"),
        **memory(128810000),
        **tensorrt("10.13.3.9-1+cuda13.0", 10, "7.1-b90", "3.12"),
        "var/lib/nvpmodel/status": "pmode:0001\n",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n",
        **clocks("gpu-gpc-0", vary, ("315000000\n", "1575000000\n")),
        f"{GPU}/gpu-nvd-0/cur_freq": "1692000000\n",
        f"{GPU}/bwmgr/cur_freq": "4266000000\n",
        **monitor(
            1,
            {
                1: ("VDD_GPU", 25000, -16),
                2: ("VDD_CPU_SOC_MSS", 25000, 240),
                3: ("VIN_SYS_5V0", 5000, 1300),
            },
        ),
        f"{HWMON}/hwmon2/name": "ina238\n",
        f"{HWMON}/hwmon2/label": "VIN\n",
        f"{HWMON}/hwmon2/in0_input": "3\n",
        f"{HWMON}/hwmon2/in1_input": "20000\n",
        f"{HWMON}/hwmon2/curr1_input": "1150\n",
        f"{HWMON}/hwmon2/power1_input": "23500000\n",
    }


def xavier() -> Files:
    """AGX Xavier with the last generation of JetPack that it gets."""
    agx = ["nvidia,p2972-0000", "nvidia,tegra194"]
    return {
        **identity("Jetson-AGX", agx, 35, "4.1"),
        **memory(31300000),
        **tensorrt("8.5.2-1+cuda11.4", 8, "5.1.2-b104", "3.8"),
    }


def half_readable() -> Files:
    """An Orin of which little can be read: broken, empty and senseless files."""
    return {
        "proc/device-tree/model/not_a_file": "",
        "proc/device-tree/compatible": b"nvidia,tegra234\0\xff\xfe",
        "etc/nv_tegra_release": b"# R\xff (release), REVISION: \0\n",
        "var/lib/dpkg/status": "Package: libnvinfer10\nStatus: a b installed\n\nVersion: 1\n",
        "proc/meminfo": "MemTotal:\nMemTotal: much kB\n",
        "var/lib/nvpmodel/status": "pmode:" + "9" * 5000,
        "etc/nvpmodel.conf": b"\x80< POWER_MODEL ID= NAME= >",
        f"{CPU}/policy0/scaling_min_freq": "nan\n",
        f"{CPU}/policy0/scaling_max_freq/folder": "",
        f"{GPU}/17000000.gpu/cur_freq": "\n",
        f"{GPU}/17000000.gpu/device/load": "inf\n",
        f"{HWMON}/hwmon0/name": "ina3221\n",
        f"{HWMON}/hwmon0/in1_label": "VDD_IN\n",
        f"{HWMON}/hwmon0/in1_input": "5000\n",
        f"{HWMON}/hwmon0/curr1_input": "EAGAIN\n",
        f"{HWMON}/hwmon1/in1_label": "VDD_IN\n",
    }


def pc() -> Files:
    """No Jetson: another board with a device tree, and packages of the same names."""
    return {
        "proc/device-tree/model": b"Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/device-tree/compatible": b"raspberrypi,5-model-b\0brcm,bcm2712\0",
        **memory(8255000),
        **packages(("libnvinfer10", "10.9.0.34-1+cuda12.8")),
    }


BOARDS = {
    "orin nano 8 GB": orin_nano,
    "orin nano 4 GB": orin_nano_4gb,
    "agx orin": agx_orin,
    "thor": thor,
    "xavier": xavier,
    "half readable": half_readable,
}
