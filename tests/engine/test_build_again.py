"""An engine is built again as its manifest says, and stays as it is if that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_builder import FakeBuild
from tiny_model import write_tiny

from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.build_again import build_again
from edgemtl.engine.manifest import read_engine
from edgemtl.errors import EngineError, StaleEngineError

OPTIONS = BuildOptions("fp16", workspace_mb=64, batch=(1, 2, 2), profile=True)


@pytest.mark.usefixtures("fake")
def test_a_model_that_has_changed(tmp_path: Path) -> None:
    model, out = write_tiny(tmp_path / "m.onnx"), tmp_path / "m.engine"
    first = build_engine(model, out, OPTIONS)
    write_tiny(model, seed=5)
    with pytest.raises(StaleEngineError):
        read_engine(out)
    again = build_again(out)
    plan, engine = read_engine(out)
    assert engine == again.engine
    assert engine.onnx_sha256 != first.engine.onnx_sha256
    kept = {"precision", "workspace_mb", "batch", "profile", "flavour", "source", "gpu"}
    assert engine.model_dump(include=kept) == first.engine.model_dump(include=kept)
    assert len(plan) == again.size_bytes


@pytest.mark.usefixtures("fake")
def test_an_engine_that_moved_with_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was typed the model is gone; it lies beside the engine still."""
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    write_tiny(Path("m.onnx"))
    build_engine(Path("m.onnx"), Path("m.engine"), OPTIONS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").rename(tmp_path / "new")
    out = tmp_path / "new" / "m.engine"
    out.write_bytes(b"damaged on the way")
    assert build_again(out).engine.source == str(tmp_path / "new" / "m.onnx")
    assert read_engine(out)[1].built_from == "m.onnx"


def test_what_cannot_be_built_again_stays(tmp_path: Path, fake: FakeBuild) -> None:
    model, out = write_tiny(tmp_path / "m.onnx"), tmp_path / "m.engine"
    build_engine(model, out, OPTIONS)
    before = out.read_bytes()
    fake.change = lambda data: None
    with pytest.raises(EngineError, match="could not find any implementation"):
        build_again(out)
    assert out.read_bytes() == before
    model.unlink()
    with pytest.raises(EngineError, match=r"is gone: neither '.*m\.onnx' nor") as caught:
        build_again(out)
    assert "--precision fp16" in str(caught.value.hint)
    (tmp_path / "m.engine.json").unlink()
    with pytest.raises(EngineError, match=r"its manifest .* is missing"):
        build_again(out)
