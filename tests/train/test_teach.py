"""Teachers: what they add, what they must leave alone, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("torch")

from shapes_set import Shapes

from edgemtl.data.base import DataSet
from edgemtl.data.config import DataMix
from edgemtl.data.identities import trained_identities
from edgemtl.data.spec import SetSpec
from edgemtl.data.unlabelled import UnlabelledSet
from edgemtl.errors import ConfigError, ModelError
from edgemtl.models import resolve_model
from edgemtl.records import Detections
from edgemtl.train.appearance import AppearanceTeacher
from edgemtl.train.batches import BatchMaker
from edgemtl.train.config import TeacherConfig, TrainConfig
from edgemtl.train.teach import DetectionTeacher, TaughtSet, teach

MODEL = Path("teacher.onnx")


def said(*objects: tuple[float, int, tuple[float, ...]]) -> Detections:
    """Detections from (score, label, box)."""
    return Detections(
        np.array([box for _, _, box in objects], np.float32).reshape(-1, 4),
        np.array([score for score, _, _ in objects], np.float32),
        np.array([label for _, label, _ in objects], np.int32),
        None,
    )


class Detector:
    """A teacher that knows class 1 (or both) and says always the same."""

    def __init__(self, found: Detections, known: tuple[bool, bool] = (True, True)) -> None:
        self.found, self.known, self.looks = found, np.array(known), 0
        self.config = TeacherConfig(model=MODEL, scene="largest_box")

    def look(self, image: np.ndarray) -> Detections:
        self.looks += 1
        return self.found


def bare(folder: Path, n: int = 3) -> UnlabelledSet:
    """Unlabelled pictures of 40 x 60."""
    for i in range(n):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((40, 60, 3), 40 * i, np.uint8))
    spec = SetSpec("bare", ("a", "b"), ("a", "none"))
    return UnlabelledSet(spec, folder)


def test_a_teacher_speaks_only_of_classes_that_nobody_labelled() -> None:
    data = Shapes(labelled=(True, False))
    found = said((0.9, 0, (1, 1, 9, 9)), (0.7, 1, (30, 4, 38, 12)), (0.1, 1, (50, 2, 60, 9)))
    teacher = Detector(found)
    taught = TaughtSet(data, teacher, None)
    assert taught.labelled.tolist() == [True, True]
    before, after = data.truth(0), taught.truth(0)
    assert after.labels.tolist() == [*before.labels.tolist(), 1, 1]
    assert after.ignore.tolist() == [False, False, False, True], "a doubt is a region"
    np.testing.assert_allclose(after.confidence, [1, 1, 0.7, 1])
    assert after.identities.tolist()[-2:] == [-1, -1]
    assert after.scene == before.scene, "a set with image classes keeps them"
    assert taught.scene_of_class is None
    taught.truth(0)
    assert teacher.looks == 1, "each picture is looked at once"
    assert taught.identities() == data.identities()
    assert taught.identity_source == data.identity_source
    assert teacher.looks == 1, "nobody need look at pictures to know whom people named"


def test_the_same_object_under_another_name_is_no_second_object() -> None:
    data = Shapes(labelled=(True, False))
    box = tuple(float(v) for v in data.truth(0).boxes_src[0] + 0.5)
    after = TaughtSet(data, Detector(said((0.9, 1, box))), None).truth(0)
    assert after.ignore.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("found", "scene"),
    [
        ((), 1),
        (((0.9, 0, (0, 0, 30, 30)),), 0),
        (((0.9, 0, (0, 0, 3, 3)), (0.3, 1, (0, 0, 30, 30))), -1),
        (((0.9, 1, (0, 0, 30, 30)),), -1),
    ],
)
def test_the_image_class_of_unlabelled_pictures(
    tmp_path: Path, found: tuple[tuple[float, int, tuple[float, ...]], ...], scene: int
) -> None:
    """Nothing is `none`, a sure largest box its class, a doubtful one or one without class -1."""
    taught = TaughtSet(bare(tmp_path), Detector(said(*found)), None)
    assert taught.tasks == {"detect", "classify"}
    assert taught.truth(0).scene == scene
    assert taught.scene_of_class is not None
    assert taught.scene_of_class.tolist() == [0, -1]


def test_unlabelled_pictures(tmp_path: Path) -> None:
    data = bare(tmp_path, 5)
    assert (len(data), data.tasks, data.labelled.tolist()) == (5, frozenset(), [False, False])
    assert len(data.truth(2)) == 0
    other = UnlabelledSet(SetSpec("bare", ("a",)), tmp_path, step=2)
    assert len(other) == 3
    assert int(other.image(1)[0, 0, 0]) == 80
    assert other.file(2).endswith("4.png")
    with pytest.raises(ConfigError, match="unlabelled"):
        UnlabelledSet(SetSpec("bare", ("a",), tasks=("detect",)), tmp_path)


def test_what_a_teacher_added_arrives_in_the_batch(tmp_path: Path) -> None:
    taught = TaughtSet(bare(tmp_path), Detector(said((0.6, 0, (4, 4, 30, 30)))), None)
    config = TrainConfig(name="t", data=Path("d"), size_hw=(64, 96), images=8, batch=4)
    batch = BatchMaker([taught, Shapes()], config).batch(0)[0]
    assert batch.detect.all()
    mine = batch.source[batch.frame] == 0
    own = batch.confidence[mine & ~batch.ignore]
    assert len(own)
    np.testing.assert_allclose(own, 0.6)
    assert (batch.confidence[~mine] == 1).all()


def mix(*sets: DataSet) -> DataMix:
    return DataMix(("a", "b"), ("dark", "light"), sets)


def test_a_set_that_nobody_looks_at(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unlabelled, and no teacher"):
        teach(mix(bare(tmp_path)), ())


def test_a_shipped_model_teaches() -> None:
    """Through the session and the decoder that the runtime uses, with names of its own."""
    toy = resolve_model("toy")
    session_classes = DetectionTeacher(
        TeacherConfig(model=toy), DataMix(("disc", "box", "triangle"), (), ())
    )
    assert session_classes.known.any()
    found = session_classes.look(np.full((270, 480, 3), 90, np.uint8))
    assert (found.labels >= 0).all()
    with pytest.raises(ConfigError, match="knows no class of the mix"):
        DetectionTeacher(TeacherConfig(model=toy), DataMix(("walrus",), (), ()))
    with pytest.raises(ConfigError, match="is to look at 'elsewhere'"):
        teach(
            DataMix(("disc", "box", "triangle"), (), (Shapes(),)),
            (TeacherConfig(model=toy, sets=("elsewhere",)),),
        )


def mean_colour(path: Path, batch: int | str = "n", size: object = 8) -> Path:
    """A "re-identification network": the mean of each channel."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["y"]),
        ],
        "looks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, "n"])
