"""Engines of adopted detectors: built, proven finite and run, on a GPU in small (fake_gpu)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_files
from fake_builder import FakeBuild
from foreign_models import CLASSES, write_foreign
from onnx import numpy_helper

from edgemtl.adopt import AdoptOptions, adopt
from edgemtl.engine import open_session
from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.predict import Predictor
from edgemtl.errors import EngineError
from edgemtl.records import RawOutputs

KINDS = ["yolox", "yolov8", "n6"]


def _adopted(folder: Path, kind: Any, batch: Any) -> Path:
    source = write_foreign(folder / "foreign.onnx", kind, batch=batch)
    adopt(source, folder / "m.onnx", AdoptOptions(kind, CLASSES))
    return folder / "m.onnx"


@pytest.mark.parametrize("batch", [1, "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_finds_what_onnxruntime_finds(
    tmp_path: Path, fake: FakeBuild, kind: str, batch: Any
) -> None:
    model = _adopted(tmp_path, kind, batch)
    report = build_engine(model, tmp_path / "m.engine", BuildOptions("fp32"))
    assert report.checked
    assert report.engine.batch == ((1, 1, 1) if batch == 1 else (1, 1, 4))
    assert report.engine.model.decode == kind
    picture = small_files.pictures(1, (96, 131))[0]
    with closing(open_session(report.out)) as engine, closing(open_session(model)) as session:
        assert engine.backend.startswith("tensorrt")
        assert isinstance(Predictor(engine).outputs(picture)[0], RawOutputs)
        found, want = (Predictor(s, 0.5).predict(picture)[1] for s in (engine, session))
        assert len(want) > 3
        assert np.array_equal(found.boxes_src, want.boxes_src)
        assert np.array_equal(found.scores, want.scores)
        assert np.array_equal(found.labels, want.labels)


def test_an_engine_that_is_not_finite_is_not_written(tmp_path: Path, fake: FakeBuild) -> None:
    def spoil(data: bytes) -> bytes:
        model = onnx.ModelProto.FromString(data)
        last = model.graph.node[-1]
        infinite = numpy_helper.from_array(np.array(np.inf, np.float32), "infinite")
        model.graph.initializer.append(infinite)
        last.op_type, last.input[:] = "Add", [last.input[0], "infinite"]
        return model.SerializeToString()

    fake.change = spoil
    model = _adopted(tmp_path, "yolov8", 1)
    with pytest.raises(EngineError, match="'values' that are not finite"):
        build_engine(model, tmp_path / "m.engine", BuildOptions("fp16"))
    assert not (tmp_path / "m.engine").exists()
