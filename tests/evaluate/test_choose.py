"""The backend ``auto``: the fastest one that agrees, asked once and remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_model import write_tiny

from edgemtl.engine.ort import OrtSession
from edgemtl.errors import EngineError
from edgemtl.evaluate import choose
from edgemtl.evaluate.choose import best_backend
from edgemtl.manifest import Manifest
from edgemtl.manifest_tasks import FurtherOutput, FurtherTask
from edgemtl.records import NetOutputs

_real_version = choose._version


class Other(OrtSession):
    """Stands for OpenVINO; ``shift`` moves its boxes by so many pixels."""

    shift = 0.0

    def collect(self, ticket: Any) -> NetOutputs:
        outputs = super().collect(ticket)
        outputs.boxes_net[:] += np.float32(self.shift)
        return outputs


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny.onnx")


@pytest.fixture(autouse=True)
def _pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both packages are installed, and OpenVINO is twice as fast."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(choose, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(choose, "_version", lambda name: "1")
    monkeypatch.setattr(choose, "OpenVinoSession", Other)
    monkeypatch.setattr(Other, "shift", 0.0)
    speeds(monkeypatch, 4.0, 2.0)


def speeds(monkeypatch: pytest.MonkeyPatch, ours: float, theirs: float) -> None:
    taken = {"onnxruntime": [ours] * 3, "openvino": [theirs] * 3}
    monkeypatch.setattr(choose, "time_sessions", lambda sessions, rounds: taken)


@pytest.mark.parametrize(
    ("theirs", "expected"), [(2.0, "openvino"), (3.9, "onnxruntime"), (8.0, "onnxruntime")]
)
def test_the_faster_one_by_more_than_noise(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, theirs: float, expected: str
) -> None:
    speeds(monkeypatch, 4.0, theirs)
    assert best_backend(tiny, 1) == expected


@pytest.mark.parametrize("shift", [0.5, np.nan])
def test_one_that_says_something_else_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, shift: float
) -> None:
    monkeypatch.setattr(Other, "shift", shift)
    assert best_backend(tiny, 1) == "onnxruntime"


def test_one_whose_probabilities_are_not_finite_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    class Spoilt(Other):
        def collect(self, ticket: Any) -> NetOutputs:
            outputs = super().collect(ticket)
            assert outputs.image_probs is not None
            outputs.image_probs[:] = np.nan
            return outputs

    monkeypatch.setattr(choose, "OpenVinoSession", Spoilt)
    assert best_backend(tiny, 1) == "onnxruntime"


class WithCover(OrtSession):
    """A network with a task more, whose output is ``said`` for every picture."""

    said = 1.0

    @property
    def manifest(self) -> Manifest:
        cover = FurtherOutput(name="cover_probs", dtype="float32", shape=(3,))
        task = FurtherTask(name="cover", outputs=(cover,))
        return super().manifest.model_copy(update={"further": (task,)})

    def collect(self, ticket: Any) -> NetOutputs:
        told = {"cover_probs": np.full((1, 3), self.said, np.float32)}
        return replace(super().collect(ticket), further=told)


@pytest.mark.parametrize(("said", "expected"), [(1.0, True), (-7.0, False)])
def test_further_tasks_are_compared_too(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, said: float, expected: bool
) -> None:
    first, second = WithCover(tiny, threads=1), WithCover(tiny, threads=1)
    monkeypatch.setattr(second, "said", said)
    assert choose.agree(first, second) == expected


def test_one_that_cannot_run_the_file_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise EngineError("cannot compile it")

    monkeypatch.setattr(choose, "OpenVinoSession", refuse)
    assert best_backend(tiny, 1) == "onnxruntime"


def test_the_answer_is_kept_for_this_file_and_these_threads(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    assert best_backend(tiny, 1) == "openvino"
    speeds(monkeypatch, 1.0, 2.0)
    assert best_backend(tiny, 1) == "openvino"
    assert best_backend(tiny, 2) == "onnxruntime"
    kept = tmp_path / "cache" / "edgemtl" / "backends.json"
    assert sorted(json.loads(kept.read_text()).values()) == ["onnxruntime", "openvino"]


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"x": 3}'])
def test_a_broken_cache_is_no_obstacle(tiny: Path, tmp_path: Path, content: str) -> None:
    kept = tmp_path / "cache" / "edgemtl" / "backends.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    assert best_backend(tiny, 1) == "openvino"


def test_a_cache_that_cannot_be_written_is_no_obstacle(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert best_backend(tiny, 1) == "openvino"


def test_without_openvino_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    assert best_backend(tiny) == "onnxruntime"
    assert not (tmp_path / "cache").exists()
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"x")
    assert best_backend(engine) == "tensorrt"


def test_packages_of_another_name_have_no_version() -> None:
    assert _real_version("numpy") == np.__version__
    assert _real_version("no-such-distribution") == "unknown"
