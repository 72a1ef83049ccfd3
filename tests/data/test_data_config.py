"""DATA.toml: every format through one file, where paths start, and what cannot be meant."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_files import count_boxes, write_picture

from edgemtl.data.config import ROOT_VARIABLE, DataMix, Split, load_data
from edgemtl.errors import ConfigError, DataError

HEAD = 'classes = ["person", "car"]\nimage_classes = ["person", "car", "none"]\n'
FOLDER = '[[train]]\nname = "folder"\nformat = "folder"\nimages = "classes"\n'


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One picture, or three frames, with one person in each format."""
    root = tmp_path / "data"
    write_picture(root / "images" / "a.png")
    write_picture(root / "classes" / "car" / "b.png")
    for n in (1, 2, 3):
        write_picture(root / "frames" / f"{n}.png")
    for name in ("labels", "xml"):
        (root / name).mkdir()
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5", encoding="utf-8")
    (root / "gt.txt").write_text("2,1,1,1,9,9\n", encoding="utf-8")
    (root / "list.txt").write_text("a\n", encoding="utf-8")
    (root / "xml" / "a.xml").write_text(
        "<a><object><name>man</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>"
        "<ymax>9</ymax></bndbox></object></a>",
        encoding="utf-8",
    )
    document = {
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}],
    }  # fmt: skip
    (root / "coco.json").write_text(json.dumps(document), encoding="utf-8")
    writer = cv2.VideoWriter(str(root / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 8.0, (64, 48))
    for _ in range(5):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    return root


def _load(
    folder: Path, text: str, root: Path | None, split: Split = "train", head: str = HEAD
) -> DataMix:
    path = folder / "DATA.toml"
    path.write_text(head + text, encoding="utf-8")
    return load_data(path, split, root)


EVERY = (
    FOLDER
    + """
[[train]]
name = "coco"
format = "coco"
images = "images"
annotations = "coco.json"
labels = ["person"]
scene = "largest_box"
weight = 0.5
[[train]]
name = "yolo"
format = "yolo"
images = "images"
annotations = "labels"
names = ["person", "car"]
[[train]]
name = "voc"
format = "voc"
images = "images"
annotations = "xml"
image_list = "list.txt"
rename = { man = "person" }
[[train]]
name = "video"
format = "mot"
video = "v.avi"
annotations = "gt.txt"
frames = [2, 4]
[[train]]
name = "frames"
format = "mot"
images = "frames"
annotations = "gt.txt"
class_name = "car"
tasks = ["embed"]
fps = 3
[[val]]
name = "folder"
format = "folder"
images = "classes"
"""
)


def test_every_format(tmp_path: Path, root: Path) -> None:
    mix = _load(tmp_path, EVERY, root)
    assert mix.problems == ()
    assert (mix.classes, mix.image_classes) == (("person", "car"), ("person", "car", "none"))
    found = {
        s.name: (len(s), count_boxes(s), s.labelled.tolist(), s.truth(0).scene, s.weight)
        for s in mix.sets
    }
    assert found == {
        "folder": (1, 0, [False, False], 1, 1.0),
        "coco": (1, 1, [True, False], 0, 0.5),
        "yolo": (1, 1, [True, True], -1, 1.0),
        "voc": (1, 1, [True, False], -1, 1.0),
        "video": (3, 1, [True, False], -1, 1.0),
        "frames": (3, 1, [False, True], -1, 1.0),
    }
    video, frames = mix.sets[4:]
    assert (video.sequences[0].fps, frames.sequences[0].fps) == (8.0, 3.0)
    assert (len(video.truth(0)), len(frames.truth(1))) == (1, 1)
    assert frames.tasks == {"embed"}
    assert all((s.classes, s.image_classes) == (mix.classes, mix.image_classes) for s in mix.sets)
    assert [s.name for s in _load(tmp_path, EVERY, root, "val").sets] == ["folder"]


def test_where_paths_start(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument before the environment, before the key ``root``, before the file's folder."""
    other = tmp_path / "other"
    write_picture(other / "classes" / "person" / "x.png")
    write_picture(tmp_path / "classes" / "none" / "y.png")

    def scene(key: str = "", argument: Path | None = None) -> int:
        head = HEAD + (f'root = "{key}"\n' if key else "")
        return _load(tmp_path, FOLDER, argument, head=head).sets[0].truth(0).scene

    assert scene() == 2
    assert scene("data") == 1
    assert scene(str(other)) == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert scene("~/other") == 0
    monkeypatch.setenv(ROOT_VARIABLE, str(other))
    assert scene("data") == 0
    assert scene("data", root) == 1
    monkeypatch.setenv(ROOT_VARIABLE, "")
    assert scene("data") == 1
    assert _load(tmp_path, FOLDER.replace("classes", str(other / "classes")), root).sets[0]


WORLD = (
    '[[train]]\nname = "w"\nformat = "synthetic"\nseed = 7\nclips = 2\nframes_per_clip = 3\n'
    "size_hw = [40, 60]\nfps = 5.0\nweight = 2.0\n"
)
SHAPES = (
    'classes = ["disc", "box", "triangle", "star", "ring"]\n'
    'image_classes = ["day", "dusk", "night", "fog"]\n'
)


def test_the_synthetic_world(tmp_path: Path) -> None:
    from edgemtl.data.synthetic import SyntheticWorld

    (world,) = _load(tmp_path, WORLD, None, head=SHAPES).sets
    assert (len(world), world.weight, world.sequences[1].fps, world.name) == (6, 2.0, 5.0, "w")
    np.testing.assert_array_equal(world.image(4), SyntheticWorld(7, 2, 3, (40, 60), 5.0).image(4))
    with pytest.raises(ConfigError, match="has its own classes") as refused:
        _load(tmp_path, WORLD, None)
    assert "'disc'" in (refused.value.hint or "")


def test_attributes_of_the_mix(tmp_path: Path) -> None:
    own = '{ pattern = ["upright", "level", "checks", "spot", "diagonal"] }'
    mix = _load(tmp_path, WORLD, None, head=SHAPES + f"attributes = {own}\n")
    (world,) = mix.sets
    assert mix.attributes == dict(world.attributes)
    assert world.tasks == {"detect", "classify", "embed", "attributes"}
    assert world.truth(0).attributes.shape == (len(world.truth(0)), 1)
    plain = _load(tmp_path, WORLD, None, head=SHAPES).sets[0]
    assert plain.truth(0).attributes is None
    assert "attributes" not in plain.tasks
    with pytest.raises(ConfigError, match="has its own attributes"):
        _load(tmp_path, WORLD, None, head=SHAPES + 'attributes = { hue = ["red", "blue"] }\n')
    for bad in ('{ colour = ["red"] }', '{ colour = ["red", "Red"] }', '{ "a b" = ["x", "y"] }'):
        with pytest.raises(ConfigError, match=r"DATA\.toml.*attributes"):
            _load(tmp_path, WORLD, None, head=SHAPES + f"attributes = {bad}\n")


def test_problems_are_told_or_refused(tmp_path: Path, root: Path) -> None:
    (root / "classes" / "car" / "c.png").write_bytes(b"")
    mix = _load(tmp_path, FOLDER, root)
    assert [str(p) for p in mix.problems] == [f"{root}/classes/car/c.png: empty file (skipped)"]
    head = HEAD + 'on_error = "refuse"\n'
    with pytest.raises(DataError, match=r"c\.png: empty file"):
        _load(tmp_path, FOLDER, root, head=head)
    (root / "classes" / "car" / "c.png").unlink()
    assert _load(tmp_path, FOLDER, root, head=head).problems == ()


def test_nothing_left_is_an_error_with_its_reason(tmp_path: Path, root: Path) -> None:
    (root / "classes" / "car" / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"'folder' has no images .*b\.png: empty file") as refused:
        _load(tmp_path, FOLDER, root)
    assert refused.value.hint


def _with(line: str, text: str = FOLDER) -> str:
    return text + line + "\n"


YOLO = '[[train]]\nname = "y"\nformat = "yolo"\nimages = "images"\nannotations = "labels"\n'
MOT = '[[train]]\nname = "m"\nformat = "mot"\nannotations = "gt.txt"\n'
BAD: list[tuple[str, str, str]] = [
    # text, words of the message, words of the hint
    ('[[train]]\nname = "a"\nfromat = "coco"\n', "unknown key 'train.0.fromat'", "format"),
    (_with('colour = "red"'), "unknown key 'train.0.colour'", "image_list"),
    ('[[test]]\nname = "a"\n' + FOLDER, "unknown key 'test'", "train"),
    ('[[train]]\nname = "a"\nformat = "kitti"\n', "'train.0.format'", "correct"),
    ('[[train]]\nname = "a"\nformat = "folder"\n', "format 'folder' needs 'images'", ""),
    (YOLO, "format 'yolo' needs 'names'", ""),
    (MOT, "needs either 'video' or 'images'", ""),
    (_with('video = "v.avi"\nimages = "frames"', MOT), "needs either 'video' or 'images'", ""),
    (_with('video = "v.avi"\nframes = [0, 3]', MOT), "which count from 1", ""),
    (_with('video = "v.avi"\nframes = [3, 2]', MOT), "which count from 1", ""),
    (_with('video = "v.avi"\nframes = [3]', MOT), "'train.0.frames", ""),
    (_with('video = "v.avi"\nfps = 0', MOT), "'train.0.fps'", ""),
    (_with('video = "v.avi"\nfps = inf', MOT), "'train.0.fps'", ""),
    (_with('video = "v.avi"\nscene = "largest_box"', MOT), "does not use 'scene'", ""),
    (_with("seed = 3"), "format 'folder' does not use 'seed'", ""),
    (_with("weight = -1"), "'train.0.weight'", ""),
    (_with("weight = nan"), "'train.0.weight'", ""),
    (_with("weight = inf"), "'train.0.weight'", ""),
    (_with('tasks = ["segment"]'), "'train.0.tasks.0'", ""),
    (_with('tasks = ["detect"]'), "tasks asks for 'detect'", ""),
    (_with('rename = { auto = "carr" }'), "rename maps 'auto' to 'carr'", ""),
    (FOLDER + FOLDER, "two [[train]] sets are called 'folder'", "rename"),
    ('[[val]]\nname = "a"\nformat = "folder"\nimages = "x"\n', "has no [[train]]", "[[train]]"),
    ("", "has no [[train]]", "[[train]]"),
    ("[[train]\n", "is not TOML", ""),
    ('on_error = "ignore"\n' + FOLDER, "'on_error'", ""),
    (WORLD.replace("seed = 7", "seed = -7"), "'train.0.seed'", ""),
    (WORLD.replace("clips = 2", "clips = 0"), "'train.0.clips'", ""),
    (WORLD.replace("[40, 60]", "[0, 60]"), "'train.0.size_hw.0'", ""),
    (_with('labels = ["disc"]', WORLD), "format 'synthetic' does not use 'labels'", ""),
]


@pytest.mark.parametrize(("text", "words", "hint"), BAD)
def test_what_cannot_be_meant(tmp_path: Path, root: Path, text: str, words: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, text, root)
    assert words in refused.value.message
    assert hint in (refused.value.hint or "")
    if "set '" not in refused.value.message:
        assert "DATA.toml" in refused.value.message


@pytest.mark.parametrize(
    "head", ['classes = ["car", "Car"]\n', 'image_classes = ["none", "none"]\n']
)
def test_names_that_are_there_twice(tmp_path: Path, root: Path, head: str) -> None:
    with pytest.raises(ConfigError, match="is there twice"):
        _load(tmp_path, FOLDER, root, head=head)


def test_files_that_are_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "gone.toml"):
        with pytest.raises(ConfigError, match="no file"):
            load_data(path, "train")
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_data(tmp_path / "a.toml", "train")

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConfigError, match=r"a\.toml' cannot be read: Permission denied") as told:
        load_data(tmp_path / "a.toml", "train")
    assert told.value.hint == "check the path and its permissions"


