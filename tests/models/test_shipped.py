"""The shipped models keep what the README says of them, on real data and in both precisions."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import load_script

from edgemtl.data.config import load_data
from edgemtl.engine import open_session
from edgemtl.evaluate import EvaluateOptions, Evaluation, evaluate_model
from edgemtl.graph.file import canonical_hash, load_model
from edgemtl.graph.ranges import load_ranges
from edgemtl.models import resolve_model, shipped_models
from edgemtl.quantize.calibrate import rebuild

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("street", "toy")
MOST_LOST = 0.03


def table(name: str) -> Path:
    return ROOT / "calibration" / "tables" / f"{name}.ranges.json"


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both INT8 models of this host, from the frozen tables, without a picture."""
    folder = tmp_path_factory.mktemp("int8")
    return {
        name: rebuild(resolve_model(name), table(name), folder / f"{name}.int8.onnx").host
        for name in MODELS
    }


def test_both_are_here() -> None:
    assert set(MODELS) <= set(shipped_models())


@pytest.mark.parametrize("name", MODELS)
def test_what_travels_with_a_model(name: str) -> None:
    graph, manifest = load_model(resolve_model(name))
    assert manifest.name == name
    assert manifest.tasks == ("detect", "classify", "embed")
    assert manifest.data
    assert all(source.licence for source in manifest.data)
    assert (name == "toy") == (manifest.weights_licence == "Apache-2.0")
    assert load_ranges(table(name)).model_sha256 == canonical_hash(graph)
    for kind in ("onnx", "safetensors"):
        path = resolve_model(name).with_suffix(f".{kind}")
        assert 100_000 < path.stat().st_size < 10_000_000


@pytest.mark.parametrize("name", MODELS)
def test_the_checkpoint_is_the_onnx_file(name: str) -> None:
    pytest.importorskip("torch")
    from edgemtl.nn.checkpoint import load_network
    from edgemtl.nn.session import TorchSession

    path = resolve_model(name)
    network, manifest = load_network(path.with_suffix(".safetensors"))
    rng = np.random.default_rng(3)
    h, w = manifest.input.size_hw
    coarse = rng.integers(-128, 128, (2, 3, h // 16, w // 16))
    pixels = np.kron(coarse, np.ones((16, 16), np.int64)).astype(np.int8)
    with closing(open_session(path, batch=2, threads=1)) as session:
        theirs = session.infer(pixels)
    ours = TorchSession(network, manifest).infer(pixels)
    np.testing.assert_allclose(np.sort(theirs.scores), np.sort(ours.scores), atol=1e-4)
    assert ours.image_probs is not None
    assert theirs.image_probs is not None
    np.testing.assert_allclose(theirs.image_probs, ours.image_probs, atol=1e-4)


def evaluated(model: str | Path, data_root: Path) -> Evaluation:
    mix = load_data(ROOT / "benchmarks" / "data" / "street.toml", "val", data_root)
    with closing(open_session(model)) as session:
        return evaluate_model(session, mix, EvaluateOptions(sets=("vehicles", "coco")))


@pytest.mark.slow
def test_street_finds_vehicles_and_names_pictures(int8: dict[str, Path], data_root: Path) -> None:
    found = {
        precision: evaluated(model, data_root)
        for precision, model in (("fp32", "street"), ("int8", int8["street"]))
    }
    scores = {
        precision: {
            "vehicles map50": e.sets[0].detection.map50,
            "top-1": e.together.classification.top1,
            "macro-F1": e.together.classification.macro_f1,
        }
        for precision, e in found.items()
        if e.sets[0].detection is not None and e.together.classification is not None
    }
    assert scores["fp32"]["vehicles map50"] >= 0.48
    assert scores["fp32"]["top-1"] >= 0.78
    for key, value in scores["fp32"].items():
        assert scores["int8"][key] >= value - MOST_LOST, key


@pytest.fixture(scope="module")
def on_pets() -> ModuleType:
    return load_script("street_on_pets")


@pytest.mark.slow
def test_street_follows_people(on_pets: ModuleType, tmp_path: Path, data_root: Path) -> None:
    scores = on_pets.measure(data_root, tmp_path)
    recorded = ROOT / "benchmarks" / "results" / "street_on_pets.json"
    result = json.loads(recorded.read_text(encoding="utf-8"))
    known = {text.partition(":")[0] for text in result["missed"]}
    missed = {text.partition(":")[0] for text in on_pets.misses(scores)}
    assert missed <= known, "a target is missed that the published figures meet"
    published = result["scores"]
    for precision, figures in scores.items():
        for key in {"ap50", "hota", "idf1"} & figures.keys():
            # other processors round otherwise, and one switched identity is a point of IDF1
            assert figures[key] == pytest.approx(published[precision][key], abs=0.03), key
