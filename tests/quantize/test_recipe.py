"""Recipe files, and the pictures that they choose."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgemtl.errors import CalibrationError, ConfigError
from edgemtl.graph.dialect import DIALECTS
from edgemtl.graph.file import canonical_hash, load_model, with_manifest
from edgemtl.graph.qdq import quantise_model
from edgemtl.graph.ranges import load_ranges, save_ranges
from edgemtl.models import resolve_model
from edgemtl.quantize.calibrate import rebuild

recipe = pytest.importorskip("edgemtl.quantize.recipe")
RECIPES = Path(__file__).parents[2] / "calibration" / "recipes"
TABLES = RECIPES.parent / "tables"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    found = recipe.load_recipe(path)
    assert found.model == path.stem
    assert found.data.is_file()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("model = ", "is not TOML"),
        ('model = "toy"', "data"),
        ('model = "toy"\ndata = "d.toml"\nobserve = "minmax"', "unknown key 'observe'"),
        ('model = "toy"\ndata = "d.toml"\nobserver = "kl"', "observer"),
        ('model = "toy"\ndata = "d.toml"\npercent = 101', "percent"),
        ('model = "toy"\ndata = "d.toml"\nlimit = 0', "limit"),
        ('model = "toy"\ndata = "d.toml"\nbudget = 1', "budget"),
    ],
)
def test_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match=word):
        recipe.load_recipe(tmp_path / "r.toml")
    with pytest.raises(ConfigError, match="no file"):
        recipe.load_recipe(tmp_path / "none.toml")


WORLD = """
classes = ["disc", "box", "triangle", "star", "ring"]
image_classes = ["day", "dusk", "night", "fog"]
[[train]]
name = "world"
format = "synthetic"
seed = 1
clips = 2
frames_per_clip = 4
[[val]]
name = "world"
format = "synthetic"
seed = 8
clips = 1
frames_per_clip = 10
"""


def test_a_recipe_becomes_a_table_that_rebuilds_its_graphs(tmp_path: Path) -> None:
    (tmp_path / "world.toml").write_text(WORLD)
    text = 'model = "toy"\ndata = "world.toml"\nobserver = "minmax"\nlimit = 6\nheld_out = 2\n'
    (tmp_path / "toy.toml").write_text(text)
    made = recipe.calibrate_recipe(tmp_path / "toy.toml", tmp_path / "m.int8.onnx")
    table = load_ranges(tmp_path / "m.int8.ranges.json")
    assert (table.recipe, table.images, table.letterbox) == ("toy.toml", 6, "320x192, pad 128")
    assert set(table.versions) == {"edgemtl", "numpy", "onnx", "onnxruntime"}
    assert set(table.graphs) == {"trt int8", "ort uint8", "ort int8"}
    assert made.images == 6
    # each graph is the one that the table names, and the table's own hash does not name itself
    trt, manifest = load_model(tmp_path / "m.int8.trt.onnx")
    assert table.graphs["trt int8"] == canonical_hash(trt)
    assert manifest.calibration.table_sha256 == table.sha256
    again = rebuild(resolve_model("toy"), tmp_path / "m.int8.ranges.json", tmp_path / "r.onnx")
    assert again.host.read_bytes() == (tmp_path / "m.int8.onnx").read_bytes()
    # a range that was touched makes another graph, and that is noticed
    wider = {name: (low, high + 1) for name, (low, high) in table.ranges.items()}
    save_ranges(table.model_copy(update={"ranges": wider}), tmp_path / "w.json")
    with pytest.raises(CalibrationError, match=r"its ort .* graph is another"):
        rebuild(resolve_model("toy"), tmp_path / "w.json", tmp_path / "w.onnx")
    assert not (tmp_path / "w.onnx").exists()
    # another model's name
    with pytest.raises(ConfigError, match=r"is for the model 'toy', .* is 'street'"):
        recipe.calibrate_recipe(
            tmp_path / "toy.toml", tmp_path / "s.onnx", model=resolve_model("street")
        )
    # within a budget of what ten frames do not show, and one that they cannot tell
    (tmp_path / "blind.toml").write_text(text + 'budget = "embed=5"\n')
    with pytest.raises(ConfigError, match="'embed' is of rank1, and the evaluation has nothing"):
        recipe.calibrate_recipe(tmp_path / "blind.toml", tmp_path / "t.onnx")
    (tmp_path / "tight.toml").write_text(text + 'budget = "cls=0.5"\n')
    with pytest.raises(CalibrationError, match="needs about 800 pictures, there are 10"):
        recipe.calibrate_recipe(tmp_path / "tight.toml", tmp_path / "t.onnx")


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_tables_make_the_graphs_that_they_name(path: Path) -> None:
    table = load_ranges(path)
    assert path.read_text(encoding="utf-8") == table.to_json()
    source = load_model(resolve_model(table.model))
    assert table.graphs == {
        dialect.key: canonical_hash(with_manifest(*quantise_model(*source, table, dialect)))
        for dialect in DIALECTS
    }
    assert (RECIPES / table.recipe).is_file()


class _Set:
    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> np.ndarray:
        return np.full((2, 2, 3), index, np.uint8)

    def file(self, index: int) -> str:
        return f"{self.name}#{index}"


@pytest.mark.parametrize("count", [1, 7, 20, 1000])
def test_each_set_gives_its_share(count: int) -> None:
    mix = SimpleNamespace(sets=(_Set("a", 100), _Set("b", 3), _Set("c", 1)))
    pictures = recipe.MixedPictures(mix, count)
    files = [pictures.file(i) for i in range(len(pictures))]
    assert len(set(files)) == len(files)
    assert {file[0] for file in files} == {"a", "b", "c"}
    share = -(-count // 3)
    assert sum(file[0] == "a" for file in files) == min(share, 100)
    assert pictures.image(0).shape == (2, 2, 3)


def test_no_sets() -> None:
    assert len(recipe.MixedPictures(SimpleNamespace(sets=()), 10)) == 0
