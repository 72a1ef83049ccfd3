"""``edgemtl build``: what its options mean, and what cannot be meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgemtl.cli.building import parse_batch
from edgemtl.engine import gpu as gpu_module
from edgemtl.errors import ConfigError

Cli = Callable[..., Any]
needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="needs a TensorRT without a GPU"
)


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        (None, None),
        ("1", (1, 1, 1)),
        ("8", (8, 8, 8)),
        ("1:1:4", (1, 1, 4)),
        ("2:4:16", (2, 4, 16)),
    ],
)
def test_batches(text: str | None, batch: tuple[int, int, int] | None) -> None:
    assert parse_batch(text) == batch


@pytest.mark.parametrize(
    "text", ["", "0", "1:2", "1:2:3:4", "2:1:4", "1:5:4", "a:b:c", "-1", "1.5", "1::4", "²"]
)
def test_what_is_no_batch(text: str) -> None:
    with pytest.raises(ConfigError, match="--batch: expected"):
        parse_batch(text)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("fp32", "--images", "x"), "--images: belongs to --precision fp16"),
        (("int8", "--budget", "det=1"), "--budget: belongs to --precision best"),
        (("fp16", "--eval", "d.toml"), "--eval: belongs to --precision best"),
        (("best",), "best is the fastest that keeps a budget, and needs one"),
        (("best", "--check"), "'best' is measured on the device"),
        (("fp32", "--batch", "4:2:1"), "--batch: expected 1 <= MIN <= OPT <= MAX"),
    ],
)
def test_what_cannot_be_meant(
    cli: Cli, tiny: Path, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    out = tmp_path / "m.engine"
    done = cli("build", tiny, "--out", out, "--precision", *arguments)
    assert done.code == 1
    assert word in done.err
    assert "hint" in done.err
    assert not list(tmp_path.iterdir())


@needs_rtx
def test_all_options_of_a_build(cli: Cli, tiny: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.engine"
    done = cli(
        "build", tiny, "--precision", "fp16", "--out", out, "--batch", "1:2:3", "--flavour", "rtx",
        "--workspace-mb", 64, "--profile", "--images", folder, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["batch"] == [1, 2, 3]
    assert (done.json["flavour"], done.json["workspace_mb"]) == ("tensorrt_rtx", 64)
    assert {"convolution", "cast"} <= {layer["kind"] for layer in done.json["layers"]}
    assert "float16: largest activation over 6 pictures" in done.err
    told = json.loads(Path(f"{out}.layers.json").read_text(encoding="utf-8"))
    assert told["layers"] == done.json["layers"]
    assert Path(done.json["log"]).is_file()
    table = cli("build", tiny, "--precision", "fp32", "--out", out, "--profile").out
    assert table.splitlines()[0].split() == ["layer", "kind", "type", "shape"]


@needs_rtx
def test_timings_that_nobody_takes(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.engine"
    done = cli(
        "build", tiny, "--precision", "fp32", "--flavour", "rtx", "--out", out,
        "--timing-cache", tmp_path / "t",
    )  # fmt: skip
    assert done.code == 1
    assert "times no kernels" in done.err
    assert not out.exists()


def test_the_best_needs_a_gpu(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_module, "_driver", lambda: None)
    shutil.copytree(folder, tmp_path / "pictures" / "x")
    data = tmp_path / "data.toml"
    data.write_text(
        'classes = ["a"]\nimage_classes = ["x"]\n[[val]]\nname = "f"\nformat = "folder"\n'
        'images = "pictures"\n',
        encoding="utf-8",
    )
    arguments = (
        "--precision",
        "best",
        "--eval",
        data,
        "--budget",
        "cls=1",
        "--data-root",
        tmp_path,
    )
    done = cli("build", "toy", "--out", tmp_path / "m.engine", *arguments)
    assert done.code == 1
    assert "needs an NVIDIA GPU" in done.err, done.err
