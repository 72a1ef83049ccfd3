"""Engines on a real GPU, against ONNX Runtime on the same graph."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_tools import manifest_of, measured, pictures, run
from tiny_model import tiny_model, write_tiny

from edgemtl.engine.build import BuildOptions, build_engine
from edgemtl.engine.manifest import manifest_path, read_engine_manifest
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.errors import StaleEngineError
from edgemtl.files import write_text
from edgemtl.graph.dialect import TRT
from edgemtl.graph.file import save_model
from edgemtl.graph.qdq import quantise_model

TOLERANCES = {"fp32": 2e-3, "fp16": 0.05, "int8": 0.1}
MOST = 16


def model_in(folder: Path, precision: str) -> Path:
    """The tiny network, in INT8 if that is asked for."""
    if precision != "int8":
        return write_tiny(folder / "m.onnx")
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model)))
    path = folder / "m.int8.onnx"
    save_model(*quantise_model(model, manifest_of(model), table, TRT), path)
    return path


@pytest.fixture(scope="module", params=list(TOLERANCES))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Precision, graph, engine: built for 1 to 16 pictures and proven by the build itself."""
    folder = tmp_path_factory.mktemp(request.param)
    path = model_in(folder, request.param)
    options = BuildOptions(request.param, batch=(1, 4, MOST), profile=True)
    report = build_engine(path, folder / "m.engine", options)
    assert report.checked
    return request.param, path, report


@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 4, 8, MOST])
def test_every_batch_agrees_with_onnxruntime(built, batch: int, cuda_graph: bool) -> None:
    precision, path, report = built
    images = pictures(manifest_of(tiny_model()), batch, seed=batch)
    want = run(onnx.load(str(path)), images)
    with closing(TensorRTSession(report.out, batch=batch, cuda_graph=cuda_graph)) as session:
        for n in {1, max(1, batch // 2), batch}:
            outputs = session.infer(images[:n])
            for name in ("scores", "image_probs"):
                have = getattr(outputs, name)
                np.testing.assert_allclose(have, want[name][:n], atol=TOLERANCES[precision])


def test_frames_that_overlap_are_those_that_came_alone(built) -> None:
    _, _, report = built
    images = pictures(manifest_of(tiny_model()), 40, seed=1)
    with closing(TensorRTSession(report.out)) as session:
        alone = [session.infer(images[n : n + 1]).scores for n in range(len(images))]
        pending, together = [], []
        for n in range(len(images)):
            slot = session.acquire()
            session.input(slot)[0] = images[n]
            pending.append(session.submit(slot, 1))
            if len(pending) == 2:
                together.append(session.collect(pending.pop(0)).scores.copy())
        together += [session.collect(ticket).scores.copy() for ticket in pending]
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone))


def test_the_layers_are_told_with_their_times(built) -> None:
    _, _, report = built
    assert any(layer.ms is not None and layer.ms > 0 for layer in report.layers)


def test_the_gpu_times_its_parts(built) -> None:
    _, _, report = built
    with closing(TensorRTSession(report.out, timed=True)) as session:
        ticket = session.submit(session.acquire(), 1)
        session.collect(ticket)
        assert all(0 <= ms < 1e4 for ms in session.gpu_ms(ticket).values())


def test_an_engine_of_another_version_is_refused(built, tmp_path: Path) -> None:
    _, _, report = built
    copy = tmp_path / "m.engine"
    copy.write_bytes(report.out.read_bytes())
    manifest = read_engine_manifest(report.out).model_copy(update={"version": "1.2.3"})
    write_text(manifest_path(copy), manifest.to_json())
    with pytest.raises(StaleEngineError, match=r"foreign: built by \w+ 1\.2\.3"):
        TensorRTSession(copy)