def test_looks_of_crops(tmp_path: Path, batch: int | str) -> None:
    config = TeacherConfig(
        model=mean_colour(tmp_path / "looks.onnx", batch), task="embed", mean=(0, 0, 0),
        std=(1, 1, 1), classes=("b",),
    )  # fmt: skip
    teacher = AppearanceTeacher(config)
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = (0, 3, 4)  # BGR
    boxes = np.array([[2, 2, 20, 20], [0, 0, 10, 10], [70, 2, 80, 9]], np.float32)
    looks = teacher.look(image, boxes, np.array([True, False, True]))
    np.testing.assert_allclose(looks[0], [0.8, 0.6, 0], atol=1e-6)
    assert np.isnan(looks[1:]).all(), "not asked for, and outside the picture"
    taught = TaughtSet(Shapes(), None, teacher)
    truth = taught.truth(0)
    assert truth.appearance is not None
    assert np.isnan(truth.appearance[0]).all()
    assert np.isfinite(truth.appearance[1]).all()
    assert teacher.look(image, boxes[:0], np.zeros(0, np.bool_)).shape == (0, 3)


def test_a_network_that_gives_no_looks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        AppearanceTeacher(TeacherConfig(model=tmp_path / "none.onnx", task="embed"))
    (tmp_path / "broken.onnx").write_bytes(b"onnx")
    with pytest.raises(ModelError, match="cannot load"):
        AppearanceTeacher(TeacherConfig(model=tmp_path / "broken.onnx", task="embed"))
    wide = mean_colour(tmp_path / "wide.onnx", size="h")
    with pytest.raises(ModelError, match=r"takes .*'h'"):
        AppearanceTeacher(TeacherConfig(model=wide, task="embed"))


def test_the_known_classes_decide_whether_a_teacher_is_asked() -> None:
    """A set whose people labelled all that the teacher knows stays as it is."""
    toy = resolve_model("toy")
    data = Shapes()
    whole = DataMix(("disc", "box"), (), (data,))
    assert teach(whole, (TeacherConfig(model=toy),)).sets == (data,)


class Sure(Detector):
    """In place of a model file, named by the classes that it knows."""

    def __init__(self, config: TeacherConfig, mix: DataMix) -> None:
        place = mix.classes.index(config.model.stem)
        known = (place == 0, place == 1)
        super().__init__(said((0.9, place, (30 + 12 * place, 2, 40 + 12 * place, 9))), known)
        self.config = config


def test_every_teacher_of_a_set_adds_what_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemtl.train.teach.DetectionTeacher", Sure)
    teachers = [TeacherConfig(model=Path(f"{name}.onnx"), scene="largest_box") for name in "ab"]
    pictures = bare(tmp_path)
    (taught,) = teach(DataMix(("a", "b"), ("a", "none"), (pictures,)), teachers).sets
    assert isinstance(taught, TaughtSet)
    assert taught.people is pictures
    assert taught.labelled.tolist() == [True, True]
    assert taught.tasks == {"detect", "classify"}
    assert taught.truth(0).labels.tolist() == [0, 1]
    assert taught.truth(0).scene == 0, "the first one names the picture"
    (partly,) = teach(mix(Shapes(labelled=(True, False))), teachers).sets
    assert partly.truth(0).labels.tolist()[-1:] == [1]
    assert len(partly.truth(0)) == len(Shapes().truth(0)) + 1


def test_a_network_of_looks_is_asked_about_its_classes_alone(tmp_path: Path) -> None:
    looks = mean_colour(tmp_path / "looks.onnx")
    folder = Shapes(labelled=(False, False))
    folder.tasks = frozenset(("classify",))
    config = TeacherConfig(model=looks, task="embed", classes=("b",))
    objects, pictures = teach(mix(Shapes(), folder), (config,)).sets
    assert isinstance(objects, TaughtSet)
    assert pictures is folder
    strangers = TeacherConfig(model=looks, task="embed")  # of people
    with pytest.raises(ConfigError, match=r"\['person'\] apart, the classes of the mix"):
        teach(mix(Shapes()), (strangers,))
    with pytest.raises(ConfigError, match="both say how the objects of 'shapes' look"):
        teach(mix(Shapes()), (config, config))


def test_a_taught_set_keeps_its_identities() -> None:
    data = Shapes(3)
    data.identity_source = "sha256:00"
    detector = Detector(said((0.9, 1, (1, 1, 20, 20))))
    taught = TaughtSet(data, detector, None)
    assert trained_identities([taught]) == trained_identities([data])
    assert detector.looks == 0  # nobody needs to look to know that
