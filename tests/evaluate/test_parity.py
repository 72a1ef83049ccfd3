"""The parity ladder: what is hurt is named, what is absent is said, and copies agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_files import write_clip, write_folder

from edgemtl.data.config import load_data
from edgemtl.engine.ort import OrtSession
from edgemtl.errors import (
    ConfigError,
    EngineError,
    MissingExtraError,
    ModelError,
    NoDeviceError,
    StaleEngineError,
)
from edgemtl.evaluate.look import Shown, look, shown_of_data, shown_of_path
from edgemtl.evaluate.parity import Ladder, climb
from edgemtl.evaluate.rungs import Rung, rungs_of
from edgemtl.graph.file import load_model, save_model
from edgemtl.manifest_tasks import Attribute
from edgemtl.models import resolve_model
from edgemtl.records import NetOutputs
from edgemtl.track import TrackerConfig

TOY = resolve_model("toy")
WORLD = """classes = ["disc", "box", "triangle", "star", "ring"]
image_classes = ["day", "dusk", "night", "fog"]
[[val]]
name = "world"
format = "synthetic"
seed = 9001
clips = 2
frames_per_clip = 12
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> list[Shown]:
    file = tmp_path_factory.mktemp("data") / "world.toml"
    file.write_text(WORLD, encoding="utf-8")
    return shown_of_data(load_data(file, "val"))


class Hurt(OrtSession):
    """The toy network, something of which is changed on its way out."""

    def __init__(self, change: Callable[[NetOutputs], Mapping[str, Any]]) -> None:
        super().__init__(TOY, threads=1)
        self._change = change

    def collect(self, ticket: Any) -> NetOutputs:
        outputs = super().collect(ticket)
        return replace(outputs, **self._change(outputs))


def ladder(world: list[Shown], *others: Rung) -> Ladder:
    first = Rung("whole", lambda: OrtSession(TOY, threads=1))
    return climb([first, *others], world, TrackerConfig())


def turned(outputs: NetOutputs) -> Mapping[str, Any]:
    assert outputs.embeddings is not None
    return {"embeddings": np.ascontiguousarray(outputs.embeddings[..., ::-1])}


def reversed_classes(outputs: NetOutputs) -> Mapping[str, Any]:
    assert outputs.image_probs is not None
    return {"image_probs": np.ascontiguousarray(outputs.image_probs[:, ::-1])}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o: {}, None),
        (lambda o: {"boxes_net": o.boxes_net + np.float32(0.1)}, "mean box difference"),
        (lambda o: {"scores": o.scores * np.float32(0.97)}, "mean score difference"),
        (lambda o: {"labels": np.zeros_like(o.labels)}, "detections with a partner"),
        (lambda o: {"scores": o.scores * np.float32(0.1)}, "detections with a partner"),
        (turned, "mean embedding cosine"),
        (reversed_classes, "pictures of the same class"),
    ],
)
def test_the_head_that_is_hurt_is_named(
    world: list[Shown], change: Callable[[NetOutputs], Mapping[str, Any]], said: str | None
) -> None:
    found = ladder(
        world, Rung("copy", lambda: Hurt(lambda o: {})), Rung("hurt", lambda: Hurt(change))
    )
    assert [row.name for row in found.rows] == ["whole", "copy", "hurt"]
    assert found.rows[1].differs == ()
    assert found.rows[1].ids == 1.0
    assert found.pictures == 24
    if said is None:
        assert found.first_different is None
        assert found.verdict() == "3 rungs agree over 24 pictures"
    else:
        assert found.first_different is found.rows[2]
        assert said in found.rows[2].differs[0]
        assert "hurt" in found.verdict()


@pytest.mark.parametrize("name", ["image_probs", "embeddings", "boxes_net", "scores"])
def test_what_is_not_finite_differs(world: list[Shown], name: str) -> None:
    def spoilt(outputs: NetOutputs) -> Mapping[str, Any]:
        return {name: np.full_like(getattr(outputs, name), np.nan)}

    found = ladder(world, Rung("hurt", lambda: Hurt(spoilt)))
    assert found.rows[1].differs == ("its outputs are not finite",)
    assert found.table()[2][-1] == "differs"
    with pytest.raises(ConfigError, match="not finite"):
        climb([Rung("hurt", lambda: Hurt(spoilt))], world, TrackerConfig())


def test_precision_decides_what_is_allowed(world: list[Shown]) -> None:
    def softer(outputs: NetOutputs) -> Mapping[str, Any]:
        return {"scores": outputs.scores * np.float32(0.97)}

    found = ladder(
        world,
        Rung("as int8", lambda: Hurt(softer), "int8"),
        Rung("as fp32", lambda: Hurt(softer), "fp32"),
    )
    assert [bool(row.differs) for row in found.rows] == [False, False, True]
    # the other way round: what is held to INT8 is as far away
    less = [Rung("as int8", lambda: Hurt(softer), "int8"), Rung("fp32", lambda: Hurt(lambda o: {}))]
    assert climb(less, world, TrackerConfig()).first_different is None


def test_identities_are_those_of_the_tracker(world: list[Shown]) -> None:
    """Detections that come and go: each alone agrees often enough, the tracks do not."""
    calls = iter(range(1000))

    def blinking(outputs: NetOutputs) -> Mapping[str, Any]:
        return {"scores": outputs.scores * np.float32(next(calls) % 12 < 6)}

    found = ladder(world, Rung("blinks", lambda: Hurt(blinking), "int8"))
    assert found.rows[1].ids < 0.8
    assert any("IDF1" in said for said in found.rows[1].differs)


