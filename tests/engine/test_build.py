"""Building engines: with TensorRT-RTX, which needs no GPU, and with a TensorRT in small."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from fake_builder import FakeBuild, add_builder
from fake_gpu import install_gpu
from graph_tools import manifest_of, measured, pictures
from onnx import numpy_helper
from tiny_model import tiny_model, write_tiny

from edgemtl.engine import build_job
from edgemtl.engine import gpu as gpu_module
from edgemtl.engine.bindings import find_builder
from edgemtl.engine.build import BuildOptions, BuildReport, build_engine, log_path
from edgemtl.engine.build_graph import choose_graph
from edgemtl.engine.build_layers import inspected_layers
from edgemtl.engine.build_progress import run_cancellable
from edgemtl.engine.build_proof import differences
from edgemtl.engine.manifest import read_engine, read_engine_manifest
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.session import Ticket
from edgemtl.errors import EdgeMTLError, EngineError, MissingExtraError, ModelError, OutputError
from edgemtl.graph.dialect import TRT, host_dialect
from edgemtl.graph.file import save_model
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import save_ranges
from edgemtl.records import NetOutputs


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``calibrate`` leaves: the float model, both INT8 graphs and their table."""
    folder = tmp_path_factory.mktemp("models")
    model = tiny_model()
    write_tiny(folder / "m.onnx")
    table = measured(model, pictures(manifest_of(model)))
    for dialect, name in ((host_dialect(), "m.int8.onnx"), (TRT, "m.int8.trt.onnx")):
        save_model(*quantise_model(model, manifest_of(model), table, dialect), folder / name)
    save_ranges(table, folder / "m.int8.ranges.json")
    return folder


@pytest.fixture
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


@pytest.fixture
def sigint() -> Iterator[None]:
    """Ctrl-C as Python has it by default; a shell starts background jobs without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    """What the terminal does: the signal itself, to the main thread."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def rtx_build(model: Path, out: Path, precision: str) -> BuildReport:
    return build_engine(model, out, BuildOptions(precision, flavour="tensorrt_rtx"))


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    ("given", "precision", "built_from", "model_precision"),
    [
        ("m.onnx", "fp32", "m.onnx", ("fp32", "none")),
        ("m.onnx", "fp16", "m.onnx", ("fp16", "none")),
        ("m.int8.onnx", "int8", "m.int8.trt.onnx", ("int8", "trt")),
        ("m.int8.trt.onnx", "int8", "m.int8.trt.onnx", ("int8", "trt")),
        ("m.onnx", "int8", "m.onnx", ("int8", "trt")),
    ],
)
def test_rtx_builds_every_precision(
    models: Path,
    tmp_path: Path,
    given: str,
    precision: str,
    built_from: str,
    model_precision: tuple[str, str],
) -> None:
    import tensorrt_rtx

    report = rtx_build(models / given, tmp_path / "m.engine", precision)
    assert names(tmp_path) == {"m.engine", "m.engine.json", "m.engine.log"}
    plan, engine = read_engine(tmp_path / "m.engine")
    assert engine == report.engine
    assert (engine.flavour, engine.version) == ("tensorrt_rtx", tensorrt_rtx.__version__)
    assert (engine.gpu, engine.precision, engine.batch) == (None, precision, (1, 1, 4))
    assert (engine.model.precision, engine.model.dialect) == model_precision
    assert engine.model.input.dtype == "int8"
    assert engine.source == str(models / given)
    source = (models / built_from).read_bytes()
    assert engine.onnx_sha256 == hashlib.sha256(source).hexdigest()
    assert report.built_from == models / built_from
    assert report.size_bytes == len(plan) > 10_000
    assert engine.build_seconds > 0
    facts = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (facts["precision"], facts["checked"]) == (precision, False)
    assert facts["manifest"] == str(tmp_path / "m.engine.json")
    for word in ("m.engine: ", precision, built_from, "1 to 4", "not run on this machine"):
        assert word in report.text()


