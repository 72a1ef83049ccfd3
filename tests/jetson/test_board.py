"""Which board, JetPack and TensorRT recorded system files tell of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from jetson_boards import (
    BOARDS,
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

from edgemtl.errors import MissingExtraError
from edgemtl.jetson import JETPACKS, is_jetson, read_jetson, version_numbers

TRT6 = {"tensorrt": "10.3.0.30", "bindings": "10.3.0.30", "bindings_python": "3.10"}
NO_TRT = {"tensorrt": None, "bindings": None, "bindings_python": None}


@pytest.mark.parametrize(
    ("files", "want", "family", "release"),
    [
        (
            orin_nano,
            {"model": "NVIDIA Jetson Orin Nano Developer Kit", "soc": "tegra234", "l4t": "36.4.3",
             "jetpack": "6.2", **TRT6},
            ("Orin", 6), "JetPack 6.2 (L4T 36.4.3)",
        ),
        (
            orin_nano_4gb,
            {"model": "NVIDIA Jetson Orin Nano Developer Kit", "soc": "tegra234", "l4t": "36.4.3",
             "jetpack": "6.2", **NO_TRT},
            ("Orin", 6), "JetPack 6.2 (L4T 36.4.3)",
        ),
        (
            agx_orin,
            {"model": "NVIDIA Jetson AGX Orin Developer Kit", "soc": "tegra234", "l4t": "36.4.0",
             "jetpack": "6.1", **TRT6},
            ("Orin", 6), "JetPack 6.1 (L4T 36.4.0)",
        ),
        (
            thor,
            {"model": "NVIDIA Jetson AGX Thor Developer Kit", "soc": "tegra264", "l4t": "38.4.0",
             "jetpack": "7.1", "tensorrt": "10.13.3.9", "bindings": "10.13.3.9",
             "bindings_python": "3.12"},
            ("Thor", 7), "JetPack 7.1 (L4T 38.4.0)",
        ),
        (
            xavier,
            {"model": "Jetson-AGX", "soc": "tegra194", "l4t": "35.4.1", "jetpack": "5.1.2",
             "tensorrt": "8.5.2", "bindings": "8.5.2", "bindings_python": "3.8"},
            ("Xavier", 5), "JetPack 5.1.2 (L4T 35.4.1)",
        ),
        (
            half_readable,
            {"model": None, "soc": "tegra234", "l4t": None, "jetpack": None, **NO_TRT},
            ("Orin", None), "JetPack unknown",
        ),
    ],
)  # fmt: skip
def test_boards(
    tmp_path: Path,
    files: Callable[[], Files],
    want: dict[str, Any],
    family: tuple[str, int | None],
    release: str,
) -> None:
    board = read_jetson(write_board(tmp_path, files()))
    assert board is not None
    assert asdict(board) == want
    assert (board.family, board.generation) == family
    assert board.release == release
    assert is_jetson(tmp_path)


@pytest.mark.parametrize("files", [dict, pc])
def test_other_machines_are_none(tmp_path: Path, files: Callable[[], Files]) -> None:
    root = write_board(tmp_path, files())
    assert read_jetson(root) is None
    assert not is_jetson(root)


def test_this_machine_is_told_apart_without_an_error() -> None:
    assert is_jetson() == (read_jetson() is not None)


@pytest.mark.parametrize(
    ("line", "l4t", "jetpack", "generation", "release"),
    [
        ("# R36 (release), REVISION: 4.4, G", "36.4.4", "6.2.1", 6, "JetPack 6.2.1 (L4T 36.4.4)"),
        ("# R36 (release), REVISION: 3.0, GCID", "36.3.0", "6.0", 6, "JetPack 6.0 (L4T 36.3.0)"),
        ("# R39 (release), REVISION: 2.1, G", "39.2.1", "7.2.1", 7, "JetPack 7.2.1 (L4T 39.2.1)"),
        ("# R38 (release), REVISION: 2.2, GCID", "38.2.2", None, 7,
         "L4T 38.2.2, a JetPack this version does not know"),
        ("# R41 (release), REVISION: 1.0", "41.1.0", None, None,
         "L4T 41.1.0, a JetPack this version does not know"),
        ("# R32 (release), REVISION: 7.1, GCID", "32.7.1", None, 4,
         "L4T 32.7.1, a JetPack this version does not know"),
        ("# R36 (release), REVISION: 4.3.2.1, GCID", None, None, None, None),
        ("R36", None, None, None, None),
        ("", None, None, None, None),
        (f"# R{'9' * 5000} (release), REVISION: 1.0", None, None, None, None),
    ],
)  # fmt: skip
def test_releases(
    tmp_path: Path,
    line: str,
    l4t: str | None,
    jetpack: str | None,
    generation: int | None,
    release: str | None,
) -> None:
    board = read_jetson(write_board(tmp_path, {"etc/nv_tegra_release": line}))
    if l4t is None:
        assert board is None
        return
    assert board is not None
    assert (board.l4t, board.jetpack, board.generation) == (l4t, jetpack, generation)
    assert board.release == release


def test_the_table_is_of_releases_and_grows_with_them() -> None:
    assert all(len(version_numbers(l4t)) == 3 for l4t in JETPACKS)
    ordered = sorted(JETPACKS.items(), key=lambda row: version_numbers(row[0]))
    numbers = [version_numbers(jetpack) for _, jetpack in ordered]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("status", "tensorrt", "bindings", "jetpack"),
    [
        # an update of L4T without a JetPack of its own: the package knows
        (packages(("nvidia-jetpack", "6.2.1+b38")), None, None, "6.2.1"),
        (packages(("libnvinfer8", "8.6.2.3-1+cuda12.2"), ("libnvinfer10", "10.3.0.30-1+cuda12.5")),
         "10.3.0.30", None, "6.2.1"),
        (packages(("libnvinfer10", "10.16.2.10-1+cuda13.2"), ("libnvinfer11", "11.4.1.2-1")),
         "11.4.1.2", None, "6.2.1"),
        (packages(("python3-libnvinfer", "1:10.3.0.30~rc-1")), None, "10.3.0.30", "6.2.1"),
        (packages(removed=("libnvinfer10", "nvidia-jetpack")), None, None, "6.2.1"),
        (packages(("libnvinfer-bin", "10.3.0.30-1"), ("libnvinfer10-dev", "10.3.0.30-1")),
         None, None, "6.2.1"),
        ({"var/lib/dpkg/status": ""}, None, None, "6.2.1"),
        ({"var/lib/dpkg/status": b"\xff\0Package: libnvinfer10\n"}, None, None, "6.2.1"),
    ],
)  # fmt: skip
def test_packages(
    tmp_path: Path,
    status: Files,
    tensorrt: str | None,
    bindings: str | None,
    jetpack: str,
) -> None:
    release: Files = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.7, GCID: 1\n"}
    board = read_jetson(write_board(tmp_path, {**release, **status}))
    assert board is not None
    assert (board.tensorrt, board.bindings, board.jetpack) == (tensorrt, bindings, jetpack)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_loses_any_of_its_files(tmp_path: Path, name: str) -> None:
    files = BOARDS[name]()
    for number, gone in enumerate(files):
        kept = {path: content for path, content in files.items() if path != gone}
        board = read_jetson(write_board(tmp_path / str(number), kept))
        assert board is None or board.release


@pytest.mark.parametrize(
    ("extra", "jetson", "want"),
    [
        ("tensorrt", True, "'edgemtl doctor' names the lines for this Jetson"),
        ("tensorrt", False, 'pip install "edgemtl[tensorrt]"'),
        ("openvino", True, 'pip install "edgemtl[openvino]"'),
        (None, True, "pip install tensorrt"),
    ],
)
def test_no_error_advises_pips_tensorrt_on_a_jetson(
    monkeypatch: pytest.MonkeyPatch, extra: str | None, jetson: bool, want: str
) -> None:
    monkeypatch.setattr("edgemtl.errors.is_jetson", lambda: jetson)
    assert MissingExtraError("tensorrt", extra, "building engines").hint == want
