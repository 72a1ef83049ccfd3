"""What pictures are compared by, against plain twins and honest copies."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from memory_set import MemorySet, scenery

from edgemtl.data.checks import pictures, visit
from edgemtl.data.checks.pictures import (
    count_bits,
    features,
    look_alikes,
    look_at,
    same_pixels,
)
from edgemtl.data.checks.visit import coarse_to_fine
from edgemtl.errors import DataError


def looks(*images: np.ndarray) -> pictures.Looks:
    (found,) = look_at([MemorySet("m", images)], 60.0)
    assert found.seen.all()
    return found


def test_the_gradient_is_one_bit_a_cell() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 72), dtype=np.uint8)
    _, _, gradient, _, _ = features(np.repeat(picture[..., None], 3, 2))
    # each cell is the mean of 8 x 8 pixels, rounded as OpenCV does
    cells = np.rint(picture.reshape(8, 8, 9, 8).mean((1, 3)))
    sharp = np.abs(np.diff(cells, axis=1)) >= 1
    wanted = [int(cells[y, x] < cells[y, x + 1]) for y in range(8) for x in range(8)]
    bits = np.unpackbits(np.array([gradient]).view(np.uint8)).tolist()
    assert [b for b, s in zip(bits, sharp.ravel(), strict=True) if s] == [
        w for w, s in zip(wanted, sharp.ravel(), strict=True) if s
    ]
    assert 20 < sum(bits) < 44


def test_content_is_pixels_and_size() -> None:
    picture = scenery(1)
    one = features(picture)
    assert features(picture.copy())[1] == one[1]
    assert features(picture[::1, ::-1])[1] != one[1]
    assert features(picture[:, ::-1][:, ::-1])[1] == one[1], "strides do not matter"
    changed = picture.copy()
    changed[30, 40, 1] ^= 1
    assert features(changed)[1] != one[1]
    flat = np.zeros((20, 30, 3), np.uint8)
    assert features(flat)[1] != features(flat.reshape(30, 20, 3))[1]
    assert features(flat)[0] == (20, 30)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 400), (3, 2), (700, 500)])
def test_any_size(size_hw: tuple[int, int]) -> None:
    size, _, _, thumb, _ = features(scenery(2, size_hw))
    assert size == size_hw
    assert thumb.shape == (16, 16)


def copies(picture: np.ndarray) -> dict[str, np.ndarray]:
    _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
    return {
        "recompressed": cv2.imdecode(packed, cv2.IMREAD_COLOR),
        "larger": cv2.resize(picture, None, fx=1.7, fy=1.7),
        "smaller": cv2.resize(picture, None, fx=0.6, fy=0.5, interpolation=cv2.INTER_AREA),
        "darker": (picture * 0.6).astype(np.uint8),
        "grey": cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    }


def test_copies_are_found_and_strangers_are_not() -> None:
    theirs = looks(*[scenery(seed, (120, 160)) for seed in range(60)])
    made = copies(scenery(7, (120, 160)))
    ours = looks(*made.values(), *[scenery(seed, (120, 160)) for seed in range(100, 160)])
    pairs = look_alikes(ours, theirs, 8)
    assert pairs.tolist() == [[k, 7] for k in range(len(made))]
    assert len(same_pixels(ours, theirs)) == 0


def test_the_number_of_bits_is_what_may_differ() -> None:
    ours, theirs = looks(scenery(3)), looks(copies(scenery(3))["smaller"])
    theirs.gradient[0] = ours.gradient[0] ^ np.uint64(0b10110)
    assert [len(look_alikes(ours, theirs, bits)) for bits in (2, 3, 4)] == [0, 1, 1]


def test_equal_pixels_are_copies_and_not_look_alikes() -> None:
    ours, theirs = looks(scenery(1), scenery(2), scenery(1)), looks(scenery(3), scenery(1))
    assert same_pixels(ours, theirs).tolist() == [[0, 1], [2, 1]]
    assert look_alikes(ours, theirs, 8).tolist() == []


def test_pictures_with_nothing_in_them_are_alike_to_nothing() -> None:
    flat = [np.full((40, 40, 3), value, np.uint8) for value in (10, 11, 200)]
    assert look_alikes(looks(*flat), looks(*flat[:1]), 16).tolist() == []


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = looks(*[scenery(s) for s in range(9)]), looks(*[scenery(s) for s in range(40)])
    monkeypatch.setattr(pictures, "_ALIKE", 1e9)
    wanted = look_alikes(ours, theirs, 30)
    assert len(wanted) > 20
    monkeypatch.setattr(pictures, "_CHUNK_PAIRS", 1)
    np.testing.assert_array_equal(look_alikes(ours, theirs, 30), wanted)
    assert look_alikes(looks(), theirs, 8).shape == look_alikes(theirs, looks(), 8).shape == (0, 2)


@pytest.mark.parametrize("old_numpy", [False, True])
def test_bits(monkeypatch: pytest.MonkeyPatch, old_numpy: bool) -> None:
    if old_numpy:
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    values = np.random.default_rng(0).integers(0, 2**64, (5, 7), dtype=np.uint64)
    values[0, :2] = 0, 2**64 - 1
    wanted = [[bin(int(v)).count("1") for v in row] for row in values]
    assert count_bits(values).tolist() == wanted
    assert count_bits(values[:, ::2]).tolist() == [row[::2] for row in wanted]


@pytest.mark.parametrize("lengths", [[], [0], [1], [5, 0, 33], [64, 65, 1000], [100000, 900]])
def test_every_picture_once_and_a_few_of_each_set_first(lengths: list[int]) -> None:
    order = [(which, k) for which, part in coarse_to_fine(lengths) for k in part]
    assert Counter(order) == Counter((w, k) for w, n in enumerate(lengths) for k in range(n))
    parts = list(coarse_to_fine(lengths))[: len(lengths)]
    assert [which for which, _ in parts] == list(range(len(lengths)))
    for which, part in parts:
        assert len(part) <= 64
        assert len(part) > 32 or len(part) == lengths[which]
        gaps = {b - a for a, b in pairwise(part)}
        assert len(gaps) <= 1, "evenly"


def test_time_ends_it_between_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(visit.time, "monotonic", lambda: now[0])
    seen = []
    for which, index, result in visit.visit([100, 1000], lambda w, k: (w, k), 5.0, "x"):
        assert result == (which, index)
        seen.append(result)
        now[0] += 0.1
    # 50 of the first set (every second), then 32 of the other: both blocks began in time
    assert seen[:50] == [(0, k) for k in range(0, 100, 2)]
    assert len(seen) == 50 + 32
    assert not list(visit.visit([10], lambda w, k: k, 0.0, "x"))


def test_a_broken_picture_is_named() -> None:
    class Broken(MemorySet):
        def image(self, index: int) -> Any:
            if index == 3:
                raise DataError("m/3: not a picture")
            return super().image(index)

    with pytest.raises(DataError, match="m/3"):
        look_at([Broken("m", [scenery(k) for k in range(5)])], 60.0)