@pytest.mark.usefixtures("rtx")
def test_rtx_says_what_it_cannot_read(tmp_path: Path) -> None:
    """Det is ONNX, and no TensorRT has it."""
    model = tiny_model(size_hw=(32, 32))
    model.graph.node.append(onnx.helper.make_node("Det", ["t0"], ["det"], name="the_det"))
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match="cannot read the graph") as caught:
        rtx_build(tmp_path / "m.onnx", tmp_path / "m.engine", "fp32")
    assert "at Det 'the_det'" in caught.value.message
    assert "\n" not in caught.value.message
    assert str(caught.value.hint).endswith(f"; see {tmp_path / 'm.engine.log'}")
    assert names(tmp_path) == {"m.onnx", "m.engine.log"}
    assert "the_det" in log_path(tmp_path / "m.engine").read_text(encoding="utf-8")


@pytest.mark.usefixtures("rtx", "sigint")
def test_ctrl_c_ends_a_real_build(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    make = build_job.make_monitor

    def interrupting(module: object, step: Callable[[], bool]) -> object:
        def count() -> bool:
            if not taken:
                ctrl_c()
            time.sleep(0.02)
            taken.append(step())
            return taken[-1]

        return make(module, count)

    monkeypatch.setattr(build_job, "make_monitor", interrupting)
    with pytest.raises(KeyboardInterrupt):
        rtx_build(models / "m.onnx", tmp_path / "m.engine", "fp32")
    assert taken[-1] is False
    assert len(taken) < 150, "the build went on to its end"
    assert names(tmp_path) == set()


def _broken(folder: Path) -> None:
    (folder / "m.onnx").write_bytes((folder / "m.onnx").read_bytes()[:5000])


def _lone(folder: Path) -> None:
    for name in ("m.int8.trt.onnx", "m.int8.ranges.json"):
        (folder / name).unlink()


def _other_calibration(folder: Path) -> None:
    model = tiny_model()
    table = measured(model, pictures(manifest_of(model), seed=9))
    quantised = quantise_model(model, manifest_of(model), table, TRT)
    save_model(*quantised, folder / "m.int8.trt.onnx")


def _other_network(folder: Path) -> None:
    write_tiny(folder / "m.onnx", seed=1)


def _large_weight(folder: Path) -> None:
    model = onnx.load(str(folder / "m.onnx"))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(t for t in model.graph.initializer if t.name == conv.input[1])
    value = numpy_helper.to_array(weight) * np.float32(1e6)
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))
    onnx.save(model, str(folder / "m.onnx"))


def _engine(folder: Path) -> None:
    (folder / "m.engine").write_bytes(b"an engine")


REFUSED: list[
    tuple[Callable[[Path], object], str, str, str, type[EdgeMTLError], str, str | None]
] = [
    (_lone, "m.onnx", "int8", "x.engine", EngineError, "INT8 needs .* Q/DQ", "edgemtl calibrate "),
    (_lone, "m.int8.onnx", "int8", "x.engine", EngineError, "not beside it", "calibrate .*m.onnx"),
    (
        _other_network, "m.onnx", "int8", "x.engine",
        EngineError, "INT8 needs .* Q/DQ", r"edgemtl calibrate .*m\.onnx --images .*m\.int8\.onnx",
    ),
    (
        _other_calibration, "m.int8.onnx", "int8", "x.engine",
        EngineError, "same calibration", "edgemtl calibrate ",
    ),
    (str, "m.int8.onnx", "fp32", "x.engine", EngineError, "fp32 from an int8", "--precision int8"),
    (str, "m.int8.trt.onnx", "fp16", "x.engine", EngineError, "fp16 from an int8", "float32"),
    (_engine, "m.engine", "fp32", "x.engine", EngineError, "an engine already", r"\.onnx"),
    (_broken, "m.onnx", "fp32", "x.engine", ModelError, "only a part", "export"),
    (str, "gone.onnx", "fp32", "x.engine", ModelError, "cannot be read", None),
    (_large_weight, "m.onnx", "fp16", "x.engine", ModelError, "float16 cannot", "fp32"),
    (str, "m.onnx", "fp32", "x.onnx", OutputError, r"ending in \.engine", None),
    (str, "m.onnx", "fp32", "no/x.engine", OutputError, "does not exist", "mkdir"),
    (
        lambda folder: (folder / "x.engine").mkdir(), "m.onnx", "fp32", "x.engine",
        OutputError, "is a folder", None,
    ),
    (
        lambda folder: (folder / "x.engine.json").mkdir(), "m.onnx", "fp32", "x.engine",
        OutputError, "is a folder", None,
    ),
]  # fmt: skip


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("prepare", "model", "precision", "out", "error", "word", "hint"), REFUSED)
def test_refusals_write_nothing(
    models: Path,
    tmp_path: Path,
    prepare: Callable[[Path], object],
    model: str,
    precision: str,
    out: str,
    error: type[EdgeMTLError],
    word: str,
    hint: str | None,
) -> None:
    for path in models.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    prepare(tmp_path)
    before = names(tmp_path)
    with pytest.raises(error, match=word) as caught:
        build_engine(tmp_path / model, tmp_path / out, BuildOptions(precision))
    if hint is not None:
        assert re.search(hint, str(caught.value.hint))
    assert "\n" not in caught.value.message
    assert names(tmp_path) == before


