"""pycuda as it is here: absent, built but without a driver, or on a driver in small.

`.ci/pycuda` builds it on a machine without a GPU. Then its import fails for want of libcuda.so.1,
as on every machine without a driver; what a user sees is our error either way.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from engine_files import tiny_engine
from fake_gpu import install_gpu
from small_driver import make_driver, pycuda_library
from tiny_model import write_tiny

from edgemtl.engine import open_session
from edgemtl.engine.gpu import Gpu
from edgemtl.errors import EngineError, MissingExtraError

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"name": "Small GPU", "compute_capability": "8.7"}


def _has_driver() -> bool:
    try:
        return bool(ctypes.CDLL("libcuda.so.1"))
    except OSError:
        return False


needs_no_driver = pytest.mark.skipif(_has_driver(), reason="here is a driver")
needs_pycuda = pytest.mark.skipif(
    pycuda_library() is None, reason="pycuda is not built; .ci/pycuda does it without a driver"
)


def _python(*words: str, driver: Path | None = None, **variables: str) -> Any:
    places = [str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    wanted = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    if driver is not None:
        wanted["LD_LIBRARY_PATH"] = str(driver)
    return subprocess.run(
        [sys.executable, *words],
        env=wanted,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT / "tests",  # not where the sources lie, which may not be built
    )


def _picture(folder: Path) -> Path:
    path = folder / "one.png"
    cv2.imwrite(str(path), np.full((32, 64, 3), 90, np.uint8))
    return path


def _one_line_error(done: Any) -> str:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout == ""
    told = [line for line in done.stderr.splitlines() if not line.startswith("hint:")]
    assert len(told) == 1, done.stderr
    return told[0]


@needs_no_driver
@needs_pycuda
def test_without_a_driver_the_built_pycuda_does_not_import() -> None:
    """The library that it was linked against must not be found when it runs."""
    done = _python("-c", "import pycuda.driver")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: libcuda.so.1: cannot open shared object file"), last


@needs_no_driver
@pytest.mark.parametrize("command", ["run", "bench"])
def test_without_a_driver_the_command_line_says_so(tmp_path: Path, command: str) -> None:
    engine = tiny_engine(tmp_path / "m.engine", gpu=Gpu(**SMALL))
    done = _python("-m", "edgemtl", command, str(engine), "--source", str(_picture(tmp_path)))
    assert "needs an NVIDIA GPU and its driver" in _one_line_error(done)


@needs_no_driver
def test_pycuda_that_does_not_import_is_our_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent, or built and without its driver, on a machine that shows a GPU."""
    built = pycuda_library() is not None
    engine = tiny_engine(tmp_path / "m.engine")
    install_gpu(monkeypatch)
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name)
    words = "pycuda cannot be loaded: .*libcuda" if built else "needs the package 'pycuda'"
    with pytest.raises(EngineError if built else MissingExtraError, match=words) as caught:
        open_session(engine)
    assert ("pip install --force-reinstall" if built else "edgemtl[tensorrt]") in str(
        caught.value.hint
    )


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = pycuda_library()
    assert library is not None
    if shutil.which("cc") is None or shutil.which("nm") is None:
        pytest.skip("no C compiler to make a driver with")
    return make_driver(tmp_path_factory.mktemp("driver"), library)


def _life(tmp_path: Path, driver: Path, **variables: str) -> dict[str, Any]:
    model = write_tiny(tmp_path / "m.onnx")
    done = _python(
        str(ROOT / "tests" / "small_driver.py"), str(model), str(tmp_path / "m.engine"),
        driver=driver, **variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "clean-up operation failed" not in done.stderr
    return json.loads(done.stdout)


@needs_pycuda
@pytest.mark.parametrize("integrated", [False, True])
def test_a_whole_life_on_the_real_pycuda(tmp_path: Path, driver: Path, integrated: bool) -> None:
    told = _life(tmp_path, driver, **({"SMALL_DRIVER_INTEGRATED": "1"} if integrated else {}))
    assert told["checked"], "the build ran its engine"
    assert told["backend"] == "tensorrt 10.3.0 (Small GPU, fp32)"
    assert max(told["apart"]) < 1e-5
    assert told["live"] == [0, 0, 0, 0], "memory, pinned memory, streams, events"
    assert told["depth"] == 0


@needs_pycuda
@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("cuInit", "needs an NVIDIA GPU"),
        ("cuDeviceGet", "needs an NVIDIA GPU"),
        ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain failed"),
        ("cuStreamCreate", "the GPU failed: cuStreamCreate"),
        ("cuEventCreate", "the GPU failed: cuEventCreate"),
        ("cuMemHostAlloc", "MiB of pinned host memory: cuMemHostAlloc"),
        ("cuMemAlloc_v2", "MiB of GPU memory: cuMemAlloc"),
        ("cuMemcpyHtoDAsync_v2", "the GPU failed: cuMemcpyHtoDAsync"),
        ("cuEventSynchronize", "the GPU failed: cuEventSynchronize"),
    ],
)
def test_a_driver_that_fails_is_our_error(
    tmp_path: Path, driver: Path, call: str, words: str
) -> None:
    told = _life(tmp_path, driver, SMALL_DRIVER_FAILS=call)
    assert told["error"] == ("NoDeviceError" if "needs" in words else "EngineError")
    assert words in told["says"]
    assert told["hint"]
    if "needs" not in words:
        assert not (tmp_path / "m.engine").exists(), "an engine that cannot run is not written"


@needs_pycuda
def test_a_driver_without_a_device_on_the_command_line(tmp_path: Path, driver: Path) -> None:
    engine = tiny_engine(tmp_path / "m.engine", gpu=Gpu(**SMALL))
    done = _python(
        "-m", "edgemtl", "run", str(engine), "--source", str(_picture(tmp_path)),
        driver=driver, SMALL_DRIVER_FAILS="cuInit",
    )  # fmt: skip
    assert "needs an NVIDIA GPU and its driver" in _one_line_error(done)
