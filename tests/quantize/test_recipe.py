"""Recipe files, and the pictures that they choose."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgemtl.errors import ConfigError

recipe = pytest.importorskip("edgemtl.quantize.recipe")
RECIPES = Path(__file__).parents[2] / "calibration" / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    found = recipe.load_recipe(path)
    assert found.model == path.stem
    assert found.data.is_file()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("model = ", "not a TOML file"),
        ('model = "toy"', "data"),
        ('model = "toy"\ndata = "d.toml"\nobserve = "minmax"', "observe"),
        ('model = "toy"\ndata = "d.toml"\nobserver = "kl"', "observer"),
        ('model = "toy"\ndata = "d.toml"\npercent = 101', "percent"),
        ('model = "toy"\ndata = "d.toml"\nlimit = 0', "limit"),
    ],
)
def test_refused(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match=word):
        recipe.load_recipe(tmp_path / "r.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        recipe.load_recipe(tmp_path / "none.toml")


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
