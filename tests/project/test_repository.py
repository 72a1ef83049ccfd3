"""The repository as a whole: one version, complete package data, no traces of a machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgemtl

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEXT = {".py", ".pyi", ".c", ".h", ".md", ".toml", ".json", ".txt", ".svg", ".cfg", ""}
MEGABYTE = 1_000_000


def _tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("the sources are not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def _texts() -> list[tuple[Path, str]]:
    return [(p, p.read_text(encoding="utf-8")) for p in _tracked() if p.suffix in TEXT]


def test_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == edgemtl.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(edgemtl.__version__)}\b", changelog, re.MULTILINE)


def test_no_file_holds_an_absolute_path_or_a_registry_host() -> None:
    home = "|".join(["ro" + "ot", "wo" + "rk", "ho" + "me/[a-z]", "Us" + "ers/[a-z]"])
    hosts = "|".join(["py" + "pi[.]org", "python" + "hosted", "registry[.]npm"])
    pattern = re.compile(rf"(?:^|[\s\"'=(:])/(?:{home})/|{hosts}")
    found = [
        f"{path.relative_to(ROOT)}: {match.group().strip()}"
        for path, text in _texts()
        if (match := pattern.search(text))
    ]
    assert found == []


def test_no_unfinished_words_in_the_package() -> None:
    words = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error"]))
    package = ROOT / "edgemtl"
    found = [str(path) for path, text in _texts() if package in path.parents and words.search(text)]
    assert found == []


def test_files_keep_to_readable_sizes() -> None:
    long = {
        str(path.relative_to(ROOT)): text.count("\n")
        for path, text in _texts()
        if path.suffix == ".py" and (ROOT / "edgemtl") in path.parents
        if text.count("\n") > 275
    }
    assert long == {}
    large = [str(p) for p in _tracked() if p.stat().st_size > 10 * MEGABYTE]
    assert large == []


def test_package_data_is_installed() -> None:
    package = Path(edgemtl.__file__).parent
    assert (package / "py.typed").is_file()
    assert (package / "_native.pyi").is_file()
    data = [p for p in _tracked() if p.parents[1] == ROOT / "edgemtl" / "models"]
    for source in data:
        assert (package / "models" / source.parent.name / source.name).is_file(), source


def test_metadata_pins_no_build_of_torch() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    everything = [line for lines in extras.values() for line in lines]
    everything += PROJECT["project"]["dependencies"]
    assert not [line for line in everything if "==" in line.split(";")[0] or "+c" in line]
    assert not [line for line in PROJECT["project"]["dependencies"] if line.startswith("torch")]
