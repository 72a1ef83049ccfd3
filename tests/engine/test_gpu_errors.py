"""What a user reads when driver, CUDA, pycuda or TensorRT fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from engine_files import open_onnx, tiny_engine
from fake_cuda import FakeGpu
from fake_gpu import install_gpu

from edgemtl.engine.cuda import PyCuda
from edgemtl.engine.gpu import require_gpu
from edgemtl.engine.gpu_errors import gpu_failure
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.errors import EngineError, MissingExtraError


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    gpu = install_gpu(monkeypatch)
    gpu.cuda_version = 11040
    return gpu


@pytest.mark.parametrize(
    ("said", "told", "hint"),
    [
        ("cuMemAlloc failed: out of memory", " (a lot is left)", "close other programs"),
        ("Error Code 2: OutOfMemory (no further information)", " (a lot is left)", "--batch"),
        ("Error Code 1: Cuda Runtime (out of memory)", " (a lot is left)", "smaller batch"),
        (
            "cuInit failed: system has unsupported display driver / cuda driver combination",
            "; the driver supports CUDA 11.4",
            "update the NVIDIA driver",
        ),
        (
            "CUDA driver version is insufficient for CUDA runtime version",
            "; the driver supports CUDA 11.4",
            "JetPack",
        ),
        ("an illegal memory access was encountered", "", "start it again"),
        ("unspecified launch failure", "", "start it again"),
        ("uncorrectable ECC error encountered", "", "start it again"),
        ("Serialization assertion failed", "", "what the caller says"),
        ("invalid argument", "", "what the caller says"),
        ("", "", "what the caller says"),
    ],
)
def test_known_words_have_hints_of_their_own(gpu: FakeGpu, said: str, told: str, hint: str) -> None:
    error = gpu_failure("this", said, "what the caller says", lambda: " (a lot is left)")
    assert error.message == f"this: {said}{told}"
    assert hint in str(error.hint)


def test_memory_is_not_asked_for_where_nobody_can_say(gpu: FakeGpu) -> None:
    assert gpu_failure("this", "out of memory", "").message == "this: out of memory"


@pytest.mark.parametrize("code", [35, 36, 803, 804])
def test_a_driver_that_is_too_old(gpu: FakeGpu, tmp_path: Path, code: int) -> None:
    gpu.init_code = code
    with pytest.raises(EngineError, match=f"driver is too old .*error {code}.* CUDA 11.4") as got:
        TensorRTSession(tiny_engine(tmp_path / "m.engine"))
    assert "'m.engine'" in got.value.message
    assert "update the NVIDIA driver" in str(got.value.hint)


def test_a_driver_that_does_not_start(gpu: FakeGpu) -> None:
    gpu.init_code = 999
    with pytest.raises(EngineError, match=r"this: .* does not start .*999") as caught:
        require_gpu("this", "another hint")
    assert "nvidia-smi" in str(caught.value.hint)
    gpu.init_code = 100
    with pytest.raises(EngineError, match="none was found") as caught:
        require_gpu("this", "another hint")
    assert caught.value.hint == "another hint"


def test_cuda_that_does_not_start_in_pycuda(gpu: FakeGpu, tmp_path: Path) -> None:
    gpu.init_error = "system has unsupported display driver / cuda driver combination"
    with pytest.raises(EngineError, match=r"'m\.engine': cuInit failed: .*CUDA 11\.4") as caught:
        TensorRTSession(tiny_engine(tmp_path / "m.engine"))
    assert "update the NVIDIA driver" in str(caught.value.hint)


def test_cuda_that_does_not_start_in_tensorrt(gpu: FakeGpu, path: Path) -> None:
    """TensorRT calls it a warning, and then has no runtime."""
    gpu.runtime_warning = "CUDA initialization failure with error: 35. Please check your CUDA"
    with pytest.raises(EngineError, match=r"tensorrt 10\.3\.0 does not start: .*11\.4") as caught:
        open_onnx(path)
    assert "update the NVIDIA driver" in str(caught.value.hint)
    gpu.runtime_warning = "something else"
    with pytest.raises(EngineError, match="factory function returned nullptr"):
        open_onnx(path)
    assert (gpu.alive, gpu.depth) == ({}, 0)


@pytest.mark.parametrize(
    ("nth", "words"),
    [
        (1, r"tiny\.engine: tensorrt 10\.3\.0 cannot load it: .*Requested size was"),
        (2, r"tiny\.engine: tensorrt 10\.3\.0 cannot load it: .*Requested size was"),
        (6, "allocating 1 MiB of pinned host memory: "),
        (7, "allocating 1 MiB of GPU memory: "),
    ],
)
def test_short_memory_says_how_much(gpu: FakeGpu, path: Path, nth: int, words: str) -> None:
    gpu.fail_at = nth
    with pytest.raises(EngineError, match=words) as caught:
        open_onnx(path)
    assert caught.value.message.endswith(" (3 of the GPU's 7620 MiB are free)")
    assert "close other programs" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        ("ImportError('_driver.so: undefined symbol: cuLate')", EngineError, "undefined symbol"),
        ("OSError('libcurand.so.10: cannot open')", EngineError, "cannot be loaded: libcurand"),
        ("ModuleNotFoundError('no pytools', name='pytools')", EngineError, "no pytools"),
        ("ModuleNotFoundError('no', name='pycuda._driver')", MissingExtraError, "not installed"),
    ],
)
def test_pycuda_that_does_not_load(
    gpu: FakeGpu,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    raised: str,
    error: type[Exception],
    words: str,
) -> None:
    package = tmp_path / "pycuda"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "driver.py").write_text(f"raise {raised}\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "pycuda")
    monkeypatch.delitem(sys.modules, "pycuda.driver")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=words) as caught:
        TensorRTSession(tiny_engine(tmp_path / "m.engine"))
    monkeypatch.delitem(sys.modules, "pycuda", raising=False)
    if error is EngineError:
        assert "CUDA 11.4" in str(caught.value)
        assert "pip install --force-reinstall" in str(caught.value.hint)


def test_the_fake_has_what_is_used_of_pycuda_and_no_more(gpu: FakeGpu) -> None:
    fake = sys.modules["pycuda.driver"]
    assert {name for name in vars(fake) if not name.startswith("_")} == set(PyCuda.__annotations__)
