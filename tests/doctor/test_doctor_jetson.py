"""What the doctor says on boards that are recorded system files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from jetson_boards import (
    BINDINGS,
    BOARDS,
    CUDA_H,
    Files,
    agx_orin,
    half_readable,
    orin_nano,
    orin_nano_4gb,
    packages,
    pc,
    thor,
    write_board,
    xavier,
)

from edgemtl import doctor
from edgemtl.doctor import examine
from edgemtl.doctor_check import Check, version
from edgemtl.doctor_jetson import (
    CUDA,
    ENVIRONMENT,
    PYCUDA,
    TENSORRT,
    Interpreter,
    board_checks,
    engine_checks,
)
from edgemtl.errors import SourceError
from edgemtl.jetson import JETPACKS, read_jetson
from edgemtl.runtime.source import open_source

BARE = Interpreter("3.10", in_environment=True, tensorrt=None, pycuda=None)
READY = Interpreter("3.10", in_environment=True, tensorrt="10.3.0", pycuda="2025.1")


def _checks(root: Path, files: Files, me: Interpreter = BARE) -> dict[str, Check]:
    board = read_jetson(write_board(root, files))
    assert board is not None
    return {c.what: c for c in [*board_checks(board, root), *engine_checks(board, me, root)]}


@pytest.mark.parametrize(
    ("files", "ok", "found", "install"),
    [
        (orin_nano, True, "NVIDIA Jetson Orin Nano Developer Kit, JetPack 6.2 (L4T 36.4.3)", None),
        (thor, True, "NVIDIA Jetson AGX Thor Developer Kit, JetPack 7.1 (L4T 38.4.0)", None),
        (half_readable, True, "a board without a readable name, JetPack unknown", None),
        (
            xavier, False,
            "Jetson-AGX, JetPack 5.1.2 (L4T 35.4.1); engines need JetPack 6.1 or newer, which "
            "Xavier boards do not get; .onnx files run on the CPU",
            None,
        ),
    ],
)  # fmt: skip
def test_the_board(
    tmp_path: Path, files: Callable[[], Files], ok: bool, found: str, install: str | None
) -> None:
    assert _checks(tmp_path, files())["Jetson"] == Check("Jetson", ok, found, install)


def test_an_orin_with_the_old_jetpack_is_flashed(tmp_path: Path) -> None:
    files = orin_nano()
    files["etc/nv_tegra_release"] = "# R35 (release), REVISION: 4.1, GCID: 1\n"
    files.update(packages(("nvidia-jetpack", "5.1.2-b104")))
    check = _checks(tmp_path, files)["Jetson"]
    assert (check.ok, check.install) == (False, "flash JetPack 6.1 or newer")


@pytest.mark.parametrize(
    ("files", "ok", "found", "install"),
    [
        (orin_nano, True, "7.4 GiB, shared by CPU and GPU, swap 3.7 GiB", None),
        (orin_nano_4gb, False, "3.5 GiB, shared by CPU and GPU, swap 1.7 GiB",
         "--workspace-mb 256"),
        (half_readable, False, "unknown (no /proc/meminfo)", None),
    ],
)  # fmt: skip
def test_memory(
    tmp_path: Path, files: Callable[[], Files], ok: bool, found: str, install: str | None
) -> None:
    check = _checks(tmp_path, files())["memory for building engines"]
    assert (check.ok, check.found) == (ok, found)
    assert check.install is None if install is None else install in str(check.install)


@pytest.mark.parametrize(
    ("files", "mode", "power"),
    [
        (
            orin_nano,
            "15W, clocks vary (sudo jetson_clocks fixes them); the fastest mode is MAXN_SUPER "
            "(sudo nvpmodel -m 2)",
            "6.0 W now (VDD_IN)",
        ),
        (agx_orin, "MAXN, clocks fixed", "16.4 W now (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)"),
        (half_readable, "unknown, clocks unknown", "no monitor of the whole board is readable"),
    ],
)
def test_power(tmp_path: Path, files: Callable[[], Files], mode: str, power: str) -> None:
    checks = _checks(tmp_path, files())
    assert checks["power mode"].found == mode
    assert checks["power reading"].found == power


@pytest.mark.parametrize(
    ("files", "ok", "found", "install"),
    [
        (orin_nano, True, "10.3.0.30", None),
        (thor, True, "10.13.3.9", None),
        (orin_nano_4gb, False, "not installed", TENSORRT),
        (xavier, False, "8.5.2, and edgemtl needs 10.3", None),
        (half_readable, False, "not installed", TENSORRT),
    ],
)
def test_libraries(
    tmp_path: Path, files: Callable[[], Files], ok: bool, found: str, install: str | None
) -> None:
    check = _checks(tmp_path, files())["TensorRT of JetPack"]
    assert (check.ok, check.found, check.install) == (ok, found, install)


def test_jetpack_6_0_has_a_tensorrt_that_is_too_old(tmp_path: Path) -> None:
    files = orin_nano()
    files["etc/nv_tegra_release"] = "# R36 (release), REVISION: 3.0, GCID: 1\n"
    files.update(packages(("libnvinfer8", "8.6.2.3-1+cuda12.2")))
    check = _checks(tmp_path, files)["TensorRT of JetPack"]
    assert not check.ok
    assert check.install == f"update to JetPack 6.1 or newer, then {TENSORRT}"


@pytest.mark.parametrize(
    ("me", "ok", "found", "install"),
    [
        (READY, True, "tensorrt 10.3.0", None),
        (Interpreter("3.10", True, "11.4.1", None), True,
         "tensorrt 11.4.1, not JetPack's 10.3.0.30", None),
        (Interpreter("3.10", True, "(version unknown)", None), True,
         "tensorrt (version unknown)", None),
        (Interpreter("3.10", True, "8.6.2", None), False,
         "tensorrt 8.6.2, not JetPack's 10.3.0.30", None),
        (BARE, False,
         "JetPack's tensorrt 10.3.0.30 is hidden from this virtual environment", ENVIRONMENT),
        (Interpreter("3.12", True, None, None), False,
         "JetPack's tensorrt 10.3.0.30 is for Python 3.10, this is 3.12", ENVIRONMENT),
        (Interpreter("3.10", False, None, None), False,
         "JetPack's tensorrt 10.3.0.30 is installed, and this Python does not find it",
         "sudo apt install --reinstall python3-libnvinfer"),
    ],
)  # fmt: skip
def test_building(
    tmp_path: Path, me: Interpreter, ok: bool, found: str, install: str | None
) -> None:
    check = _checks(tmp_path, orin_nano(), me)["building engines"]
    assert (check.ok, check.found, check.install) == (ok, found, install)


def test_building_without_the_python_package(tmp_path: Path) -> None:
    files = {**orin_nano(), **packages(("libnvinfer10", "10.3.0.30-1+cuda12.5"))}
    del files[BINDINGS.format("3.10")]
    check = _checks(tmp_path, files)["building engines"]
    assert (check.found, check.install) == ("without TensorRT's Python package", TENSORRT)
    assert _checks(tmp_path / "bare", orin_nano_4gb())["building engines"].install is None


@pytest.mark.parametrize(
    ("me", "headers", "ok", "install"),
    [
        (READY, True, True, None),
        (Interpreter("3.10", True, None, "2025.1"), True, False, None),
        (BARE, True, False, PYCUDA),
        (BARE, False, False, f"{CUDA}, then {PYCUDA}"),
    ],
)
def test_running(
    tmp_path: Path, me: Interpreter, headers: bool, ok: bool, install: str | None
) -> None:
    files = orin_nano()
    if not headers:
        del files[CUDA_H]
    check = _checks(tmp_path, files, me)["running engines"]
    assert (check.ok, check.install) == (ok, install)


@pytest.mark.parametrize("name", BOARDS)
def test_the_whole_report_of_a_board(tmp_path: Path, name: str) -> None:
    checks = examine(write_board(tmp_path, BOARDS[name]()))
    what = [check.what for check in checks]
    assert len(set(what)) == len(what)
    assert {"Jetson", "power mode", "TensorRT of JetPack", "building engines"} <= set(what)
    text = json.dumps([check.to_dict() for check in checks], allow_nan=False)
    assert "edgemtl[tensorrt]" not in text
    assert "edgemtl[rtx]" not in text


def test_an_old_board_is_not_told_to_install_what_does_not_help(tmp_path: Path) -> None:
    checks = _checks(tmp_path, xavier())
    assert [check.install for check in checks.values()] == [None] * len(checks)


@pytest.mark.parametrize("files", [dict, pc])
def test_other_machines_hear_nothing_of_it(tmp_path: Path, files: Callable[[], Files]) -> None:
    text = json.dumps([check.to_dict() for check in examine(write_board(tmp_path, files()))])
    for word in ("Jetson", "JetPack", "nvpmodel"):
        assert word not in text


PAGE = (Path(__file__).parents[2] / "docs" / "jetson.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", [TENSORRT, PYCUDA, CUDA, ENVIRONMENT.split(" && ")[0]])
def test_the_page_has_the_doctors_lines(line: str) -> None:
    assert line in PAGE


@pytest.mark.parametrize("l4t", JETPACKS)
def test_the_page_has_a_row_for_every_release(l4t: str) -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    of_release = [
        row[0] for row in rows if re.search(rf"\b{l4t.split('.')[0]}\b|\b{l4t[:4]}\b", row[1])
    ]
    assert any(JETPACKS[l4t][0] in heading for heading in of_release)


def test_gstreamer_strings_are_refused_as_the_page_says() -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source("nvarguscamerasrc ! nvvidconv ! video/x-raw,format=NV12 ! appsink")


def test_the_running_interpreter() -> None:
    me = Interpreter.running()
    assert sys.version.startswith(f"{me.python}.")
    assert me.in_environment == (sys.prefix != sys.base_prefix)


def test_a_package_without_metadata_and_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """JetPack's OpenCV has no metadata of pip's name; a package may fail in any way."""
    module = ModuleType("edgemtl_no_such_package")
    module.__version__ = "4.8.0"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert version(module.__name__) == "4.8.0"
    assert version("edgemtl_other_package") == "(version unknown)"

    def broken(name: str) -> None:
        raise RuntimeError("compiled for\nanother numpy")

    monkeypatch.setattr("edgemtl.doctor.importlib.import_module", broken)
    check = doctor._module("images and video", "cv2", "pip install opencv-python")
    assert (check.ok, check.found) == (False, "compiled for another numpy")
