"""The GPU's benchmark, on a CPU and a GPU in small: how it measures, not what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu
import gpu_steps
import gpu_torch
import numpy as np
import torch
from fake_builder import add_builder
from fake_gpu import install_gpu

from edgemtl.engine import timing
from edgemtl.engine.ort import OrtSession
from edgemtl.errors import EngineError
from edgemtl.models import resolve_model

BENCHMARKS = Path(gpu.__file__).parent
TOY = resolve_model("toy").with_suffix(".safetensors")


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(BENCHMARKS / "gpu.sh"), "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=120,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gpu.sh: needs a GPU")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    wrong = subprocess.run(["bash", str(BENCHMARKS / "gpu.sh"), "--colour"], capture_output=True)
    assert wrong.returncode == 2


def test_a_step_that_fails_does_not_stop_the_others() -> None:
    now = [0.0]
    steps = gpu.Steps(60.0, clock=lambda: now[0])

    def slow() -> dict[str, object]:
        now[0] += 55.0
        return {"a": 1}

    def fail() -> dict[str, object]:
        raise EngineError("no\nengine", "a hint")

    assert steps.run("bad", fail) is None
    assert steps.run("slow", slow) == {"a": 1}
    assert steps.run("late", slow) is None
    assert [(one["name"], one["ok"], one["said"]) for one in steps.done] == [
        ("bad", False, "EngineError: no"),
        ("slow", True, ""),
        ("late", False, "left out: the time is over"),
    ]  # fmt: skip
    assert [one["seconds"] for one in steps.done] == [0.0, 55.0, 0.0]


def test_a_call_that_fails_is_told_and_left_out() -> None:
    made: list[str] = []

    def fail() -> None:
        raise RuntimeError("unsupported\nand more")

    found = gpu_steps.measured({"a": lambda: made.append("a"), "b": fail}, batch=4, rounds=6)
    assert found["b"] == {"failed": "RuntimeError: unsupported"}
    assert set(found["a"]) == {"p50", "p95", "p99", "mean", "per_second"}
    assert len(made) == 1 + 5 + 6, "once to see whether it can, the warm-up, the rounds"


def test_percentiles_are_numpys() -> None:
    ms = list(np.random.default_rng(0).gamma(2.0, 3.0, 200))
    found = gpu_steps.rounded(ms)
    for name, q in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert found[name] == pytest.approx(np.percentile(ms, q), abs=1e-4)
    assert found["mean"] == pytest.approx(np.mean(ms), abs=1e-4)


def test_the_share_outside_the_network() -> None:
    names = ("decode", "preprocess", "infer", "postprocess", "track")
    latency = {name: {"p50": ms} for name, ms in zip(names, (50, 1, 16, 2, 1), strict=True)}
    assert gpu_steps.outside(latency) == 0.2


def test_torch_says_what_the_exported_file_says() -> None:
    calls = gpu_torch.forms(TOY, 2, "cpu", compiled=False)
    assert list(calls) == ["torch eager fp32", "torch eager fp16"]
    exact, half = (call() for call in calls.values())
    session = OrtSession(resolve_model("toy"), threads=1, batch=2)
    images = gpu_torch.pictures(session.manifest, 2, "cpu").numpy()
    truth = session.infer(images)
    session.close()
    np.testing.assert_allclose(exact["scores"].numpy(), truth.scores, atol=1e-4)
    assert not torch.equal(exact["scores"], half["scores"])
    np.testing.assert_allclose(half["image_probs"].float(), truth.image_probs, atol=0.1)


def test_one_network_against_three_of_its_shape() -> None:
    calls = gpu_torch.one_or_three(resolve_model("street").with_suffix(".safetensors"), "cpu")
    outputs = {name: set(call()) for name, call in calls.items()}
    assert outputs == {
        "shared": {"boxes", "scores", "labels", "embeddings", "image_probs"},
        "detect": {"boxes", "scores", "labels"},
        "classify": {"image_probs"},
        "embed": {"embeddings"},
    }


@pytest.mark.slow
def test_all_steps_on_a_gpu_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step runs; TensorRT-RTX is not there, which is written down."""
    device = install_gpu(monkeypatch)
    add_builder(sys.modules["tensorrt"])
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    less = {"BATCHES": (1, 2), "COMPILED": (), "ROUNDS": 2, "FRAMES": 2, "PICTURES": 4}
    for name, value in less.items():
        monkeypatch.setattr(gpu_steps, name, value)
    monkeypatch.setattr(timing, "_WARM_UP", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # ONNX Runtime's threads are here too
    steps = gpu.Steps(3600.0)
    try:
        found = gpu.measure(steps, tmp_path, "cpu")
    finally:
        torch.set_num_threads(threads)
    failed = {one["name"]: one["said"] for one in steps.done if not one["ok"]}
    assert len(failed) == 6, failed
    assert all(name.startswith("tensorrt_rtx") for name in failed)
    assert all("tensorrt_rtx" in said for said in failed.values())
    assert found["memory, streams, events and graphs"]["graph"] == "captured and launched"
    assert found["parity of toy"]["first_different"] is None
    assert found["stages of tensorrt fp16 with CUDA graph"]["backend"].endswith("CUDA graph)")
    assert set(found["batch 2"]) == {
        "torch eager fp32", "torch eager fp16", "tensorrt fp32", "tensorrt fp16", "tensorrt int8",
    }  # fmt: skip
    assert found["one network or three"]["shared_to_three"] > 0
    json.dumps({"steps": steps.done, "found": found}, allow_nan=False)
    gpu.plot(found, tmp_path / "gpu.svg")
    text = (tmp_path / "gpu.svg").read_text(encoding="utf-8")
    for words in ("street, one picture, ms", "pictures per second", "torch fp16, ms"):
        assert words in text
    assert device.alive == {}
