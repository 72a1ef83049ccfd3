"""Which Jetson this is, with which JetPack, from the system's files alone.

Every function takes the root of the file system, so that recorded files can stand for a board.
Nothing is guessed: what no file tells is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgemtl.system_files import ROOT, read_text

MIN_TENSORRT = (10, 3)
"""The oldest TensorRT that reads the graphs of edgemtl; JetPack 6.1 brought it."""

JETPACKS = {
    "34.1.0": "5.0 DP",
    "34.1.1": "5.0.1 DP",
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "36.5.2": "6.2.3",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
"""JetPack of each release of Jetson Linux (L4T). NVIDIA's JetPack archive, and for 36.4.7, an
update without a JetPack of its own, the packages of boards that have it."""

_GENERATIONS = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}
_FAMILIES = {
    "tegra210": "Nano or TX1",
    "tegra186": "TX2",
    "tegra194": "Xavier",
    "tegra234": "Orin",
    "tegra264": "Thor",
}
_RELEASE = re.compile(
    r"R(\d{1,4}) \(release\), REVISION: (\d{1,4})(?:\.(\d{1,4}))?(?![\d.])", re.ASCII
)
_PACKAGE = re.compile(
    r"^Package: (nvidia-jetpack|python3-libnvinfer|libnvinfer\d{1,4})\n(.*?)(?:^\s*$|\Z)",
    re.ASCII | re.MULTILINE | re.DOTALL,
)
_INSTALLED = re.compile(r"^Status: \S+ \S+ installed$", re.MULTILINE)
_VERSION = re.compile(r"^Version: (?:\d+:)?([\w.]+)", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Jetson:
    """``soc``: ``tegra234`` is Orin. ``tensorrt``: version of JetPack's libraries; ``bindings``:
    of their Python package, which is for ``bindings_python``, such as ``3.10``."""

    model: str | None
    soc: str | None
    l4t: str | None
    jetpack: str | None
    tensorrt: str | None
    bindings: str | None
    bindings_python: str | None

    @property
    def family(self) -> str | None:
        return _FAMILIES.get(self.soc or "")

    @property
    def generation(self) -> int | None:
        """JetPack's first number; known for releases that came after this version too."""
        first = version_numbers(self.jetpack)
        if first:
            return first[0]
        return _GENERATIONS.get(version_numbers(self.l4t)[0]) if self.l4t else None

    @property
    def release(self) -> str:
        """JetPack and L4T in words."""
        if self.l4t is None:
            return f"JetPack {self.jetpack}" if self.jetpack else "JetPack unknown"
        if self.jetpack is None:
            return f"L4T {self.l4t}, a JetPack this version does not know"
        return f"JetPack {self.jetpack} (L4T {self.l4t})"


def read_jetson(root: Path = ROOT) -> Jetson | None:
    """The board of the system under ``root``; None for anything but a Jetson. Raises nothing."""
    l4t, soc = _l4t(root), _soc(root)
    if l4t is None and soc is None:
        return None
    packages = _packages(root)
    libraries = [v for name, v in packages.items() if name.startswith("libnvinfer")]
    return Jetson(
        model=" ".join((read_text(root / "proc/device-tree/model") or "").split()) or None,
        soc=soc,
        l4t=l4t,
        jetpack=packages.get("nvidia-jetpack") or JETPACKS.get(l4t or ""),
        tensorrt=max(libraries, key=version_numbers, default=None),
        bindings=packages.get("python3-libnvinfer"),
        bindings_python=_bindings_python(root),
    )


def is_jetson(root: Path = ROOT) -> bool:
    """As :func:`read_jetson`, from two small files."""
    return _l4t(root) is not None or _soc(root) is not None


def version_numbers(version: str | None) -> tuple[int, ...]:
    """``10.3.0.30`` as numbers that compare; empty where there are none."""
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version or "", re.ASCII))


def _l4t(root: Path) -> str | None:
    """``# R36 (release), REVISION: 4.3, ...`` is 36.4.3."""
    found = _RELEASE.search(read_text(root / "etc/nv_tegra_release") or "")
    return f"{found[1]}.{found[2]}.{found[3] or 0}" if found else None


def _soc(root: Path) -> str | None:
    """Names of the device tree end with a NUL, most special first."""
    names = (read_text(root / "proc/device-tree/compatible") or "").split("\0")
    chips = [name.removeprefix("nvidia,") for name in names]
    return next((chip for chip in chips if chip in _FAMILIES), None)


def _packages(root: Path) -> dict[str, str]:
    """Versions of the installed packages that matter here, without the build's suffix."""
    status = read_text(root / "var/lib/dpkg/status") or ""
    found = {}
    for name, fields in _PACKAGE.findall(status):
        version = _VERSION.search(fields)
        if version and _INSTALLED.search(fields):
            found[name] = version[1]
    return found


def _bindings_python(root: Path) -> str | None:
    """Debian keeps compiled packages in the folder of the Python that they are for."""
    for package in sorted((root / "usr/lib").glob("python3.*/dist-packages/tensorrt")):
        return package.parts[-3].removeprefix("python")
    return None
