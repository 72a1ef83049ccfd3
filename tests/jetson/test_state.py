"""Power mode, clocks, load and power of recorded system files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jetson_boards import (
    CPU,
    GPU,
    HWMON,
    NVPMODEL_NANO,
    Files,
    agx_orin,
    clocks,
    half_readable,
    monitor,
    orin_nano,
    pc,
    thor,
    write_board,
    xavier,
)

from edgemtl import jetson_state
from edgemtl.jetson_state import (
    Power,
    clocks_fixed,
    fastest_mode,
    gpu_clock_mhz,
    gpu_load_percent,
    power_mode,
    power_modes,
    power_rails,
    total_power,
)

STATUS, CONF = "var/lib/nvpmodel/status", "etc/nvpmodel.conf"


@pytest.mark.parametrize(
    ("files", "mode", "fastest", "fixed", "clock", "load"),
    [
        (orin_nano, "15W", (2, "MAXN_SUPER"), False, 918.0, 43.7),
        (agx_orin, "MAXN", (0, "MAXN"), True, 918.0, 100.0),
        (thor, "120W", (0, "MAXN"), False, 918.0, None),
        (xavier, None, None, None, None, None),
        (half_readable, None, None, None, None, None),
        (pc, None, None, None, None, None),
        (dict, None, None, None, None, None),
    ],
)
def test_boards(
    tmp_path: Path,
    files: Callable[[], Files],
    mode: str | None,
    fastest: tuple[int, str] | None,
    fixed: bool | None,
    clock: float | None,
    load: float | None,
) -> None:
    root = write_board(tmp_path, files())
    assert power_mode(root) == mode
    assert fastest_mode(root) == fastest
    assert clocks_fixed(root) is fixed
    assert gpu_clock_mhz(root) == clock
    assert gpu_load_percent(root) == load


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({STATUS: "pmode:0002\n", CONF: NVPMODEL_NANO}, "MAXN_SUPER"),
        ({STATUS: "pmode:0002 fmode:quiet", CONF: NVPMODEL_NANO}, "MAXN_SUPER"),
        ({STATUS: "pmode:0009\n", CONF: NVPMODEL_NANO}, "mode 9"),
        ({STATUS: "pmode:0001\n"}, "mode 1"),
        ({STATUS: "pmode:\n", CONF: NVPMODEL_NANO}, None),
        ({CONF: NVPMODEL_NANO}, None),
    ],
)
def test_power_modes(tmp_path: Path, files: Files, want: str | None) -> None:
    assert power_mode(write_board(tmp_path, files)) == want


def test_a_comment_is_no_mode(tmp_path: Path) -> None:
    root = write_board(tmp_path, {CONF: NVPMODEL_NANO})
    assert power_modes(root) == {0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"}


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ("NV Power Mode: 25W\n1", "25W"),
        ("NVPM VERB: Config file: /etc/nvpmodel.conf\nNV Power Mode: MAXN\n0", "MAXN"),
        ("NVPM ERROR: permission denied", None),
        (None, None),
    ],
)
def test_the_program_is_asked_where_no_file_tells(
    monkeypatch: pytest.MonkeyPatch, said: str | None, want: str | None
) -> None:
    monkeypatch.setattr(jetson_state, "command", lambda *words: said)
    monkeypatch.setattr(jetson_state, "read_text", lambda path: None)
    assert power_mode() == want
    assert power_mode(Path("elsewhere")) is None


SAME, VARY = ("1000\n", "1000\n"), ("500\n", "1000\n")


@pytest.mark.parametrize(
    ("cpu", "gpu", "want"),
    [
        ({0: SAME, 4: SAME}, SAME, True),
        ({0: SAME, 4: VARY}, SAME, False),
        ({0: SAME}, VARY, False),
        ({0: VARY}, ("", "1000"), False),
        ({0: SAME}, ("", "1000"), None),
        ({0: SAME, 4: ("", "")}, SAME, True),
        ({0: ("", "")}, SAME, None),
        ({}, SAME, None),
    ],
)
def test_fixed_clocks(
    tmp_path: Path, cpu: dict[int, tuple[str, str]], gpu: tuple[str, str], want: bool | None
) -> None:
    root = write_board(tmp_path, clocks("17000000.gpu", cpu, gpu))
    assert clocks_fixed(root) is want


@pytest.mark.parametrize(
    ("device", "want"),
    [
        ("17000000.gpu", 918.0),
        ("17000000.ga10b", 918.0),
        ("17000000.gv11b", 918.0),
        ("gpu-gpc-0", 918.0),
        ("gpu-nvd-0", None),
        ("bwmgr", None),
        ("15340000.vic", None),
    ],
)
def test_which_device_is_the_gpu(tmp_path: Path, device: str, want: float | None) -> None:
    assert gpu_clock_mhz(write_board(tmp_path, clocks(device, {}, SAME))) == want


def test_clocks_without_a_gpu(tmp_path: Path) -> None:
    root = write_board(
        tmp_path, {f"{CPU}/policy0/scaling_{end}_freq": "1000\n" for end in ("min", "max")}
    )
    assert clocks_fixed(root) is None
    assert gpu_clock_mhz(root) is None


@pytest.mark.parametrize(
    ("files", "want"),
    [
        (orin_nano, Power(6.0, "VDD_IN")),
        # 9.5 + 1.9 + 5: the memory's 1 W is part of the 5 V rail
        (agx_orin, Power(16.4, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0")),
        (thor, Power(23.5, "VIN")),
        (xavier, None),
        (half_readable, None),
        (pc, None),
    ],
)
def test_total_power(tmp_path: Path, files: Callable[[], Files], want: Power | None) -> None:
    found = total_power(write_board(tmp_path, files()))
    if want is None or found is None:
        assert found is want
        return
    assert found.watts == pytest.approx(want.watts)
    assert found.counted == want.counted


@pytest.mark.parametrize(
    ("files", "want"),
    [
        (monitor(0, {1: ("VDD_GPU", 25000, -16)}), {"VDD_GPU": -0.4}),
        (monitor(0, {1: ("VDD_IN", 0, 0), 2: ("NC", 0, 0)}), {"VDD_IN": 0.0, "NC": 0.0}),
        ({f"{HWMON}/hwmon0/name": "ina238\n", f"{HWMON}/hwmon0/label": "VIN\n",
          f"{HWMON}/hwmon0/in1_input": "20000\n", f"{HWMON}/hwmon0/curr1_input": "1000\n"},
         {"VIN": 20.0}),
        ({f"{HWMON}/hwmon0/name": "ina238\n", f"{HWMON}/hwmon0/power1_input": "5\n"}, {}),
        ({f"{HWMON}/hwmon0/name": "pwmfan\n", f"{HWMON}/hwmon0/label": "VDD_IN\n",
          f"{HWMON}/hwmon0/power1_input": "5\n"}, {}),
        ({f"{HWMON}/hwmon0/in1_label": "VDD_IN\n"}, {}),
    ],
)  # fmt: skip
def test_rails(tmp_path: Path, files: Files, want: dict[str, float]) -> None:
    assert power_rails(write_board(tmp_path, files)) == pytest.approx(want)


@pytest.mark.parametrize("gone", ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"])
def test_a_part_is_not_told_as_the_whole(tmp_path: Path, gone: str) -> None:
    files = {
        path: content for path, content in agx_orin().items() if not str(content).startswith(gone)
    }
    assert total_power(write_board(tmp_path, files)) is None


def test_the_load_of_the_older_place(tmp_path: Path) -> None:
    files: Files = {"sys/devices/platform/gpu.0/load": "5\n", f"{GPU}/x.gpu/cur_freq": "1\n"}
    assert gpu_load_percent(write_board(tmp_path, files)) == 0.5
