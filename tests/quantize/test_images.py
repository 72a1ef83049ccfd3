"""Choosing, hashing and letterboxing the calibration pictures."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl.errors import CalibrationError
from edgemtl.manifest import InputSpec
from edgemtl.quantize.images import ImageBatches, split_images
from edgemtl.quantize.report import convert_pixels


@pytest.mark.parametrize("total", [1, 2, 4, 5, 6, 10, 99, 250, 251, 10_000])
@pytest.mark.parametrize(("limit", "held_out"), [(200, 50), (1, 0), (1, 1), (7, 3)])
def test_split_is_disjoint_spread_and_within_its_limits(
    total: int, limit: int, held_out: int
) -> None:
    split = split_images(total, limit, held_out)
    both = split.calibrate + split.held_out
    assert len(set(both)) == len(both) <= total
    assert 1 <= len(split.calibrate) <= limit
    assert len(split.held_out) == min(held_out, total // 5)
    assert min(both) == 0
    if len(both) > 1:
        assert max(both) == total - 1
        assert np.diff(sorted(both)).max() <= -(-total // (len(both) - 1))
    if len(split.held_out) > 1:
        assert np.ptp(split.held_out) >= total * (1 - 2 / len(split.held_out))


def test_no_pictures() -> None:
    with pytest.raises(CalibrationError, match="found none") as caught:
        split_images(0, 10, 10)
    assert caught.value.hint


class _Pictures:
    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> np.ndarray:
        return self.images[index]

    def file(self, index: int) -> str:
        return str(index)


def _images(count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + i, 30, 3), np.uint8) for i in range(count)]


def _hash(images: list[np.ndarray]) -> str:
    batches = ImageBatches(_Pictures(images), range(len(images)), InputSpec(size_hw=(32, 32)))
    assert len(list(batches)) == len(batches)
    return batches.content_sha256


def test_hash_is_of_the_contents_alone() -> None:
    images = _images()
    assert _hash(images) == _hash(images[::-1])
    assert _hash(images) == _hash([np.flip(np.flip(image).copy()) for image in images])
    changed = _images()
    changed[2][0, 0, 0] ^= 1
    assert len({_hash(images), _hash(images[:4]), _hash(changed)}) == 3
    swapped = [np.ascontiguousarray(image.reshape(30, -1, 3)) for image in images]
    assert _hash(images) != _hash(swapped), "the shape counts"


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_batches_hold_letterboxed_pictures(batch: int) -> None:
    images = [np.full((10, 20, 3), (10, 20, 30), np.uint8)] * 5
    batches = ImageBatches(_Pictures(images), range(5), InputSpec(size_hw=(32, 32)), batch)
    arrays = [array.copy() for array in batches]
    assert [len(array) for array in arrays] == [min(batch, 5 - i) for i in range(0, 5, batch)]
    whole = np.concatenate(arrays)
    assert whole.dtype == np.int8
    assert whole[:, :, 16, 16].tolist() == [[30 - 128, 20 - 128, 10 - 128]] * 5, "planar RGB - 128"
    assert not whole[:, :, 0, 0].any(), "the pad is zero"


def test_convert_pixels() -> None:
    images = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 16, 16)
    assert convert_pixels(images, "int8", "uint8").ravel().tolist() == list(range(256))
    assert convert_pixels(images, "int8", "int8") is images
    strided = images[..., ::2]
    assert convert_pixels(strided, "int8", "uint8").ravel().tolist() == list(range(0, 256, 2))
