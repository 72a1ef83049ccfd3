"""Calibration within a budget: `toy` as it is, and `toy` with a layer that INT8 cannot stand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from tiny_model import write_tiny

from edgemtl.data.base import DataSet, Truth
from edgemtl.data.config import DataMix
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.data.video import VideoFrames
from edgemtl.errors import CalibrationError, ConfigError
from edgemtl.graph.dialect import TRT, host_dialect
from edgemtl.graph.file import canonical_hash, load_model, save_model
from edgemtl.graph.index import GraphIndex
from edgemtl.graph.ranges import load_ranges
from edgemtl.models import resolve_model
from edgemtl.quantize import within
from edgemtl.quantize.budget import Budget
from edgemtl.quantize.budget_plot import losses_svg
from edgemtl.quantize.calibrate import CalibrateOptions, rebuild
from edgemtl.quantize.collect import Statistics, collect
from edgemtl.quantize.histogram import HistogramObserver, make_rule
from edgemtl.quantize.images import ImageBatches
from edgemtl.quantize.judge import Judge
from edgemtl.quantize.losses import LossOptions
from edgemtl.quantize.order import chance, check_order
from edgemtl.quantize.overlap import find_shared
from edgemtl.quantize.report import CalibrationReport
from edgemtl.quantize.scales import find_oddities
from edgemtl.quantize.search import Candidate, SearchOptions
from edgemtl.quantize.sensitivity import measure_sensitivity
from edgemtl.quantize.speed import Speed, time_models
from edgemtl.quantize.within import BudgetOptions, BudgetReport, calibrate_within

SIZE = (192, 320)
OPTIONS = CalibrateOptions(observer="minmax", limit=12, held_out=4, threads=1)
WANTED = BudgetOptions(
    Budget.parse("det=4,track=8"), LossOptions(repeats=40, jitters=3), SearchOptions(12)
)
SPEEDS = {"fp32": Speed(2.0, 3.0, 200), "int8": Speed(1.0, 2.0, 100)}


def world(seed: int, clips: int, frames: int) -> SyntheticWorld:
    return SyntheticWorld(seed, clips, frames, SIZE)


@pytest.fixture(scope="module")
def mix() -> DataMix:
    shown = world(8, 2, 50)
    return DataMix(shown.classes, shown.image_classes, (shown,))


@pytest.fixture(autouse=True)
def speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on the machine is decided here."""
    monkeypatch.setattr(within, "time_models", lambda *_: SPEEDS)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, str]]:
    """`toy`, in float the same function: one channel between two convolutions is 4,000 times as
    large, and the second one's weights for it are as much smaller. The file, and the two."""
    model, manifest = load_model(resolve_model("toy"))
    index = GraphIndex(model)
    for first in (node for node in index.nodes if node.op_type == "Conv"):
        second = index.only_reader(first.output[0])
        if second is not None and second.op_type == "Conv":
            break
    else:
        pytest.fail("two convolutions in a row are what this needs")
    for name, axis, factor in ((first.input[1], 0, 4000), (first.input[2], 0, 4000),
                               (second.input[1], 1, 1 / 4000)):  # fmt: skip
        values = index.value(name).copy()
        values[(slice(None),) * axis + (0,)] *= factor
        index.constants[name].CopyFrom(numpy_helper.from_array(values, name))
    path = tmp_path_factory.mktemp("fragile") / "fragile.onnx"
    save_model(model, manifest, path)
    return path, (first.output[0], second.output[0])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_toy_keeps_its_budget_whole(tmp_path: Path, mix: DataMix) -> None:
    out = tmp_path / "m.int8.onnx"
    report = calibrate_within(resolve_model("toy"), world(3, 4, 5), mix, out, OPTIONS, WANTED)
    assert files(tmp_path) == {
        "m.int8.onnx", "m.int8.trt.onnx", "m.int8.ranges.json", "m.int8.report.md",
        "m.int8.report.json", "m.int8.report.svg",
    }  # fmt: skip
    assert report.chosen is not None
    assert report.chosen.verdict == "keeps"
    assert (report.recommended, report.chosen.candidate.floats) == ("int8", ())
    told = json.loads((tmp_path / "m.int8.report.json").read_text())
    assert told == json.loads(json.dumps(report.to_dict()))
    assert {one["score"] for one in told["chosen"]["losses"]["int8 trt"]} >= {"map", "hota", "idf1"}
    assert told["provenance"]["images"] == 12
    text = (tmp_path / "m.int8.report.md").read_text()
    for words in ("Budget `det=4,track=8`: kept.", "int8: map", "(recommended)", "content_sha256",
                  "embedding cosine, mean"):  # fmt: skip
        assert words in text
    assert {Path(name).name for name, _ in report.files()} <= files(tmp_path)
    ElementTree.fromstring((tmp_path / "m.int8.report.svg").read_text())
    # the table that was written rebuilds both graphs
    again = rebuild(resolve_model("toy"), tmp_path / "m.int8.ranges.json", tmp_path / "r.onnx")
    for a, b in ((out, again.host), (tmp_path / "m.int8.trt.onnx", again.trt)):
        assert canonical_hash(load_model(a)[0]) == canonical_hash(load_model(b)[0])