def test_data_that_is_not_there_names_its_path(tmp_path: Path, root: Path) -> None:
    for text, name in ((FOLDER.replace('"classes"', '"gone"'), "gone"),
                       (YOLO.replace('"labels"', '"lost"') + 'names = ["person"]\n', "lost"),
                       (MOT + 'video = "lost.mp4"\n', r"lost\.mp4")):  # fmt: skip
        with pytest.raises(DataError, match=name) as refused:
            _load(tmp_path, text, root)
        assert refused.value.hint


STREET = Path(__file__).resolve().parents[2] / "benchmarks" / "data" / "street.toml"


def test_the_shipped_mix_on_real_data(data_root: Path) -> None:
    """Counts as recorded with the data; labels and people are partial; nothing is broken.

    The sets behind those are unlabelled.
    """
    counts = {"train": [(400, 2396), (439, 838), (128, 330)], "val": [(200, 899), (125, 227),
              (64, 212)]}  # fmt: skip
    masks = [[1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]]
    for split in ("train", "val"):
        mix = load_data(STREET, "train" if split == "train" else "val", data_root)
        assert mix.problems == ()
        bare = [s for s in mix.sets if not s.tasks]
        assert [len(s) for s in bare] == ([500, 117, 84, 95, 38, 8] if split == "train" else [])
        known = [s for s in mix.sets if s.tasks]
        assert [(len(s), count_boxes(s)) for s in known] == counts[split]
        assert [s.labelled.astype(int).tolist() for s in known] == masks
        none = mix.image_classes.index("none")
        for data in known[1:]:
            for i in range(len(data)):
                truth = data.truth(i)
                areas = np.prod(truth.boxes_src[:, 2:] - truth.boxes_src[:, :2], 1)
                wanted = int(truth.labels[areas.argmax()]) if len(truth) else none
                assert truth.scene == wanted  # the first seven image classes are the classes
