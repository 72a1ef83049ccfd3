"""The whole calibration on the tiny model: what is written, that it agrees, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper
from tiny_model import tiny_model, write_tiny

from edgemtl.errors import CalibrationError, DataError, EdgeMTLError, ModelError, OutputError
from edgemtl.graph.dialect import host_dialect
from edgemtl.graph.file import canonical_hash, load_model, save_model
from edgemtl.graph.ranges import load_ranges
from edgemtl.quantize.calibrate import CalibrateOptions, calibrate, rebuild
from edgemtl.quantize.report import CalibrationReport


class Noise:
    """Blocky coloured pictures of several sizes, by index."""

    def __init__(self, count: int = 30, broken: int | None = None) -> None:
        self.count, self.broken = count, broken

    def __len__(self) -> int:
        return self.count

    def file(self, index: int) -> str:
        return f"noise/{index}.png"

    def image(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise DataError(f"{self.file(index)}: cannot be decoded", "remove it")
        rng = np.random.default_rng(index)
        h, w = 6 + index % 3, 8 + index % 5
        return np.kron(rng.integers(0, 256, (h, w, 3)), np.ones((8, 8, 1), int)).astype(np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CalibrationReport]:
    folder = tmp_path_factory.mktemp("calibrated")
    model = write_tiny(folder / "m.onnx")
    return folder, calibrate(model, Noise(), folder / "m.int8.onnx")


def test_files_and_their_manifests(written: tuple[Path, CalibrationReport]) -> None:
    folder, report = written
    names = {"m.onnx", "m.int8.onnx", "m.int8.trt.onnx", "m.int8.ranges.json"}
    assert {path.name for path in folder.iterdir()} == names
    _, host = load_model(folder / "m.int8.onnx")
    _, trt = load_model(folder / "m.int8.trt.onnx")
    assert (host.precision, host.dialect) == ("int8", "ort")
    assert host.input.dtype == host_dialect().activation
    assert (trt.precision, trt.dialect, trt.input.dtype) == ("int8", "trt", "int8")
    table = load_ranges(folder / "m.int8.ranges.json")
    for manifest in (host, trt):
        assert manifest.calibration is not None
        assert manifest.calibration.table_sha256 == table.sha256
        assert manifest.calibration.content_sha256 == table.content_sha256
        assert manifest.calibration.images == table.images == report.images == 24
    assert report.held_out == 6


def test_the_frozen_table_rebuilds_equal_graphs(
    written: tuple[Path, CalibrationReport], tmp_path: Path
) -> None:
    folder, _ = written
    files = rebuild(folder / "m.onnx", folder / "m.int8.ranges.json", tmp_path / "m.int8.onnx")
    for path in (files.host, files.trt):
        assert path.read_bytes() == (folder / path.name).read_bytes()
        models = [load_model(p)[0] for p in (path, folder / path.name)]
        assert canonical_hash(models[0]) == canonical_hash(models[1])


@pytest.mark.parametrize(
    ("model", "table", "out", "kind"),
    [
        ("m.onnx", "t.json", "m.onnx", "model"),
        ("m.trt.onnx", "t.json", "m.onnx", "model"),
        ("m.onnx", "t.json", "sub/../m.onnx", "model"),
        ("m.onnx", "t.onnx", "t.onnx", "table"),
        ("m.onnx", "t.trt.onnx", "t.onnx", "table"),
    ],
)
def test_rebuilding_loses_neither_model_nor_table(
    written: tuple[Path, CalibrationReport],
    tmp_path: Path,
    model: str,
    table: str,
    out: str,
    kind: str,
) -> None:
    (tmp_path / "sub").mkdir()
    kept = {model: "m.onnx", table: "m.int8.ranges.json"}
    for name, original in kept.items():
        (tmp_path / name).write_bytes((written[0] / original).read_bytes())
    with pytest.raises(OutputError, match=f"the {kind} itself"):
        rebuild(tmp_path / model, tmp_path / table, tmp_path / out)
    for name, original in kept.items():
        assert (tmp_path / name).read_bytes() == (written[0] / original).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"sub", *kept}


def test_a_table_may_have_the_name_that_calibrating_would_give_it(
    written: tuple[Path, CalibrationReport], tmp_path: Path
) -> None:
    table = tmp_path / "m.int8.ranges.json"
    table.write_bytes((written[0] / table.name).read_bytes())
    files = rebuild(written[0] / "m.onnx", table, tmp_path / "m.int8.onnx")
    assert files.table.read_bytes() == (written[0] / table.name).read_bytes()


def test_a_table_of_another_model_is_refused(
    written: tuple[Path, CalibrationReport], tmp_path: Path
) -> None:
    folder, _ = written
    other = write_tiny(tmp_path / "other.onnx", seed=1)
    with pytest.raises(CalibrationError, match="another model"):
        rebuild(other, folder / "m.int8.ranges.json", tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["other.onnx"]


def test_the_same_pictures_give_the_same_bytes(
    written: tuple[Path, CalibrationReport], tmp_path: Path
) -> None:
    folder, _ = written
    calibrate(folder / "m.onnx", Noise(), tmp_path / "m.int8.onnx")
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_int8_agrees_with_float(written: tuple[Path, CalibrationReport]) -> None:
    _, report = written
    assert report.drops[0].against == "fp32 : int8"
    for drop in report.drops:
        assert drop.loose.detections > 20
        assert drop.loose.match_rate > 0.85
        assert drop.loose.mean_cosine > 0.95
        assert drop.loose.same_image_class == drop.loose.images == 6


def test_report_as_text_rows_and_json(written: tuple[Path, CalibrationReport]) -> None:
    _, report = written
    text = " ".join(report.notes())
    for word in ("percentile 99.999", "24 images", "6 others"):
        assert word in text
    assert [Path(name).name for name, _ in report.files()] == [
        "m.int8.onnx", "m.int8.trt.onnx", "m.int8.ranges.json",
    ]  # fmt: skip
    assert report.rows()[-1][0] == "same image class"
    assert {len(row) for row in report.rows()} == {4}
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["agreement"]["fp32 : int8"]["iou_0.5"]["images"] == 6
    assert data["size_bytes"]["fp32"] > 0


def test_onnxruntime_takes_the_written_file(written: tuple[Path, CalibrationReport]) -> None:
    folder, _ = written
    session = onnxruntime.InferenceSession(
        str(folder / "m.int8.onnx"), providers=["CPUExecutionProvider"]
    )
    pixels = np.zeros((3, 3, 32, 64), host_dialect().activation)
    assert session.run(None, {"images": pixels})[0].shape == (3, 8, 4)


def test_a_few_pictures_judge_themselves(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    report = calibrate(model, Noise(1), tmp_path / "out.onnx")
    assert (report.images, report.held_out) == (1, 0)
    assert "too few" in " ".join(report.notes())


@pytest.mark.parametrize(
    "kw", [{"embedding_dim": None}, {"image_classes": ()}, {"classes": (), "embedding_dim": None}]
)
def test_any_set_of_tasks(tmp_path: Path, kw: dict[str, object]) -> None:
    model = write_tiny(tmp_path / "m.onnx", **kw)
    report = calibrate(model, Noise(5), tmp_path / "out.onnx")
    assert len(report.tables()[0]) > 1
    json.dumps(report.to_dict(), allow_nan=False)


def test_pictures_without_detections_judge_nothing(tmp_path: Path) -> None:
    model, manifest = load_model(write_tiny(tmp_path / "m.onnx"))
    save_model(model, manifest.model_copy(update={"min_score": 1.0}), tmp_path / "m.onnx")
    report = calibrate(tmp_path / "m.onnx", Noise(5), tmp_path / "out.onnx")
    assert report.rows()[2] == ["same object (IoU 0.5)", "-", "-", "-"]


def test_minmax_and_limits(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    options = CalibrateOptions(observer="minmax", limit=7, held_out=2, batch=3)
    report = calibrate(model, Noise(30), tmp_path / "out.onnx", options)
    assert (report.images, report.held_out, report.observer) == (7, 2, "minmax")


def _named_as_sibling(folder: Path, name: str) -> tuple[Path, Noise, Path]:
    """A model that is called as a file beside ``out.onnx`` will be."""
    (folder / "m.onnx").rename(folder / name)
    return folder / name, Noise(), folder / "out.onnx"


def _linked(folder: Path) -> tuple[Path, Noise, Path]:
    (folder / "link.onnx").symlink_to("m.onnx")
    return folder / "link.onnx", Noise(), folder / "m.onnx"


def _not_finite(folder: Path) -> tuple[Path, Noise, Path]:
    model = tiny_model()
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    bias = next(t for t in model.graph.initializer if t.name == conv.input[2])
    spoiled = np.full(numpy_helper.to_array(bias).shape, np.nan, np.float32)
    bias.CopyFrom(numpy_helper.from_array(spoiled, bias.name))
    (folder / "nan.onnx").write_bytes(model.SerializeToString())
    return folder / "nan.onnx", Noise(), folder / "out.onnx"


def _int8_again(folder: Path) -> tuple[Path, Noise, Path]:
    calibrate(folder / "m.onnx", Noise(2), folder / "first.onnx")
    for name in ("first.trt.onnx", "first.ranges.json"):
        (folder / name).unlink()
    return folder / "first.onnx", Noise(), folder / "out.onnx"


BAD: list[tuple[Callable[[Path], tuple[Path, Noise, Path]], type[EdgeMTLError], str]] = [
    (lambda f: (f / "m.onnx", Noise(0), f / "out.onnx"), CalibrationError, "found none"),
    (lambda f: (f / "m.onnx", Noise(9, broken=4), f / "out.onnx"), DataError, "noise/4.png"),
    (lambda f: (f / "m.onnx", Noise(), f / "no" / "out.onnx"), OutputError, "does not exist"),
    (lambda f: (f / "m.onnx", Noise(), f / "out.engine"), OutputError, r"\.onnx"),
    (lambda f: (f / "m.onnx", Noise(), f / "m.onnx"), OutputError, "the model itself"),
    (
        lambda f: (f / "m.onnx", Noise(), f / ".." / f.name / "m.onnx"),
        OutputError,
        "the model itself",
    ),
    (lambda f: _named_as_sibling(f, "out.trt.onnx"), OutputError, "the model itself"),
    (lambda f: _named_as_sibling(f, "out.ranges.json"), OutputError, "the model itself"),
    (_linked, OutputError, "the model itself"),
    (lambda f: (f / "gone.onnx", Noise(), f / "out.onnx"), ModelError, "cannot be read"),
    (_not_finite, CalibrationError, "tensor '"),
    (_int8_again, CalibrationError, "float32 model"),
]


@pytest.mark.parametrize(("case", "error", "word"), BAD)
def test_refusals_write_nothing(
    tmp_path: Path,
    case: Callable[[Path], tuple[Path, Noise, Path]],
    error: type[EdgeMTLError],
    word: str,
) -> None:
    write_tiny(tmp_path / "m.onnx")
    model, images, out = case(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(error, match=word):
        calibrate(model, images, out)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
