"""Which backend a file gets, and what is said where none fits."""

from __future__ import annotations

import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_model import write_tiny

from edgemtl.engine import BACKENDS, open_session
from edgemtl.errors import ConfigError, EdgeMTLError, MissingExtraError, ModelError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("auto", "onnxruntime"),
        ("onnxruntime", "onnxruntime"),
        pytest.param(
            "openvino",
            "openvino",
            marks=pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO"),
        ),
    ],
)
def test_an_onnx_file(tiny: Path, backend: str, name: str) -> None:
    for path in (tiny, str(tiny)):
        with closing(open_session(path, backend=backend, threads=3, batch=2)) as session:
            assert session.backend.startswith(name)
            assert "3 threads" in session.backend
            assert session.batch == 2
            assert session.manifest.name == "tiny"


def test_unknown_backend(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="'tensorflow'") as caught:
        open_session(tiny, backend="tensorflow")
    assert all(name in caught.value.message for name in BACKENDS)


@pytest.mark.parametrize(
    ("suffix", "backend"),
    [(".engine", "onnxruntime"), (".engine", "openvino"), (".onnx", "tensorrt")],
)
def test_a_backend_that_does_not_fit_the_file(
    tiny: Path, tmp_path: Path, suffix: str, backend: str
) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(tiny.read_bytes())
    with pytest.raises(ConfigError, match=f"'{backend}' cannot run 'm{suffix}'") as caught:
        open_session(path, backend=backend)
    assert "edgemtl build" in (caught.value.hint or "")


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_a_file_named_engine_goes_to_tensorrt(tmp_path: Path, backend: str) -> None:
    (tmp_path / "m.engine").write_text("not an engine\n" * 20, encoding="utf-8")
    with pytest.raises(EdgeMTLError, match=r"engine|tensorrt|manifest") as caught:
        open_session(tmp_path / "m.engine", backend=backend)
    assert not isinstance(caught.value, ConfigError)
    assert caught.value.hint


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"x")
    for path, word in (
        (tmp_path / "gone.onnx", "no file"),
        (tmp_path, "is a folder"),
        (tmp_path / "m.safetensors", "got 'm.safetensors'"),
    ):
        with pytest.raises(ModelError, match=word) as caught:
            open_session(path)
        assert caught.value.hint


def test_a_missing_package_is_named_with_its_install_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="'openvino'") as caught:
        open_session(tiny, backend="openvino")
    assert caught.value.hint == 'pip install "edgemtl[openvino]"'
