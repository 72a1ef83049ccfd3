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

from edgemtl.bench import host
from edgemtl.bench.host import conditions, host_facts


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


def _files(monkeypatch: pytest.MonkeyPatch, content: dict[str, str]) -> None:
    monkeypatch.setattr(host, "_read", lambda path: content.get(str(path)))


@pytest.mark.parametrize(
    ("cpuinfo", "cpu", "instructions", "clock"),
    [
        (INTEL, "Xeon 1", ["avx2", "avx512_vnni"], 2100.5),
        (JETSON, "NVIDIA Jetson Orin", ["asimddp"], None),
        ("", None, [], None),
    ],
)
def test_processors(
    monkeypatch: pytest.MonkeyPatch,
    cpuinfo: str,
    cpu: str | None,
    instructions: list[str],
    clock: float | None,
) -> None:
    _files(monkeypatch, {"/proc/cpuinfo": cpuinfo, "/proc/meminfo": "MemTotal: 8388608 kB\n"})
    monkeypatch.setattr(host, "_command", lambda *words: None)
    facts = host_facts()
    assert facts["cpu"] == (cpu or platform.processor() or "unknown")
    assert facts["instructions"] == instructions
    assert facts["memory_gib"] == 8.0
    assert conditions().get("clock_mhz") == clock
    assert {"gpu", "jetson", "power_mode", "governor"}.isdisjoint(facts)


def test_the_kernels_clock_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    _files(monkeypatch, {"/proc/cpuinfo": INTEL, clock: "1800000"})
    monkeypatch.setattr(host, "_command", lambda *words: None)
    assert conditions()["clock_mhz"] == 1800.0


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
    monkeypatch.setattr(host, "_command", lambda *words: said)
    found = conditions()
    assert {key: value for key, value in found.items() if key.startswith("gpu_")} == want


def test_programs_that_fail_are_no_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host._command("edgemtl-no-such-program") is None
    assert host._command("python3", "-c", "raise SystemExit(3)") is None
    assert host._command("python3", "-c", "print(' x ')") == "x"

    def slow(*arguments: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("python3", 5)

    monkeypatch.setattr(subprocess, "run", slow)
    assert host._command("python3", "-c", "pass") is None


def test_numbers_and_files(tmp_path: Path) -> None:
    assert host._number("12.5") == 12.5
    assert host._number("[N/A]") is None
    assert host._number(None) is None
    (tmp_path / "model").write_bytes(b"Jetson Orin\0")
    assert host._read(tmp_path / "model") == "Jetson Orin"
    (tmp_path / "empty").write_bytes(b"\n")
    assert host._read(tmp_path / "empty") is None
    assert host._read(tmp_path / "absent") is None
