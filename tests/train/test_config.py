"""A training file is read as written, or refused with its key."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from edgemtl.errors import ConfigError
from edgemtl.train.config import load_train_config

GOOD = 'name = "n"\ndata = "d.toml"\nsize_hw = [64, 96]\nimages = 10\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "w")
    config = load_train_config(write(tmp_path, GOOD + '[network]\nweights = "$WHERE/b.pth"\n'))
    assert config.data == tmp_path / "d.toml"
    assert config.network.weights == tmp_path / "w/b.pth"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "colour = 1\n", "unknown key 'colour'"),
        (GOOD + "[optimiser]\nlr = 1\n", r"unknown key 'optimiser\.lr'"),
        (GOOD + "[validate]\nevry = 1\n", r"unknown key 'validate\.evry'"),
        (GOOD.replace("96", "97"), "size_hw.*multiples of 32"),
        (GOOD + "[sizes]\na = [64, 65]\n", "sizes.*multiples of 32"),
        (GOOD + "multi_scale = [1.25, 0.75]\n", "multi_scale.*smallest, largest"),
        (GOOD + "[sampling]\ndetect = 1.5\n", r"sampling\.detect"),
        (GOOD + "[sampling]\ntrack = 0.5\n", r"unknown key .sampling\.track."),
        (GOOD.replace("images = 10", 'images = "ten"'), "images"),
        (GOOD.replace('name = "n"\n', ""), "name"),
        (GOOD + '[network]\nweights = "$NO_SUCH_THING/x"\n', "no variable"),
        (GOOD + "[augment]\nscale = [0.0, 1.5]\n", r"augment\.scale.*smallest and the largest"),
        (GOOD + "[augment]\nscale = [1.5, 0.6]\n", r"augment\.scale.*smallest and the largest"),
        (GOOD + '[network]\nsize = "N"\n', "got 'N'"),
        ("name = ", "not TOML"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_train_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (GOOD + '[[teachers]]\nmodel = "t.onnx"\nminscore = 1\n', "min_score"),
        (GOOD + "[validate]\nevry = 1\n", "patience"),
        (GOOD + "imges = 1\n", "validate"),
    ],
)
def test_an_unknown_key_is_told_beside_those_of_its_section(
    tmp_path: Path, text: str, known: str
) -> None:
    with pytest.raises(ConfigError, match="unknown key") as caught:
        load_train_config(write(tmp_path, text))
    assert known in str(caught.value.hint)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        load_train_config(tmp_path / "none.toml")


def test_the_shipped_configs_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEMTL_LITE0", "w.pth")
    monkeypatch.setenv("EDGEMTL_LITE2", "w.pth")
    monkeypatch.setenv("EDGEMTL_TEACHER", "t.onnx")
    folder = Path(__file__).parents[2] / "benchmarks" / "train"
    for name in ("toy", "street", "cifar", "cifar_joint"):
        config = load_train_config(folder / f"{name}.toml")
        assert config.name == name
        assert config.data.exists()
