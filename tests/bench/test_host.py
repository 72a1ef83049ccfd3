"""Facts of the machine: the ones that always exist, and those read from files that may not."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from jetson_boards import BOARDS, Files, agx_orin, half_readable, orin_nano, thor, write_board

from edgemtl import system_files
from edgemtl.bench import host
from edgemtl.bench.host import board_line, conditions, host_facts


def test_facts_of_this_machine() -> None:
    facts = host_facts()
    json.dumps(facts, allow_nan=False)
    assert facts["cpu"]
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    assert facts["python"] == platform.python_version()
    assert platform.machine() in facts["system"]
    assert facts["packages"]["numpy"] == metadata.version("numpy")
    assert facts["packages"]["edgemtl"] == metadata.version("edgemtl")
    assert all(isinstance(version, str) for version in facts["packages"].values())


def test_conditions_of_this_machine() -> None:
    found = conditions()
    json.dumps(found, allow_nan=False)
    assert all(isinstance(value, float) for value in found.values())
    if hasattr(os, "getloadavg"):
        assert found["load_1min"] >= 0


INTEL = "processor : 0\nmodel name : Xeon 1\nflags : fpu avx2 avx512_vnni sse\ncpu MHz : 2100.5\n"
JETSON = "processor : 0\nFeatures : fp asimd asimddp\nModel : NVIDIA Jetson Orin\n"


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "command", lambda *words: None)


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(
    ("cpuinfo", "cpu", "instructions", "clock"),
    [
        (INTEL, "Xeon 1", ["avx2", "avx512_vnni"], 2100.5),
        (JETSON, "NVIDIA Jetson Orin", ["asimddp"], None),
        ("", None, [], None),
    ],
)
def test_processors(
    tmp_path: Path, cpuinfo: str, cpu: str | None, instructions: list[str], clock: float | None
) -> None:
    root = write_board(
        tmp_path, {"proc/cpuinfo": cpuinfo, "proc/meminfo": "MemTotal: 8388608 kB\n"}
    )
    facts = host_facts(root)
    assert facts["cpu"] == (cpu or platform.processor() or "unknown")
    assert facts["instructions"] == instructions
    assert facts["memory_gib"] == 8.0
    assert conditions(root).get("clock_mhz") == clock
    assert {"gpu", "jetson", "governor"}.isdisjoint(facts)
    assert board_line(facts) is None


@pytest.mark.usefixtures("no_programs")
def test_the_kernels_clock_comes_first(tmp_path: Path) -> None:
    clock = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    root = write_board(tmp_path, {"proc/cpuinfo": INTEL, clock: "1800000"})
    assert conditions(root)["clock_mhz"] == 1800.0


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(
    ("files", "facts", "line"),
    [
        (
            orin_nano(),
            {"model": "NVIDIA Jetson Orin Nano Developer Kit", "soc": "tegra234",
             "release": "JetPack 6.2 (L4T 36.4.3)", "tensorrt": "10.3.0.30", "power_mode": "15W",
             "clocks_fixed": False, "power_counted": "VDD_IN"},
            "NVIDIA Jetson Orin Nano Developer Kit, JetPack 6.2 (L4T 36.4.3), 15W, clocks vary",
        ),
        (
            agx_orin(),
            {"model": "NVIDIA Jetson AGX Orin Developer Kit", "soc": "tegra234",
             "release": "JetPack 6.1 (L4T 36.4.0)", "tensorrt": "10.3.0.30", "power_mode": "MAXN",
             "clocks_fixed": True, "power_counted": "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"},
            "NVIDIA Jetson AGX Orin Developer Kit, JetPack 6.1 (L4T 36.4.0), MAXN, clocks fixed",
        ),
        (
            half_readable(), {"soc": "tegra234", "release": "JetPack unknown"},
            "Jetson, JetPack unknown",
        ),
    ],
)  # fmt: skip
def test_jetsons(tmp_path: Path, files: Files, facts: dict[str, Any], line: str) -> None:
    found = host_facts(write_board(tmp_path, files))
    assert found["jetson"] == facts
    assert board_line(found) == line


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(
    ("files", "want"),
    [
        (orin_nano(), {"gpu_clock_mhz": 918.0, "gpu_load_percent": 43.7, "power_w": 6.0}),
        (agx_orin(), {"gpu_clock_mhz": 918.0, "gpu_load_percent": 100.0, "power_w": 16.4}),
        (thor(), {"gpu_clock_mhz": 918.0, "power_w": 23.5}),
        (half_readable(), {}),
    ],
)
def test_conditions_of_jetsons(tmp_path: Path, files: Files, want: dict[str, float]) -> None:
    found = conditions(write_board(tmp_path, files))
    found.pop("load_1min", None)
    assert found == pytest.approx(want)


@pytest.mark.parametrize("name", BOARDS)
def test_facts_of_every_board_are_json(tmp_path: Path, name: str) -> None:
    root = write_board(tmp_path, BOARDS[name]())
    json.dumps([host_facts(root), conditions(root)], allow_nan=False)


def test_a_program_that_knows_nothing_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "command", lambda *words: "[N/A], 50, [Not Supported]")
    found = conditions(write_board(tmp_path, orin_nano()))
    assert found["gpu_clock_mhz"] == 918.0
    assert found["gpu_temperature_c"] == 50.0
    assert "gpu_power_w" not in found


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ("1410, 45, 62.5", {"gpu_clock_mhz": 1410, "gpu_temperature_c": 45, "gpu_power_w": 62.5}),
        ("1410, 45, [N/A]", {"gpu_clock_mhz": 1410, "gpu_temperature_c": 45}),
        ("1, 2, 3\n4, 5, 6", {"gpu_clock_mhz": 1, "gpu_temperature_c": 2, "gpu_power_w": 3}),
        ("no devices", {}),
        (None, {}),
    ],
)
def test_accelerators(
    monkeypatch: pytest.MonkeyPatch, said: str | None, want: dict[str, float]
) -> None:
    monkeypatch.setattr(host, "command", lambda *words: said)
    found = conditions()
    assert {key: value for key, value in found.items() if key.startswith("gpu_")} == want


def test_programs_that_fail_are_no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert system_files.command("edgemtl-no-such-program") is None
    assert system_files.command("python3", "-c", "raise SystemExit(3)") is None
    assert system_files.command("python3", "-c", "print(' x ')") == "x"

    def slow(*arguments: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("python3", 5)

    monkeypatch.setattr(subprocess, "run", slow)
    assert system_files.command("python3", "-c", "pass") is None


def test_numbers_and_files(tmp_path: Path) -> None:
    assert system_files.number("12.5") == 12.5
    assert system_files.number("[N/A]") is None
    assert system_files.number(None) is None
    assert system_files.number("nan") is None
    assert system_files.number("-inf") is None
    (tmp_path / "model").write_bytes(b"Jetson Orin\0")
    assert system_files.read_text(tmp_path / "model") == "Jetson Orin"
    (tmp_path / "empty").write_bytes(b"\n")
    assert system_files.read_text(tmp_path / "empty") is None
    assert system_files.read_text(tmp_path / "absent") is None
    assert system_files.read_text(tmp_path) is None
    assert system_files.read_number(tmp_path / "model") is None
    (tmp_path / "bytes").write_bytes(b"\xff 1\n")
    assert system_files.read_text(tmp_path / "bytes") == "\ufffd 1"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("MemTotal:       8388608 kB\n", 8.0),
        ("MemFree: 1 kB\nMemTotal: 4194304 kB\nMemTotal: 1 kB\n", 4.0),
        ("MemTotal:\n", None),
        ("MemTotal: much kB\n", None),
        ("MemTotal 8388608\n", None),
        ("", None),
    ],
)
def test_memory(tmp_path: Path, text: str, want: float | None) -> None:
    root = write_board(tmp_path, {"proc/meminfo": text})
    assert system_files.memory_gib("MemTotal", root) == want
