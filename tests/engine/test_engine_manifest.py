"""The manifest beside an engine: round trip, what is refused, and the command that rebuilds."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import FakeDriver
from graph_tools import manifest_of
from pydantic import ValidationError
from tiny_model import tiny_model

from edgemtl.cli import invoke
from edgemtl.engine import gpu as gpu_module
from edgemtl.engine.bindings import Bindings
from edgemtl.engine.gpu import Gpu, find_gpu, require_gpu
from edgemtl.engine.manifest import (
    EngineManifest,
    manifest_path,
    read_engine,
    read_engine_manifest,
    require_same_place,
)
from edgemtl.errors import EngineError, ModelError, StaleEngineError

PLAN = bytes(range(256)) * 3
FIELDS: dict[str, Any] = {
    "model": manifest_of(tiny_model()),
    "source": "models/tiny.onnx",
    "built_from": "tiny.onnx",
    "onnx_sha256": "a" * 64,
    "engine_sha256": hashlib.sha256(PLAN).hexdigest(),
    "flavour": "tensorrt",
    "version": "10.3.0",
    "gpu": Gpu(name="Orin", compute_capability="8.7"),
    "precision": "fp16",
    "workspace_mb": 1024,
    "batch": (1, 1, 4),
    "build_seconds": 12.25,
}


def manifest(**changes: Any) -> EngineManifest:
    return EngineManifest(**{**FIELDS, **changes})


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "m.engine"
    path.write_bytes(PLAN)
    (folder / "m.engine.json").write_text(manifest(**changes).to_json(), encoding="utf-8")
    return path


@pytest.mark.parametrize("changes", [{}, {"gpu": None, "flavour": "tensorrt_rtx"}])
def test_round_trip(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = written(tmp_path, **changes)
    assert read_engine(path) == (PLAN, manifest(**changes))
    assert read_engine_manifest(path) == manifest(**changes)
    assert read_engine_manifest(path).model.classes == ("a", "b")
    assert manifest_path(path) == tmp_path / "m.engine.json"


def test_equal_manifests_give_equal_bytes() -> None:
    text = manifest().to_json()
    again = EngineManifest.model_validate_json(text)
    assert again.to_json() == text
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    assert json.loads(text)["gpu"] == {"name": "Orin", "compute_capability": "8.7"}


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {"flavour": "tensorflow"},
        {"precision": "fp8"},
        {"precision": "mixed"},
        {"workspace_mb": 0},
        {"batch": (1,)},
        {"build_seconds": float("nan")},
        {"build_seconds": -1.0},
        {"gpu": {"name": "Orin"}},
        {"model": None},
    ],
)
def test_what_is_no_manifest(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(**changes)


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest().version = "11.0.0"


@pytest.mark.parametrize("plan", [b"", PLAN[:-1], PLAN + b"\0", b"\1" + PLAN[1:]])
def test_another_engine_than_the_manifests_is_stale(tmp_path: Path, plan: bytes) -> None:
    path = written(tmp_path)
    path.write_bytes(plan)
    with pytest.raises(EngineError, match="stale") as caught:
        read_engine_manifest(path)
    assert hashlib.sha256(plan).hexdigest()[:12] in caught.value.message
    assert caught.value.hint == (
        f"edgemtl build models/tiny.onnx --precision fp16 --out {shlex.quote(str(path))}"
    )


def test_a_model_that_has_changed_makes_its_engine_stale(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(b"the model")
    then = hashlib.sha256(b"the model").hexdigest()
    path = written(tmp_path, onnx_sha256=then)
    assert read_engine(path)[0] == PLAN
    (tmp_path / "tiny.onnx").write_bytes(b"another model")
    with pytest.raises(StaleEngineError, match=r"'tiny\.onnx' has changed since") as caught:
        read_engine(path)
    assert str(caught.value.hint).startswith("edgemtl build models/tiny.onnx")
    (tmp_path / "tiny.onnx").unlink()
    assert read_engine(path)[0] == PLAN, "a device need not have the model"


def test_a_shipped_model_that_has_changed(tmp_path: Path) -> None:
    with pytest.raises(StaleEngineError, match=r"'toy\.onnx' has changed since"):
        read_engine(written(tmp_path, source="toy", built_from="elsewhere/toy.onnx"))


def test_an_engine_without_manifest(tmp_path: Path) -> None:
    path = written(tmp_path)
    manifest_path(path).unlink()
    with pytest.raises(EngineError, match=r"'m\.engine\.json' is missing") as caught:
        read_engine_manifest(path)
    assert f"edgemtl build MODEL.onnx --precision fp32|fp16|int8 --out {path}" in str(
        caught.value.hint
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "manifest"),
        ("{", "manifest"),
        ("[]", "manifest"),
        ("{}", "model"),
        (manifest().to_json().replace('"precision": "fp16"', '"precision": 16'), "precision"),
        (manifest().to_json().replace('"name": "tiny"', '"nickname": "tiny"'), r"model\.name"),
    ],
)
def test_a_malformed_manifest(tmp_path: Path, text: str, field: str) -> None:
    path = written(tmp_path)
    manifest_path(path).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=f"'{field}' is wrong") as caught:
        read_engine_manifest(path)
    assert "edgemtl build" in str(caught.value.hint)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_engine_manifest(tmp_path / "gone.engine")
    path = written(tmp_path)
    manifest_path(path).write_bytes(b"\xff\xfe{}")
    with pytest.raises(ModelError, match="is wrong"):
        read_engine_manifest(path)


def test_the_command_holds_what_was_asked_for() -> None:
    odd = manifest(source="my models/a.onnx", precision="int8", workspace_mb=256)
    command = odd.rebuild(Path("out dir/m.engine"))
    assert shlex.split(command) == [
        "edgemtl", "build", "my models/a.onnx", "--precision", "int8",
        "--out", "out dir/m.engine", "--workspace-mb", "256",
    ]  # fmt: skip
    portable = manifest(flavour="tensorrt_rtx", gpu=None, profile=True)
    assert portable.rebuild(Path("m.engine")).endswith("m.engine --flavour rtx --profile")


@pytest.mark.parametrize(
    ("batch", "wanted", "tail"),
    [
        ((1, 1, 4), None, []),
        ((1, 1, 8), None, ["--batch", "1:1:8"]),
        ((2, 4, 8), None, ["--batch", "2:4:8"]),
        ((2, 2, 2), None, ["--batch", "2"]),  # asked for, or the graph's own
        ((1, 1, 4), 6, ["--batch", "1:1:6"]),
        ((1, 4, 4), 2, ["--batch", "1:2:2"]),
    ],
)
def test_the_command_names_the_batch(
    batch: tuple[int, int, int], wanted: int | None, tail: list[str]
) -> None:
    words = shlex.split(manifest(batch=batch).rebuild(Path("m.engine"), wanted))
    assert words[words.index("m.engine") + 1 :] == tail


HERE = Gpu(name="Orin", compute_capability="8.7")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, None),
        ({"gpu": None}, None),
        ({"version": "10.3.0.1"}, "built by tensorrt 10.3.0.1, here is tensorrt 10.3.0"),
        ({"flavour": "tensorrt_rtx"}, "built by tensorrt_rtx 10.3.0, here is tensorrt 10.3.0"),
        ({"gpu": Gpu(name="Orin", compute_capability="8.6")}, "capability 8.6), here is Orin"),
        ({"gpu": Gpu(name="Xavier", compute_capability="8.7")}, "built for Xavier"),
    ],
)
def test_where_an_engine_runs(changes: dict[str, Any], word: str | None) -> None:
    class Module:
        __version__ = "10.3.0"

    bindings = Bindings(Module, "tensorrt")
    engine = manifest(**changes)
    if word is None:
        require_same_place(engine, Path("m.engine"), bindings, HERE)
        return
    with pytest.raises(EngineError) as caught:
        require_same_place(engine, Path("m.engine"), bindings, HERE)
    assert "foreign" in caught.value.message
    assert word in caught.value.message
    assert caught.value.hint == engine.rebuild(Path("m.engine"))


def test_info_shows_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["info", str(written(tmp_path)), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["engine"]["version"] == "10.3.0"
    assert facts["engine"]["gpu"]["compute_capability"] == "8.7"
    assert facts["manifest"]["name"] == "tiny"
    (tmp_path / "m.engine").write_bytes(b"other")
    assert invoke(["info", str(tmp_path / "m.engine")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["error", "hint"]


def test_the_gpu_as_the_driver_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_module, "_driver", FakeDriver)
    assert find_gpu() == Gpu(name="Fake Orin", compute_capability="8.7")
    assert str(require_gpu("this", "hint")) == "Fake Orin (compute capability 8.7)"


@pytest.mark.parametrize("broken", ["cuInit", "cuDeviceGet", "cuDeviceGetName", None])
def test_no_gpu(monkeypatch: pytest.MonkeyPatch, broken: str | None) -> None:
    driver = None if broken is None else FakeDriver(broken)
    monkeypatch.setattr(gpu_module, "_driver", lambda: driver)
    assert find_gpu() is None
    with pytest.raises(EngineError, match="this needs an NVIDIA GPU") as caught:
        require_gpu("this", "go elsewhere")
    assert caught.value.hint == "go elsewhere"
