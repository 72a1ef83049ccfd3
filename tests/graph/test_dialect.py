"""Scales, zero points and the range table: table cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import CalibrationError
from edgemtl.graph.dialect import (
    ORT_ARM,
    ORT_X86,
    SMALLEST_HALF,
    TRT,
    activation_parameters,
    half_above,
    host_dialect,
)
from edgemtl.graph.ranges import RangeTable, load_ranges, save_ranges

SPANS = [(0, 6), (0, 5.3), (-1, 1), (-3, 0.5), (0, 0), (2, 2), (-5, -2), (0, 1e-20), (-1e30, 1e30)]


@pytest.mark.parametrize("dialect", [ORT_X86, ORT_ARM, replace(TRT, half=False)])
@pytest.mark.parametrize(("low", "high"), SPANS)
def test_zero_is_exact_and_the_range_is_covered(dialect, low: float, high: float) -> None:  # type: ignore[no-untyped-def]
    scale, zero = activation_parameters(low, high, dialect)
    assert np.isfinite(scale)
    assert scale > 0
    assert zero.dtype == np.dtype(dialect.activation)
    smallest, largest = dialect.limits
    low, high = min(low, 0), max(high, 0)
    first, last = (float(scale) * (q - int(zero)) for q in (smallest, largest))
    assert first <= low + 0.51 * scale
    assert last >= high - 0.51 * scale


@pytest.mark.parametrize("high", [6.0, 5.9999, 0.1, 3.3, 1e-3])
def test_a_range_from_zero_never_exceeds_its_top(high: float) -> None:
    scale, zero = activation_parameters(0, high, ORT_X86)
    assert int(zero) == 0
    assert np.float32(255) * scale <= np.float32(high)
    assert np.float32(255) * scale > high * (1 - 1e-6)


def test_symmetric_scales() -> None:
    scale, zero = activation_parameters(-2.54, 1, replace(TRT, half=False))
    assert (float(scale), int(zero)) == (pytest.approx(0.02), 0)


@pytest.mark.parametrize("high", [6.0, 2.54, 0.1, 1e-3, 1e-5, 65504.0, 1e9])
def test_scales_in_half_are_numbers_of_float16(high: float) -> None:
    scale, _ = activation_parameters(-high / 2, high, TRT)
    assert np.float32(np.float16(scale)) == scale, "quantised with what the graph says"
    assert scale >= SMALLEST_HALF
    if SMALLEST_HALF * 127 < high <= 65504:
        assert high * (1 - 2**-4) <= 127 * scale <= high


def test_weight_scales_in_half_never_cut_the_largest_weight() -> None:
    scale = np.array([0, 1e-9, 3e-7, 1e-5, 6.2e-5, 0.00123, 0.5, 1 / 3], np.float32)
    above = half_above(scale)
    assert (above >= scale).all()
    assert (above == above.astype(np.float16).astype(np.float32)).all()
    assert (above[3:] <= scale[3:] * (1 + 2**-7)).all()
    assert (above[:3] == SMALLEST_HALF).all()


def test_host_dialect() -> None:
    assert host_dialect("x86_64") is ORT_X86
    assert host_dialect("AMD64") is ORT_X86
    assert host_dialect("aarch64") is ORT_ARM
    assert host_dialect("arm64") is ORT_ARM
    assert host_dialect() in {ORT_X86, ORT_ARM}


def _table(**changes: object) -> RangeTable:
    fields: dict[str, object] = {
        "model": "m", "model_sha256": "a", "observer": "minmax", "images": 3, "content_sha256": "b",
        "ranges": {"t": (0.0, 0.1), "s": (-1.5, 1 / 3)}, "means": {"t": (0.5, -1.25)},
    }  # fmt: skip
    return RangeTable.model_validate({**fields, **changes})


def test_tables_round_trip_exactly(tmp_path: Path) -> None:
    table = _table(float_layers=("conv",))
    save_ranges(table, tmp_path / "r.json")
    assert load_ranges(tmp_path / "r.json") == table
    assert load_ranges(tmp_path / "r.json").sha256 == table.sha256
    assert _table(images=4).sha256 != table.sha256


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "{}",
        _table().to_json().replace("0.1", "NaN"),
        _table().to_json().replace("0.1", "Infinity"),
        _table().to_json().replace("0.1", '"much"'),
        _table().to_json().replace('"images": 3', '"images": 0'),
        _table().to_json().replace('"format": 1', '"format": 2'),
        _table().to_json().replace('"observer"', '"surprise"'),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=r"r\.json"):
        load_ranges(path)


def test_a_missing_table_and_upside_down_ranges(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        load_ranges(tmp_path / "no.json")
    with pytest.raises(CalibrationError, match="above its high"):
        _table(ranges={"t": (1.0, -1.0)}).span(("t",))
    assert _table().span(("s", "t")) == (-1.5, 1 / 3)
