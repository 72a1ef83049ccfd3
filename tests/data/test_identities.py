"""Whom a training shows, and who is an old acquaintance in an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_files import set_spec, write_picture

from edgemtl.data.base import UNKNOWN
from edgemtl.data.identities import Acquaintances, file_source, trained_identities
from edgemtl.data.mot import MotFiles, MotSet, read_mot
from edgemtl.data.problems import ProblemLog
from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.manifest import IdentitySource, InputSpec, Manifest, parse_manifest

TEXT = """1,3,1,1,20,20,1,-1,-1,-1
1,4,30,1,20,20,1,-1,-1,-1
1,9,1,20,20,20,0,-1,-1,-1
2,5,1,1,20,20,1,-1,-1,-1
3,3,1,1,20,20,1,-1,-1,-1
3,8,30,1,20,20,1,-1,-1,-1
"""


def sequence(folder: Path, frames: tuple[int, int], text: str = TEXT, **changes: object) -> MotSet:
    for n in (1, 2, 3):
        write_picture(folder / "frames" / f"{n}.png")
    path = folder / "gt.txt"
    path.write_text(text, encoding="utf-8")
    files = MotFiles(path, "person", images=folder / "frames", frames=frames)
    return read_mot(set_spec(**changes), files, ProblemLog())


def test_frames_of_one_file_share_their_identities(tmp_path: Path) -> None:
    train, val = sequence(tmp_path, (1, 2)), sequence(tmp_path, (3, 3))
    assert train.identity_source == val.identity_source == file_source(tmp_path / "gt.txt")
    trained = trained_identities([train])
    assert trained == (IdentitySource(source=train.identity_source, ranges=((3, 5),)),)
    assert val.identities() == {3, 8}
    seen = Acquaintances(trained, val.identity_source).seen(np.array([3, 8, 9, UNKNOWN]))
    assert seen.tolist() == [True, False, False, False]  # 9 was an ignore region


def test_another_file_holds_strangers_wherever_it_lies(tmp_path: Path) -> None:
    trained = trained_identities([sequence(tmp_path / "a", (1, 3))])
    moved = sequence(tmp_path / "b", (1, 3))
    other = sequence(tmp_path / "c", (1, 3), TEXT.replace("1,3,1", "1,3,2"))
    ids = np.array([3, 8])
    assert Acquaintances(trained, moved.identity_source).seen(ids).all()
    assert not Acquaintances(trained, other.identity_source).seen(ids).any()
    assert Acquaintances(trained, moved.identity_source).seen(ids[:0]).shape == (0,)


def test_only_what_training_draws_for_its_embeddings_counts(tmp_path: Path) -> None:
    boxes_only = sequence(tmp_path, (1, 2), tasks=("detect",))
    never = sequence(tmp_path, (1, 2), weight=0.0)
    assert trained_identities([boxes_only, never]) == ()


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [
        (set(), None),
        ({7}, ((7, 7),)),
        ({1, 2, 3, 9, 11, 12}, ((1, 3), (9, 9), (11, 12))),
        ({0, 2**53}, ((0, 0), (2**53, 2**53))),
    ],
)
def test_numbers_are_kept_as_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    numbers: set[int],
    ranges: tuple[tuple[int, int], ...] | None,
) -> None:
    data = sequence(tmp_path, (1, 1))
    monkeypatch.setattr(MotSet, "identities", lambda _: numbers)
    trained = trained_identities([data])
    assert [t.ranges for t in trained] == ([] if ranges is None else [ranges])
    asked = np.array(sorted(numbers | {5, 10}))
    known = Acquaintances(trained, str(data.identity_source)).seen(asked)
    assert known.tolist() == [int(n) in numbers for n in asked]


def test_worlds_of_two_seeds_share_nobody() -> None:
    train, val = SyntheticWorld(1, 2, 3, (90, 160)), SyntheticWorld(2, 2, 3, (90, 160))
    again = SyntheticWorld(1, 3, 3, (90, 160))
    trained = trained_identities([train])
    shown = {int(i) for n in range(len(again)) for i in again.truth(n).identities}
    assert shown <= again.identities()
    old = Acquaintances(trained, again.identity_source).seen(np.array(sorted(shown)))
    clips = np.array(sorted(shown)) // 64
    np.testing.assert_array_equal(old, clips < 2)
    assert not Acquaintances(trained, val.identity_source).seen(np.arange(200)).any()


def test_the_manifest_carries_them_or_says_nothing() -> None:
    plain = Manifest(name="n", input=InputSpec(size_hw=(32, 32)))
    assert "identities" not in json.loads(plain.to_json())
    known = (IdentitySource(source="synthetic:1", ranges=((0, 63), (70, 70))),)
    full = plain.model_copy(update={"identities": known})
    assert parse_manifest(full.to_json(), "here") == full
    assert parse_manifest(plain.to_json(), "here").identities == ()