def test_what_cannot_run_here_is_said_and_left_out(world: list[Shown]) -> None:
    def absent() -> OrtSession:
        raise MissingExtraError("tensorrt", "tensorrt", "engines")

    found = ladder(world, Rung("engine", absent), Rung("copy", lambda: Hurt(lambda o: {})))
    assert "tensorrt" in found.rows[1].absent
    assert found.verdict() == "2 rungs agree over 24 pictures"
    assert "pip install" in found.rows[1].absent
    assert found.table()[2][-1] == "not run"
    with pytest.raises(MissingExtraError):
        climb([Rung("engine", absent)], world, TrackerConfig())


@pytest.mark.parametrize(
    ("error", "differs"),
    [
        (StaleEngineError("m.engine: stale", "edgemtl build m.onnx"), True),
        (EngineError("OpenVINO cannot read it"), True),
        (NoDeviceError("an engine needs a GPU", "edgemtl doctor"), False),
    ],
)
def test_what_fails_though_all_is_there_differs(
    world: list[Shown], error: EngineError, differs: bool
) -> None:
    def fails() -> OrtSession:
        raise error

    found = ladder(world, Rung("engine", fails))
    assert (found.first_different is not None) == differs
    assert (found.rows[1].absent == "") == differs
    told = found.verdict() + found.rows[1].absent
    assert error.message in told
    assert str(error.hint or "") in told
    assert found.table()[2][-1] == ("differs" if differs else "not run")
    assert found.compared == differs
    if not differs:
        assert "nothing was compared" in found.verdict()


def test_another_network_is_refused(world: list[Shown], tmp_path: Path) -> None:
    graph, manifest = load_model(TOY)
    other = tmp_path / "other.onnx"
    names = tuple(reversed(manifest.classes))
    save_model(graph, manifest.model_copy(update={"classes": names}), other)
    with pytest.raises(ConfigError, match=r"other\.onnx, onnxruntime is another network than"):
        climb([*rungs_of(TOY, 1), *rungs_of(other, 1)], world, TrackerConfig())
    state = Attribute(name="state", values=("a", "b"))
    more = manifest.model_copy(update={"attributes": (state,)})

    class WithState(OrtSession):
        manifest = more

    rungs = [*rungs_of(TOY, 1)][:1]
    with pytest.raises(ConfigError, match="attributes"):
        climb([*rungs, Rung("x", lambda: WithState(TOY, threads=1))], world, TrackerConfig())
    with pytest.raises(ConfigError, match="no picture"):
        climb(rungs_of(TOY, 1), [], TrackerConfig())


def test_pictures_in_which_nothing_is_found_prove_little(tmp_path: Path) -> None:
    shown = [Shown(Grey(), 3)]
    found = climb([*rungs_of(TOY, 1)][:1] * 2, shown, TrackerConfig())
    assert "proves little" in found.verdict()
    assert found.first_different is None


class Grey:
    """Three grey pictures."""

    def __len__(self) -> int:
        return 3

    def image(self, index: int) -> np.ndarray:
        return np.full((48, 64, 3), 90 + index, np.uint8)

    def file(self, index: int) -> str:
        return f"grey/{index}.png"


def test_a_damaged_weight_shows_in_the_file_that_has_it(world: list[Shown], tmp_path: Path) -> None:
    graph, manifest = load_model(TOY)
    weight = max(graph.graph.initializer, key=lambda t: int(np.prod(t.dims)))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[: len(values) // 4] *= 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    save_model(graph, manifest, tmp_path / "hurt.onnx")
    found = climb([*rungs_of(TOY, 1), *rungs_of(tmp_path / "hurt.onnx", 1)], world, TrackerConfig())
    assert found.first_different is not None
    assert found.first_different.name.startswith("hurt.onnx")
    told = found.to_dict()
    assert told["first_different"] == found.first_different.name
    (row,) = (one for one in told["rungs"] if one["name"] == told["first_different"])
    assert math.isfinite(row["agreement"]["mean_score"])


def test_videos_are_tracked_and_folders_are_not(tmp_path: Path) -> None:
    video = shown_of_path(write_clip(tmp_path / "clip.avi", 12), limit=7)
    folder = shown_of_path(write_folder(tmp_path / "pictures", 4))
    assert [one.count for one in video + folder] == [7, 4]
    session = OrtSession(TOY, threads=1)
    seen = look(session, video + folder, TrackerConfig(), "all")
    assert [len(tracks) for tracks in seen.videos] == [7]
    assert len(seen.outputs) == 11
    session.close()


def test_rungs_of_files(tmp_path: Path) -> None:
    names = [rung.name for rung in rungs_of("toy")]
    assert names[:2] == ["toy.onnx, onnxruntime", "toy.onnx, openvino"]
    (rung,) = rungs_of(TOY.with_suffix(".safetensors"))
    assert rung.name == "toy.safetensors, torch"
    if find_spec("torch") is None:
        with pytest.raises(MissingExtraError, match="torch"):
            rung.open()
    with pytest.raises(ModelError):
        list(rungs_of(tmp_path / "none.onnx"))
