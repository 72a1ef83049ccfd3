"""``--precision best``: all precisions are judged and timed, the fastest that keeps its word wins.

The GPU is a small one (fake_gpu) that computes with ONNX Runtime; how long it takes is said here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_builder import FakeBuild

from edgemtl import best
from edgemtl.best import build_best, table_of
from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine import gpu as gpu_module
from edgemtl.engine.build import BuildOptions
from edgemtl.engine.manifest import read_engine
from edgemtl.errors import ConfigError, EngineError
from edgemtl.graph.dialect import TRT
from edgemtl.graph.file import load_model, save_model
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import load_ranges
from edgemtl.models import resolve_model
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.losses import LossOptions

TABLE = Path(__file__).parents[2] / "calibration" / "tables" / "toy.ranges.json"
LOSSES = LossOptions(repeats=40, jitters=3)
ROOMY = Budget.parse("det=8,track=15")
OPTIONS = BuildOptions("fp32")


@pytest.fixture(scope="module")
def mix() -> DataMix:
    world = SyntheticWorld(8, 2, 50, (192, 320))
    return DataMix(world.classes, world.image_classes, (world,))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The model with its ranges beside it: an installed package has no tables."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "toy.ranges.json").write_bytes(TABLE.read_bytes())
    (folder / "toy.onnx").write_bytes(resolve_model("toy").read_bytes())
    return folder / "toy.onnx"


def say_times(monkeypatch: pytest.MonkeyPatch, **ms: float) -> None:
    monkeypatch.setattr(best, "time_sessions", lambda sessions, _: {k: [ms[k]] for k in sessions})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"cache"}


@pytest.mark.usefixtures("fake")
def test_the_fastest_that_keeps_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy: Path, mix: DataMix
) -> None:
    out = tmp_path / "toy.engine"
    for times, winner in (
        ({"fp32": 3.0, "fp16": 2.0, "int8": 1.0}, "int8"),
        ({"fp32": 3.0, "fp16": 1.0, "int8": 2.0}, "fp16"),
    ):
        say_times(monkeypatch, **times)
        report = build_best(toy, out, OPTIONS, mix, ROOMY, LOSSES)
        assert [one.verdict for one in report.tried] == ["keeps"] * 3
        plan, engine = read_engine(out)
        assert (engine.precision, engine.source, len(plan)) == (
            winner,
            str(toy),
            out.stat().st_size,
        )
        assert names(tmp_path) == {"toy.engine", "toy.engine.json", "toy.engine.log"}
        assert f"fastest that keeps the budget: {winner}" in report.text()
        assert report.to_dict()["precision"] == winner
        assert report.to_dict()["engine"] == str(out)
    heading, first, *_ = report.rows()
    scores = ["map loss", "top1 loss", "hota loss", "idf1 loss"]
    assert heading == ["precision", "p50 ms", "MB", *scores, "verdict"]
    assert first[:2] == ["fp32", "3.000"]
    assert first[3:] == ["0.00"] * 4 + ["keeps"], "the same numbers lose nothing"


def test_what_cannot_be_built_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy: Path, mix: DataMix, fake: FakeBuild
) -> None:
    """INT8 that computes something else, as a library's broken kernel would."""
    say_times(monkeypatch, fp32=3.0, fp16=2.0, int8=1.0)
    other, manifest = load_model(resolve_model("toy"))
    table = load_ranges(TABLE).model_copy(update={"graphs": {}})
    narrow = {name: (low / 50, high / 50) for name, (low, high) in table.ranges.items()}
    wrong, _ = quantise_model(other, manifest, table.model_copy(update={"ranges": narrow}), TRT)
    fake.change = lambda data: wrong.SerializeToString() if b"QuantizeLinear" in data else data
    out = tmp_path / "toy.engine"
    report = build_best(toy, out, OPTIONS, mix, ROOMY, LOSSES)
    assert report.built.engine.precision == "fp16"
    (left,) = (one for one in report.tried if one.why)
    assert left.precision == "int8"
    assert "something else than ONNX Runtime" in left.why
    assert table_of(report.tried)[-1][-1] == f"not built: {left.why}"


@pytest.mark.usefixtures("fake")
def test_a_budget_that_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy: Path, mix: DataMix
) -> None:
    """A hundredth of a point needs more than a hundred frames, for INT8 and for float16."""
    say_times(monkeypatch, fp32=3.0, fp16=2.0, int8=1.0)
    tight = Budget.parse("det=0.01")
    out = tmp_path / "toy.engine"
    report = build_best(toy, out, OPTIONS, mix, tight, LOSSES)
    assert report.built.engine.precision == "fp32"
    assert {one.precision: one.verdict for one in report.tried}["int8"] in ("breaks", "unresolved")


@pytest.mark.usefixtures("fake")
def test_nothing_is_written_when_nothing_keeps_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy: Path, mix: DataMix
) -> None:
    monkeypatch.setattr(best, "verdict_of", lambda losses: "breaks")
    say_times(monkeypatch, fp32=3.0, fp16=2.0, int8=1.0)
    with pytest.raises(EngineError, match="no precision keeps the budget") as caught:
        build_best(toy, tmp_path / "m.engine", OPTIONS, mix, ROOMY, LOSSES)
    for precision in ("fp32: ", "fp16: ", "int8: "):
        assert precision in caught.value.message
    assert "calibrate" in str(caught.value.hint)
    assert names(tmp_path) == set()


def test_it_is_measured_on_a_gpu_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mix: DataMix
) -> None:
    monkeypatch.setattr(gpu_module, "_driver", lambda: None)
    with pytest.raises(EngineError, match="needs an NVIDIA GPU") as caught:
        build_best(resolve_model("toy"), tmp_path / "m.engine", OPTIONS, mix, ROOMY)
    assert "--precision fp16" in str(caught.value.hint)


@pytest.mark.usefixtures("fake")
def test_it_begins_with_the_float_model(tmp_path: Path, mix: DataMix) -> None:
    model, manifest = load_model(resolve_model("toy"))
    quantised = tmp_path / "toy.int8.onnx"
    save_model(*quantise_model(model, manifest, load_ranges(TABLE), TRT), quantised)
    with pytest.raises(ConfigError, match="expected the float32 one"):
        build_best(quantised, tmp_path / "m.engine", OPTIONS, mix, ROOMY)
