"""The tracker on public detections of real sequences, beside the recorded SORT."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script

from edgemtl.track import TrackerConfig

FLOORS = {
    "ETH-Sunnyday": {"hota": 0.47, "idf1": 0.63, "mota": 0.49},
    "KITTI-17": {"hota": 0.37, "idf1": 0.59, "mota": 0.45},
    "PETS09-S2L1": {"hota": 0.40, "idf1": 0.54, "mota": 0.56},
    "TUD-Campus": {"hota": 0.48, "idf1": 0.67, "mota": 0.52},
    "TUD-Stadtmitte": {"hota": 0.53, "idf1": 0.76, "mota": 0.72},
    "COMBINED": {"hota": 0.445, "idf1": 0.61, "mota": 0.555},
}
"""What it reaches, less about a point."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The benchmark itself: one and the same measurement."""
    return load_script("tracker_quality")


@pytest.fixture(scope="module")
def scores(data_root: Path, script: ModuleType) -> dict[str, dict[str, float]]:
    return script.measure(data_root, TrackerConfig())


def test_keeps_what_it_reaches(scores: dict[str, dict[str, float]]) -> None:
    assert set(scores) == set(FLOORS)
    short = [
        f"{name}: {key} {scores[name][key]} is below {floor}"
        for name, floors in FLOORS.items()
        for key, floor in floors.items()
        if scores[name][key] < floor
    ]
    assert short == []


def test_identities_beat_sort(scores: dict[str, dict[str, float]], data_root: Path) -> None:
    """HOTA, IDF1 and identity switches. SORT has the higher MOTA, as it reports less and rawer."""
    text = (data_root / "expected_trackeval.json").read_text(encoding="utf-8")
    sort, ours = json.loads(text)["sort_on_det"]["COMBINED"], scores["COMBINED"]
    assert ours["hota"] > sort["HOTA"] + 0.03
    assert ours["idf1"] > sort["IDF1"] + 0.08
    assert ours["assa"] > sort["AssA"] + 0.03
    assert ours["idsw"] <= sort["IDSW"]
    assert ours["mota"] > sort["MOTA"] - 0.04
