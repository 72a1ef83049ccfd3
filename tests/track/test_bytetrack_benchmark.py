"""The ByteTrack preset on public detections of real sequences, by its benchmark."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("bytetrack_preset")


def test_the_benchmark_meets_the_reference(script: ModuleType, data_root: Path) -> None:
    found = script.reference(data_root / "bytetrack_reference")
    assert found["recorded"] == found["boxes"] == found["same_id"] == 6008
    assert 0 < found["largest_px"] < 0.01


def test_what_the_reference_leaves_out_of_the_paper_costs_identities(
    script: ModuleType, data_root: Path
) -> None:
    """Predicted boxes, as in the paper, and the reference's, which are those last seen."""
    scores = {name: each["COMBINED"] for name, each in script.quality(data_root).items()}
    seen, predicted = scores["edgemtl bytetrack"], scores["match_predicted"]
    assert seen["hota"] > 0.385
    assert predicted["hota"] > max(0.43, seen["hota"] + 0.03)
    assert predicted["mota"] > 0.585
    assert predicted["idf1"] > 0.565
    assert scores["match_predicted, fuse_score"]["idsw"] < seen["idsw"]


def test_costs_are_those_of_one_update(script: ModuleType) -> None:
    found = script.cost(20, {})
    assert set(found["us"]) == {"edgemtl"}
    assert found["us"]["edgemtl"] > 0
    assert found["times_ours"] == found["failed"] == {}
