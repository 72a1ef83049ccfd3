"""Letterboxes at every instruction level of this processor: the same bits as portable C.

twins.c does more of it, and under the sanitizers and an emulator too.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest

from edgemtl import _native

FASTEST, PORTABLE, AVX2, NEON = range(4)
LEVELS = [level for level in (FASTEST, AVX2, NEON) if _native.has_level(level)]
TYPES = [("u1", 1.0, 0.0), ("i1", 1.0, -128.0), ("u1", 2.0, -100.0), ("f4", 1 / 255, -0.5)]
WIDTHS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 18, 19, 31, 32, 33, 34, 47, 63, 64, 65, 100]


def _same(function: Any, source: list[Any], net_hw: tuple[int, int]) -> None:
    for code, scale, offset in TYPES:
        for rgb in (False, True):
            outs = []
            for level in (PORTABLE, *LEVELS):
                outs.append(np.full((3, *net_hw), 77, code))
                function(*source, outs[-1], rgb, scale, offset, 128, False, level)
            for other in outs[1:]:
                assert np.array_equal(outs[0], other), (net_hw, code, rgb)


@pytest.mark.parametrize("width", WIDTHS)
def test_bgr(width: int) -> None:
    random = np.random.default_rng(width)
    for net_w in (*WIDTHS, 2 * width, 3 * width):
        image = random.integers(0, 256, (5, width, 3), np.uint8)
        _same(_native.letterbox, [image], (max(1, 5 * net_w // width), net_w))


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 6])
def test_bgr_at_exact_ratios(times: int) -> None:
    random = np.random.default_rng(times)
    for width in WIDTHS:
        image = random.integers(0, 256, (4 * times, width * times, 3), np.uint8)
        _same(_native.letterbox, [image], (4, width))
        _same(_native.letterbox, [image[::-1]], (4, width))


@pytest.mark.parametrize("width", [2, 4, 6, 8, 14, 16, 18, 30, 32, 34, 64, 66, 130])
def test_nv12(width: int) -> None:
    random = np.random.default_rng(width)
    y = random.integers(0, 256, (6, width), np.uint8)
    uv = random.integers(0, 256, (3, width), np.uint8)
    for net_w in WIDTHS:
        for bt709 in (False, True):
            net_hw = (max(1, 6 * net_w // width), net_w)
            _same(_native.letterbox_nv12, [y, uv, bt709], net_hw)


@pytest.mark.parametrize("extreme", [0, 255])
def test_extreme_levels(extreme: int) -> None:
    image = np.full((9, 70, 3), extreme, np.uint8)
    image[::2, 1::2] = 255 - extreme
    y, uv = np.full((8, 70), extreme, np.uint8), np.full((4, 70), 255 - extreme, np.uint8)
    y[:, ::3], uv[:, 1::2] = 255 - extreme, extreme
    for net in [(9, 70), (20, 150), (5, 33)]:
        _same(_native.letterbox, [image], net)
        _same(_native.letterbox_nv12, [y, uv, False], net)


def test_levels_of_this_processor() -> None:
    assert _native.has_level(FASTEST)
    assert _native.has_level(PORTABLE)
    assert _native.has_level(NEON) == (platform.machine() in {"aarch64", "arm64"})
    assert not (_native.has_level(AVX2) and _native.has_level(NEON))
    for level in (-1, 4, 99):
        assert not _native.has_level(level)
    image, out = np.zeros((4, 4, 3), np.uint8), np.zeros((3, 4, 4), np.uint8)
    for level in {-1, 4, 99, AVX2, NEON} - set(LEVELS):
        with pytest.raises(ValueError, match=f"level: expected one .* got {level}"):
            _native.letterbox(image, out, True, 1.0, 0.0, 0, False, level)