def test_a_layer_that_int8_cannot_stand_stays_in_float(
    tmp_path: Path, mix: DataMix, fragile: tuple[Path, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model, guilty = fragile
    out = tmp_path / "m.int8.onnx"
    asked = []
    measure = Judge.__call__

    def stopped(judge: Judge, candidate: Candidate) -> Any:
        asked.append(candidate)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure(judge, candidate)

    monkeypatch.setattr(Judge, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        calibrate_within(model, world(3, 4, 5), mix, out, OPTIONS, WANTED)
    assert files(tmp_path) == {"m.int8.search.json"}
    kept = json.loads((tmp_path / "m.int8.search.json").read_text())["trials"]
    assert [trial["observer"] for trial in kept] == ["minmax", "mse"]
    # it goes on where it was stopped
    measured = []
    inside = Judge._measure
    monkeypatch.setattr(Judge, "__call__", measure)
    monkeypatch.setattr(
        Judge, "_measure", lambda self, *a: measured.append(a[1]) or inside(self, *a)
    )
    report = calibrate_within(model, world(3, 4, 5), mix, out, OPTIONS, WANTED)
    assert report.chosen is not None
    assert set(report.chosen.candidate.floats) == set(guilty)
    assert measured[:2] == ["float32", "int8, percentile, 0 layers in float"]
    assert not any("minmax, 0" in what or "mse, 0" in what for what in measured)
    whole = [trial.verdict for trial in report.trials if not trial.candidate.floats]
    assert whole == ["breaks"] * 4
    worst = sorted(report.sensitivity, key=lambda s: -s.of(("det",)))[:2]
    assert {s.layer.name for s in worst} == set(guilty)
    assert load_ranges(tmp_path / "m.int8.ranges.json").float_layers == guilty
    before = GraphIndex(load_model(model)[0])
    weights = {before.producer[layer].input[1] for layer in guilty}
    for name in ("m.int8.onnx", "m.int8.trt.onnx"):
        graph, manifest = load_model(tmp_path / name)
        assert manifest.precision == "mixed"
        read = {name for node in graph.graph.node if node.op_type == "Conv" for name in node.input}
        half = "/half" if manifest.dialect == "trt" else ""
        assert {f"{name}{half}" for name in weights} <= read  # the numbers, not their integers
    assert any(o.where == guilty[0] and "channel 0" in o.what for o in report.oddities)
    text = (tmp_path / "m.int8.report.md").read_text()
    assert f"- `{guilty[0]}`" in text
    assert "Layers by error" in text
    assert "m.int8.search.json" not in files(tmp_path)


def test_without_an_answer_there_is_a_report_and_nothing_else(
    tmp_path: Path, mix: DataMix, fragile: tuple[Path, tuple[str, str]]
) -> None:
    out = tmp_path / "m.int8.onnx"
    out.write_bytes(b"of an earlier day")
    few = BudgetOptions(WANTED.budget, WANTED.losses, SearchOptions(trials=2))
    with pytest.raises(CalibrationError, match="no set of layers keeps it") as caught:
        calibrate_within(fragile[0], world(3, 4, 5), mix, out, OPTIONS, few)
    assert "m.int8.report.md" in caught.value.hint
    assert out.read_bytes() == b"of an earlier day"
    assert not {"m.int8.trt.onnx", "m.int8.ranges.json"} & files(tmp_path)
    assert "**not kept**" in (tmp_path / "m.int8.report.md").read_text()
    told = json.loads((tmp_path / "m.int8.report.json").read_text())
    assert (told["kept"], told["written"], len(told["trials"])) == (False, False, 2)
    assert (told["out"], told["trt"], told["ranges"]) == (None, None, None)


def test_slower_int8_is_written_only_if_asked_for(
    tmp_path: Path, mix: DataMix, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"fp32": SPEEDS["int8"], "int8": SPEEDS["fp32"]}
    monkeypatch.setattr(within, "time_models", lambda *_: slow)
    free = BudgetOptions(Budget({}), LossOptions(2, 1))
    out, pictures = tmp_path / "m.onnx", world(3, 4, 5)
    with pytest.raises(CalibrationError, match=r"slower on this host: 2\.00 ms, float32 1\.00"):
        calibrate_within(resolve_model("toy"), pictures, mix, out, OPTIONS, free)
    assert files(tmp_path) == {"m.report.md", "m.report.json", "m.report.svg", "m.search.json"}
    told = json.loads((tmp_path / "m.report.json").read_text())
    assert (told["kept"], told["written"], told["recommended"]) == (True, False, "fp32")
    assert (told["out"], told["trt"], told["ranges"]) == (None, None, None)
    assert "agreement" in told  # what was found out is told
    # every session has as many threads as were asked for
    seen, real = [], onnxruntime.InferenceSession

    def noted(model: Any, options: onnxruntime.SessionOptions, **kw: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        return real(model, options, **kw)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    asked = BudgetOptions(Budget({}), LossOptions(2, 1), allow_slower=True)
    report = calibrate_within(resolve_model("toy"), pictures, mix, out, OPTIONS, asked)
    assert seen
    assert set(seen) == {1}
    assert report.recommended == "fp32"
    told = json.loads((tmp_path / "m.report.json").read_text())
    assert told["written"] is True
    assert all(Path(told[key]).is_file() for key in ("out", "trt", "ranges"))


def test_pictures_of_the_evaluation_do_not_calibrate(tmp_path: Path, mix: DataMix) -> None:
    out = tmp_path / "m.onnx"
    same = mix.sets[0]
    with pytest.raises(CalibrationError, match=r"12 of the .* are in .* 'synthetic'"):
        calibrate_within(resolve_model("toy"), same, mix, out, OPTIONS, WANTED)
    assert files(tmp_path) == set()
    unknown = BudgetOptions(WANTED.budget, allow_overlap=("wrld",))
    with pytest.raises(ConfigError, match=r"no evaluation set 'wrld'"):
        calibrate_within(resolve_model("toy"), same, mix, out, OPTIONS, unknown)


def test_a_task_of_another_model_is_refused_before_any_picture_is_read(tmp_path: Path) -> None:
    class Unread:
        def __len__(self) -> int:
            raise AssertionError("a picture was asked for")

    model = write_tiny(tmp_path / "m.onnx", embedding_dim=None)
    wanted = BudgetOptions(Budget.parse("det=1,embed=1"))
    with pytest.raises(ConfigError, match="'embed' is of rank1, and the model does not embed"):
        calibrate_within(
            model, Unread(), DataMix((), (), (Unread(),)), tmp_path / "o.onnx", OPTIONS, wanted
        )
    assert files(tmp_path) == {"m.onnx"}


def test_look_alikes_are_found_and_strangers_are_not(mix: DataMix) -> None:
    class Darker:
        """The evaluation's pictures at half the contrast, and noise."""

        def __len__(self) -> int:
            return 3

        def file(self, index: int) -> str:
            return f"dark/{index}"

        def image(self, index: int) -> np.ndarray:
            if index == 2:
                return np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
            dark: np.ndarray = mix.sets[0].image(40 * index) // 2 + 9
            return dark

    (found,), digest = find_shared(Darker(), (0, 1, 2), mix)
    assert (found.name, found.same, found.alike, found.example[0]) == ("synthetic", 0, 2, "dark/0")
    none, same_digest = find_shared(Darker(), (2,), mix)
    assert (none, same_digest) == ((), digest)


def test_the_digest_is_of_all_that_the_scores_depend_on() -> None:
    def digest(*sets: DataSet) -> str:
        mix = DataMix(sets[0].classes, sets[0].image_classes, sets)
        return find_shared(world(3, 1, 1), (0,), mix)[1]

    def changed(**values: Any) -> SyntheticWorld:
        data = world(8, 2, 4)
        for name, value in values.items():
            setattr(data, name, value)
        return data

    plain = world(8, 2, 4)
    assert digest(plain) == digest(world(8, 2, 4))
    (first, second), labelled = plain.sequences, plain.labelled.copy()
    labelled[1] = False
    others = [
        [changed(sequences=(replace(first, fps=7.0), second))],
        [changed(sequences=(replace(first, stop=second.stop),))],
        [changed(sequences=())],
        [changed(labelled=labelled)],
        [changed(tasks=frozenset({"detect"}))],
        [changed(classes=plain.classes[::-1])],
        [changed(image_classes=plain.image_classes[::-1])],
        [changed(identity_source="elsewhere")],
    ]
    found = {digest(plain), *(digest(*sets) for sets in others)}
    assert len(found) == 1 + len(others)

    # the same frames, with the limit between two sets elsewhere
    class Part(DataSet):
        def __init__(self, start: int, stop: int) -> None:
            self.whole, self.start, self.stop = world(8, 1, 6), start, stop
            for name in ("name", "classes", "image_classes", "labelled", "tasks"):
                setattr(self, name, getattr(self.whole, name))

        def __len__(self) -> int:
            return self.stop - self.start

        def image(self, index: int) -> np.ndarray:
            return self.whole.image(self.start + index)

        def truth(self, index: int) -> Truth:
            return self.whole.truth(self.start + index)

        def file(self, index: int) -> str:
            return str(self.start + index)

    assert digest(Part(0, 2), Part(2, 6)) != digest(Part(0, 4), Part(4, 6))


def test_sensitivity_is_nothing_where_rounding_is_nothing() -> None:
    model, manifest = load_model(resolve_model("toy"))
    rule = make_rule("minmax")
    batches = ImageBatches(world(3, 2, 2), (0, 2), manifest.input)
    seen = collect(model, batches, lambda: HistogramObserver(rule))
    table = load_ranges(
        Path(__file__).resolve().parents[2] / "calibration" / "tables" / "toy.ranges.json"
    ).model_copy(update={"ranges": seen.ranges, "means": seen.means})
    found = measure_sensitivity(model, table, (host_dialect(), TRT), batches, threads=1)
    assert all(0 <= e < 0.05 for one in found for e in one.errors.values())
    assert {part for one in found for part in one.errors} == {"det", "cls", "embed"}
    # a layer behind the exit of a task cannot disturb it
    last = next(s for s in found if s.layer.name == "conv2d_66")
    assert last.errors["det"] > 0
    assert last.errors["cls"] == last.errors["embed"] == 0
    assert last.of(("track",)) == last.of(("det",)) > last.of(("cls",)) == 0
    assert not any("drowns" in oddity.what for oddity in find_oddities(model, seen))


@pytest.mark.parametrize("total", [1, 2, 15, 16, 17, 24, 31, 32, 47, 48, 49, 95, 200])
def test_layers_and_colours_are_judged_over_all_of_the_pictures(
    total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of a video may show what the first do not."""
    drawn = {}

    def noted(name: str) -> Any:
        def take(*args: Any) -> tuple[()]:
            (batches,) = (one for one in args if isinstance(one, ImageBatches))
            drawn[name] = list(batches.indices)
            return ()

        return take

    monkeypatch.setattr(within, "check_order", noted("order"))
    monkeypatch.setattr(within, "measure_sensitivity", noted("layers"))
    monkeypatch.setattr(within, "find_oddities", lambda *_: ())
    options = CalibrateOptions(limit=total, held_out=0, observer="minmax", threads=1)
    pictures = world(3, total, 1)
    job = within._Job(load_model(resolve_model("toy")), pictures, options, WANTED)
    job.seen = Statistics({}, {})
    job.oddities()
    job._rank("minmax")
    for name, most in (("order", 48), ("layers", 16)):
        indices = drawn[name]
        assert len(indices) == min(most, total)
        assert (indices[0], indices[-1]) == (0, total - 1)
        gaps = np.diff(indices)
        assert gaps.size == 0 or gaps.max() <= gaps.min() + 1


@pytest.mark.parametrize(("wins", "votes"), [(0, 0), (0, 5), (3, 5), (9, 10), (10, 10)])
def test_chance_is_the_binomial_tail(wins: int, votes: int) -> None:
    outcomes = np.array([bin(k).count("1") for k in range(2**votes)])
    assert chance(wins, votes) == pytest.approx((outcomes >= wins).mean())


@pytest.mark.parametrize("exchanged", [False, True])
def test_exchanged_colours_are_noticed(exchanged: bool, data_root: Path) -> None:
    frames = VideoFrames(data_root / "mot" / "PETS09-S2L1" / "vtest.avi", 0, 240, step=8)
    model, manifest = load_model(resolve_model("street"))

    class Pictures:
        def __len__(self) -> int:
            return 30

        def file(self, index: int) -> str:
            return str(index)

        def image(self, index: int) -> np.ndarray:
            picture = frames.image(index)
            return picture[..., ::-1] if exchanged else picture

    found = check_order(model, manifest, ImageBatches(Pictures(), range(30), manifest.input))
    assert [oddity.where for oddity in found] == ["images"] * exchanged
    if exchanged:
        assert "red and blue exchanged in" in found[0].what


def test_outliers_and_dead_channels_are_named() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20]>
        odd (float[1, 1, 40, 40] x) => (float[1, 2, 40, 40] out)
        <float[2, 1, 1, 1] w = {0.0, 2.0}, float[2] b = {0.0, 0.0},
         float[2, 2, 1, 1] v = {0.1, 0.1, 100.0, 100.0}> {
            zero = Conv(x, w, b)
            out = Conv(zero, v, b)
        }""")
    pixels = np.random.default_rng(0).normal(0, 1, (20, 1, 40, 40)).astype(np.float32)
    pixels[0, 0, 0, 0] = 1000
    seen = collect(model, pixels[:, None], lambda: HistogramObserver(make_rule("minmax")))
    found = {oddity.where: oddity.what for oddity in find_oddities(model, seen)}
    assert "to 1000, but 99.98 % lie in -" in found["x"]
    assert "1 of 2 channels are dead" in [o.what for o in find_oddities(model, seen)]
    still = collect(model, np.zeros((1, 1, 1, 40, 40), np.float32),
                    lambda: HistogramObserver(make_rule("minmax")))  # fmt: skip
    assert {o.where: o.what for o in find_oddities(model, still)}["x"] == "always 0"


def test_models_take_turns(tmp_path: Path) -> None:
    path = resolve_model("toy")
    found = time_models({"a": path, "b": path}, threads=1, rounds=3)
    assert set(found) == {"a", "b"}
    assert all(0 < s.p50_ms <= s.p95_ms and s.size_bytes > 0 for s in found.values())


def test_files_that_were_not_written_are_not_named() -> None:
    made = CalibrationReport(
        Path("m.onnx"), Path("m.trt.onnx"), Path("m.ranges.json"), "mse", 1, 0, 1, (1, 1, 1), (), ()
    )
    report = BudgetReport("m", Budget({}), {}, calibration=made)
    assert report.to_dict()["out"] == "m.onnx"
    assert len(report.files()) == 4
    report.problem = "INT8 is slower"
    assert (report.to_dict()["out"], report.files()) == (None, [])


def test_a_report_of_nothing_is_still_one(tmp_path: Path) -> None:
    report = BudgetReport("m", Budget.parse("det=1"), {"images": 0}, problem="nothing came of it")
    assert report.files() == []
    for path in report.save(tmp_path / "m.onnx"):
        assert path.stat().st_size > 0
    assert "nothing came of it" in report.markdown("p.svg")
    ElementTree.fromstring(losses_svg("<&>", {}))
