"""The verdicts of the INT8 benchmarks, on made-up figures and on those in the repository."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.fixture(scope="module")
def budgets() -> ModuleType:
    return load_script("int8_budgets")


@pytest.fixture(scope="module")
def peer() -> ModuleType:
    return load_script("calibration_peer")


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_published_budgets_are_kept_by_their_own_losses(budgets: ModuleType) -> None:
    result = recorded("int8_budgets")
    assert budgets.misses(result["models"]) == result["missed"]
    for one in result["models"].values():
        assert one["kept"]
        for losses in one["chosen"]["losses"].values():
            for loss in losses:
                assert loss["budget"] is None or loss["loss_points"] <= loss["budget"]


def test_a_budget_that_is_not_kept_and_slow_int8_are_misses(budgets: ModuleType) -> None:
    models = copy.deepcopy(recorded("int8_budgets")["models"])
    models["toy"]["kept"] = False
    models["street"]["speed"]["int8"]["p50_ms"] = 99.0
    models["toy"]["speed"]["int8"]["p50_ms"] = 0.1
    first, second = budgets.misses({"toy": models["toy"], "street": models["street"]})
    assert first.startswith("toy: no INT8 within det=")
    assert second.startswith("street: INT8 takes 99.0 ms")


def test_verdicts_beside_the_peer(peer: ModuleType) -> None:
    result = recorded("calibration_peer")
    costs, models = result["street"], result["yolox-nano"]
    assert peer.misses(costs, models) == result["missed"]
    bad = copy.deepcopy(costs)
    bad["minmax"]["ours"]["peak_mb"] = 601.0
    bad["entropy"]["ours"]["peak_mb"] = bad["entropy"][peer.PEER]["peak_mb"] * 0.11
    bad["percentile"]["ours"]["cpu_s"] = 1e6
    good = {name: {"ap50": 0.5, "p50_ms": 10.0} for name in models}
    good["ours"] = {"ap50": 0.6, "p50_ms": 10.0}
    found = peer.misses(bad, good)
    assert {text.partition(":")[0] for text in found} == {"minmax", "percentile", "entropy"}
    bad["minmax"]["ours"] |= {"exit": 137, "peak_mb": 1.0}
    assert "minmax, ours: exit 137" in peer.misses(bad, good)
    good["ours"] = {"ap50": 0.5, "p50_ms": 10.1}
    assert len(peer.misses({}, good)) == 2 * len(good.keys() - {"ours", "fp32"})
    del good[peer.MODELOPT]
    assert any(peer.MODELOPT in text for text in peer.misses({}, good))


def test_the_peer_is_given_the_same_pictures(peer: ModuleType, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    from edgemtl.models import resolve_model

    for number in range(4):
        picture = np.full((20, 30, 3), 40 * number, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    reader = peer.Reader(resolve_model("toy"), tmp_path, 3)
    seen = []
    while (feed := reader.get_next()) is not None:
        ((name, batch),) = feed.items()
        assert (name, batch.shape, batch.dtype) == ("images", (1, 3, 192, 320), np.int8)
        seen.append(int(batch[0, 0, 96, 160]) + 128)
    assert seen == [0, 40, 120]