def test_int8_engines_are_quantised_and_nothing_else_is(models: Path) -> None:
    kinds = {
        precision: {n.op_type for n in choose_graph(models / "m.onnx", precision).model.graph.node}
        for precision in ("fp32", "fp16", "int8")
    }
    assert "QuantizeLinear" in kinds["int8"]
    assert "QuantizeLinear" not in kinds["fp32"] | kinds["fp16"]
    assert choose_graph(models / "m.onnx", "fp32").model == onnx.load(str(models / "m.onnx"))


def test_a_float16_model_is_taken_as_it_is(models: Path, tmp_path: Path) -> None:
    half = choose_graph(models / "m.onnx", "fp16")
    save_model(half.model, half.manifest, tmp_path / "half.onnx")
    again = choose_graph(tmp_path / "half.onnx", "fp16")
    assert list(again.model.graph.node) == list(half.model.graph.node)
    with pytest.raises(EngineError, match="fp32 from an fp16 graph"):
        choose_graph(tmp_path / "half.onnx", "fp32")
    with pytest.raises(EngineError, match="this one is fp16"):
        choose_graph(tmp_path / "half.onnx", "int8")


def test_what_the_builder_is_told(models: Path, tmp_path: Path, fake: FakeBuild) -> None:
    options = BuildOptions("fp32", workspace_mb=64, batch=(1, 2, 8))
    report = build_engine(models / "m.onnx", tmp_path / "m.engine", options)
    shapes = [(n, 3, 32, 64) for n in (1, 2, 8)]
    assert fake.profiles == [("images", *shapes)]
    assert fake.workspace == 64 * 2**20
    assert fake.flags == 1 << 1, "TensorRT 10: STRONGLY_TYPED is bit 1"
    assert fake.answers == [True, True, True]
    assert report.engine.batch == (1, 2, 8)
    assert report.engine.workspace_mb == 64
    assert report.engine.gpu is not None
    assert report.engine.gpu.name == "Fake Orin"
    assert report.checked
    assert "finite and as ONNX Runtime's" in report.text()
    assert "Fake Orin (compute capability 8.7)" in report.text()
    assert (tmp_path / "m.engine").read_bytes() == (models / "m.onnx").read_bytes()


