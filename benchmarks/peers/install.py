"""Environments of the peers, one each as their requirements conflict: DIR/<distribution>.

    python benchmarks/peers/install.py --env DIR [--only boxmot trackers]

Needs uv and Python 3.11. What could not be installed is left out and DIR/peers.json says why. The
peers are measured, never imported by edgemtl, and nothing of them is copied; ultralytics and boxmot
are AGPL-3.0. boxmot ships the sources of C++ trackers in its wheel and builds them by itself with
CMake, given OpenCV 4 and Eigen 3: on Debian their packages are unpacked into DIR, without a change
of the system.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = {
    "trackers": ["trackers"],
    "ultralytics": ["ultralytics", "lap", "onnx", "onnxslim"],
    "boxmot": ["boxmot"],
    "supervision": ["supervision==0.27.0"],
    "norfair": ["norfair"],
    "nvidia-modelopt": ["nvidia-modelopt[onnx]"],
}
"""Distribution -> what to install. supervision 0.28 announces the end of its ByteTrack; later
releases do not have it."""
LICENCES = {
    "trackers": "Apache-2.0", "ultralytics": "AGPL-3.0", "boxmot": "AGPL-3.0",
    "supervision": "MIT", "norfair": "BSD-3-Clause",
    "nvidia-modelopt": "Apache-2.0",
}  # fmt: skip
NATIVE = ("bytetrack", "ocsort", "sfsort")
DEBIAN = (
    "libeigen3-dev", "libopencv-core-dev", "libopencv-core406", "libopencv-imgproc-dev",
    "libopencv-imgproc406", "libtbb12", "libtbbmalloc2", "libtbbbind-2-5", "libhwloc15",
    "liblapack3", "libblas3", "libgfortran5",
)  # fmt: skip
CONFIG = """get_filename_component(_usr "${CMAKE_CURRENT_LIST_DIR}/usr" ABSOLUTE)
set(OpenCV_FOUND TRUE)
set(OpenCV_VERSION 4.6.0)
set(OpenCV_INCLUDE_DIRS "${_usr}/include/opencv4")
file(GLOB OpenCV_LIBS "${_usr}/lib/*/libopencv_core.so" "${_usr}/lib/*/libopencv_imgproc.so")
"""
VERSION = """set(PACKAGE_VERSION 4.6.0)
set(PACKAGE_VERSION_COMPATIBLE TRUE)
"""


def environment(folder: Path, distribution: str) -> str:
    """Make one environment; its installed version. CalledProcessError says why it failed."""
    python = folder / distribution / "bin" / "python"
    _call("uv", "venv", "--quiet", "--clear", "--python", "3.11", str(folder / distribution))
    _call("uv", "pip", "install", "--quiet", "--python", str(python), *PEERS[distribution])
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return _call(str(python), "-c", code).strip()


def native(folder: Path) -> str:
    """Build boxmot's C++ trackers with its own build step; the compiler's first line."""
    prefix = folder / "native"
    shutil.rmtree(prefix, ignore_errors=True)
    (prefix / "debs").mkdir(parents=True)
    _call("apt-get", "download", "-qq", *DEBIAN, cwd=prefix / "debs")
    for package in sorted((prefix / "debs").glob("*.deb")):
        _call("dpkg", "-x", str(package), str(prefix))
    (prefix / "OpenCVConfig.cmake").write_text(CONFIG)
    (prefix / "OpenCVConfigVersion.cmake").write_text(VERSION)
    libraries = native_libraries(folder)
    environ = {
        **os.environ, "OpenCV_DIR": str(prefix), "LD_LIBRARY_PATH": libraries,
        "Eigen3_DIR": str(prefix / "usr/share/eigen3/cmake"),
        "LDFLAGS": " ".join(f"-Wl,-rpath-link,{path}" for path in libraries.split(":")),
    }  # fmt: skip
    code = "; ".join(
        f"from boxmot.native.trackers.{name} import ensure_{name}_cpp_library as e; print(e())"
        for name in NATIVE
    )
    _call(str(folder / "boxmot/bin/python"), "-c", code, env=environ)
    return _call("c++", "--version").splitlines()[0]


def native_libraries(folder: Path) -> str:
    """LD_LIBRARY_PATH of the unpacked libraries; '' where the C++ trackers were not built."""
    found = (folder / "native" / "usr" / "lib").glob("*-linux-gnu")
    paths = [path for base in found for path in (base, base / "lapack", base / "blas")]
    return ":".join(str(path) for path in paths)


def _call(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip()[-600:])
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--only", nargs="*", choices=[*PEERS, "boxmot-cpp"], default=None)
    arguments = parser.parse_args()
    folder = arguments.env.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "peers.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    for name in arguments.only or [*PEERS, "boxmot-cpp"]:
        print(f"{name} ...", file=sys.stderr)
        try:
            if name == "boxmot-cpp":
                made = {"version": known["boxmot"]["version"], "compiler": native(folder)}
            else:
                made = {"version": environment(folder, name)}
            known[name] = {**made, "licence": LICENCES[name.removesuffix("-cpp")]}
        except (OSError, RuntimeError, KeyError) as error:
            known[name] = {"skipped": str(error)}
        record.write_text(json.dumps(known, indent=1) + "\n")
    print(json.dumps(known, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