@pytest.mark.parametrize(("typed_bit", "flags"), [(0, 1), (None, 0)])
def test_newer_tensorrt_is_always_strongly_typed(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed_bit: int | None,
    flags: int,
) -> None:
    install_gpu(monkeypatch, version="11.0.0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = add_builder(sys.modules["tensorrt"], typed_bit=typed_bit)
    build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert told.flags == flags
    assert read_engine_manifest(tmp_path / "m.engine").version == "11.0.0"


def test_a_fixed_batch_needs_no_profile(tmp_path: Path, fake: FakeBuild) -> None:
    model = tiny_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(tmp_path / "m.onnx"))
    report = build_engine(tmp_path / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert fake.profiles == []
    assert report.engine.batch == (1, 1, 1)


def test_a_failed_build_says_why(models: Path, tmp_path: Path, fake: FakeBuild) -> None:
    (tmp_path / "m.engine").write_bytes(b"the old one")
    fake.change = lambda data: None
    with pytest.raises(EngineError, match="could not find any implementation") as caught:
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert "--workspace-mb" in str(caught.value.hint)
    fake.parse_error = SimpleNamespace(
        desc=lambda: "no importer\nfor it", node_name=lambda: "", node_operator=lambda: ""
    )
    with pytest.raises(EngineError, match=r"cannot read the graph: no importer for it$"):
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    fake.broken_builder = True
    with pytest.raises(EngineError, match="on this machine: CUDA initialization failure"):
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert names(tmp_path) == {"m.engine", "m.engine.log"}
    assert (tmp_path / "m.engine").read_bytes() == b"the old one"


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_leaves_nothing(models: Path, tmp_path: Path, fake: FakeBuild) -> None:
    fake.steps = 500

    def interrupt(number: int) -> None:
        assert threading.current_thread() is not threading.main_thread()
        if number == 2:
            ctrl_c()
        time.sleep(0.01)

    fake.before_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert fake.answers[:2] == [True, True]
    assert fake.answers[-1] is False
    assert len(fake.answers) < 500
    assert names(tmp_path) == set()


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("at_once", [True, False])
def test_ctrl_c_waits_for_the_work_to_end(at_once: bool) -> None:
    ended: list[bool] = []

    def work(step: Callable[[], bool]) -> None:
        if not at_once:
            time.sleep(0.05)
        ctrl_c()
        time.sleep(0.05)
        while step():
            time.sleep(0.005)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_cancellable(work, "x")
    assert ended == [True]


def test_work_beside_the_main_thread_gives_its_result_or_its_error() -> None:
    assert run_cancellable(lambda step: [step() for _ in range(3)], "x") == [True] * 3
    with pytest.raises(ZeroDivisionError):
        run_cancellable(lambda step: 1 // 0, "x")


@pytest.mark.parametrize("field", ["scores", "image_probs", "boxes", "embeddings"])
def test_an_engine_that_is_not_finite_is_not_written(
    models: Path, tmp_path: Path, fake: FakeBuild, field: str
) -> None:
    def spoil(data: bytes) -> bytes:
        """The output ``field`` of the engine becomes infinite, as overflown float16 is."""
        model = onnx.ModelProto.FromString(data)
        node = next(n for n in model.graph.node if field in n.output)
        node.output[list(node.output).index(field)] = "honest"
        infinite = numpy_helper.from_array(np.array(np.inf, np.float32), "infinite")
        model.graph.initializer.append(infinite)
        model.graph.node.append(onnx.helper.make_node("Add", ["honest", "infinite"], [field]))
        return model.SerializeToString()

    fake.change = spoil
    with pytest.raises(EngineError, match="not finite") as caught:
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp16"))
    assert field in caught.value.message
    assert names(tmp_path) == {"cache", "m.engine.log"}


def test_an_engine_that_says_something_else_is_not_written(
    models: Path, tmp_path: Path, fake: FakeBuild
) -> None:
    """A builder that has a network of its own."""
    fake.change = lambda data: tiny_model(seed=3).SerializeToString()
    with pytest.raises(EngineError, match="something else than ONNX Runtime") as caught:
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert "mean image probability difference" in caught.value.message
    assert names(tmp_path) == {"cache", "m.engine.log"}


def test_outputs_that_are_finite_on_noise_alone(models: Path) -> None:
    class Spoilt(OrtSession):
        def collect(self, ticket: Ticket) -> NetOutputs:
            outputs = super().collect(ticket)
            assert outputs.image_probs is not None
            outputs.image_probs[...] = np.nan
            return outputs

    with (
        closing(OrtSession(models / "m.onnx")) as truth,
        closing(Spoilt(models / "m.onnx")) as spoilt,
    ):
        assert differences(truth, truth) == []
        assert differences(truth, spoilt) == ["its outputs are not finite"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_held_to_their_own_graph(
    models: Path, tmp_path: Path, fake: FakeBuild, precision: str
) -> None:
    options = BuildOptions(precision, batch=(2, 2, 4))
    report = build_engine(models / "m.onnx", tmp_path / "m.engine", options)
    assert report.checked
    assert report.engine.batch == (2, 2, 4)
    assert "2 to 4, best for 2" in report.text()


def test_what_memory_is_short_of(models: Path, tmp_path: Path, fake: FakeBuild) -> None:
    fake.change, fake.failure = lambda data: None, "[virtualMemoryBuffer] CUDA error: out of memory"
    with pytest.raises(EngineError, match="out of memory") as caught:
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    for word in ("--workspace-mb 256", "--batch 1", "swap", "m.engine.log"):
        assert word in str(caught.value.hint)


def test_the_log_holds_what_was_said(models: Path, tmp_path: Path, fake: FakeBuild) -> None:
    build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    lines = log_path(tmp_path / "m.engine").read_text(encoding="utf-8").splitlines()
    assert "tensorrt 10.3.0" in lines[0]
    assert "GPU Fake Orin (compute capability 8.7)" in lines
    assert lines[-2:] == ["info: Total Host Persistent Memory: 0 bytes", "built"]
    fake.change = lambda data: None
    with pytest.raises(EngineError):
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    text = log_path(tmp_path / "m.engine").read_text(encoding="utf-8")
    assert "error: Error Code 10: could not find any implementation" in text


def test_the_layers_of_an_engine_and_their_times(
    models: Path, tmp_path: Path, fake: FakeBuild
) -> None:
    options = BuildOptions("fp16", profile=True)
    report = build_engine(models / "m.onnx", tmp_path / "m.engine", options)
    assert fake.verbosity == "detailed"
    assert report.engine.profile
    told = json.loads((tmp_path / "m.engine.layers.json").read_text(encoding="utf-8"))
    assert told["source"] == "engine"
    assert [(one["name"], one["ms"]) for one in told["layers"]] == [
        ("first", 1.0), ("second", 2.0), ("third", None),
    ]  # fmt: skip
    assert told["layers"][0]["dtype"] == "half"
    heading, slowest, *_ = report.rows()
    assert heading == ["layer", "kind", "type", "shape", "ms"]
    assert slowest == ["second", "caskconvolution", "half", "1x8x4x4", "2.000"]


@pytest.mark.usefixtures("rtx")
def test_without_a_gpu_the_layers_are_those_that_were_parsed(models: Path, tmp_path: Path) -> None:
    options = BuildOptions("int8", flavour="tensorrt_rtx", profile=True)
    report = build_engine(models / "m.onnx", tmp_path / "m.engine", options)
    told = json.loads((tmp_path / "m.engine.layers.json").read_text(encoding="utf-8"))
    assert told["source"] == "parsed"
    convolutions = [one for one in report.layers if one.kind == "convolution"]
    graph = choose_graph(models / "m.onnx", "int8").model.graph
    assert len(convolutions) == sum(node.op_type == "Conv" for node in graph.node)
    assert {"quantize", "dequantize"} <= {one.kind for one in report.layers}
    assert all(one.ms is None for one in report.layers)
    assert report.rows()[0] == ["layer", "kind", "type", "shape"]
    plain = rtx_build(models / "m.onnx", tmp_path / "m.engine", "int8")
    assert (plain.layers, plain.rows()[1:]) == ((), [])
    assert not (tmp_path / "m.engine.layers.json").exists(), "they were another engine's"


@pytest.mark.parametrize(
    ("told", "rows"),
    [
        ('{"Layers": []}', []),
        ('{"Layers": ["a", "b"]}', [("a", ""), ("b", "")]),  # built without details
        (
            '{"Layers": [{"Name": "a", "LayerType": "Reformat", "Outputs": []}]}',
            [("a", "reformat")],
        ),
    ],
)
def test_what_inspectors_tell(told: str, rows: list[tuple[str, str]]) -> None:
    assert [(one.name, one.kind) for one in inspected_layers(told)] == rows


@pytest.mark.parametrize("told", ["[]", "{}", '{"Layers": 1}', "no JSON"])
def test_what_no_inspector_tells(told: str) -> None:
    with pytest.raises(ValueError, match=r"Layers|Expecting value"):
        inspected_layers(told)


def test_a_fixed_graph_takes_no_other_batch(tmp_path: Path, fake: FakeBuild) -> None:
    model = tiny_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(EngineError, match="exactly 2 pictures at a time, 1:1:4 were asked for"):
        build_engine(
            tmp_path / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32", batch=(1, 1, 4))
        )
    report = build_engine(
        tmp_path / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32", batch=(2, 2, 2))
    )
    assert report.engine.batch == (2, 2, 2)


def test_without_pycuda_the_engine_is_not_run(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_gpu(monkeypatch, pycuda=False)
    add_builder(sys.modules["tensorrt"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    report = build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
    assert not report.checked


def test_timings_are_kept_for_the_next_build(models: Path, tmp_path: Path, fake: FakeBuild) -> None:
    def build() -> bytes | None:
        build_engine(models / "m.onnx", tmp_path / "m.engine", BuildOptions("fp32"))
        return fake.known

    assert build() == b""
    (cache,) = (tmp_path / "cache" / "edgemtl").iterdir()
    assert cache.name == "tensorrt-10.3.0-Fake-Orin.timings"
    assert build() == b"timings of "
    assert cache.read_bytes() == b"timings of timings of "
    fake.reject_cache = True
    assert build() == b"", "a cache of another machine is replaced"
    assert cache.read_bytes() == b"timings of "


def test_timings_that_cannot_be_kept_are_no_failure(
    models: Path, tmp_path: Path, fake: FakeBuild
) -> None:
    (tmp_path / "file").write_bytes(b"")
    options = BuildOptions("fp32", timing_cache=tmp_path / "file" / "timings")
    assert build_engine(models / "m.onnx", tmp_path / "m.engine", options).size_bytes > 0
    assert fake.known == b""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"workspace_mb": 0}, "workspace_mb: expected at least 1, got 0"),
        ({"batch": (0, 1, 4)}, "batch: expected 1 <= fewest <= best <= most, got 0:1:4"),
        ({"batch": (1, 5, 4)}, "got 1:5:4"),
        ({"batch": (3, 2, 4)}, "got 3:2:4"),
    ],
)
def test_options_are_checked(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        BuildOptions("fp32", **changes)


@pytest.mark.parametrize(
    ("full", "portable", "gpu", "wanted", "found"),
    [
        (True, True, True, None, "tensorrt"),
        (True, True, False, None, "tensorrt_rtx"),
        (False, True, True, None, "tensorrt_rtx"),
        (True, True, True, "tensorrt_rtx", "tensorrt_rtx"),
        (True, False, False, None, EngineError),
        (True, True, False, "tensorrt", EngineError),
        (False, False, True, None, MissingExtraError),
        (True, False, True, "tensorrt_rtx", MissingExtraError),
    ],
)
def test_which_package_builds(
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
    portable: bool,
    gpu: bool,
    wanted: str | None,
    found: str | type[EdgeMTLError],
) -> None:
    for flavour, present in (("tensorrt", full), ("tensorrt_rtx", portable)):
        if present:
            install_gpu(monkeypatch, flavour=flavour)
        else:
            monkeypatch.setitem(sys.modules, flavour, None)
    if not gpu:
        monkeypatch.setattr(gpu_module, "_driver", lambda: None)
    if isinstance(found, str):
        assert find_builder(wanted).flavour == found
        return
    with pytest.raises(found) as caught:
        find_builder(wanted)
    assert "edgemtl[rtx]" in str(caught.value.hint)


def test_stubs_alone_are_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for flavour in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, flavour, SimpleNamespace(__version__="10.13"))
    with pytest.raises(MissingExtraError):
        find_builder()
