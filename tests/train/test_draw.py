"""What a step is made of: shares of sets and tasks, sizes, groups; by number alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy.optimize")

from scipy import optimize
from shapes_set import Shapes

from edgemtl.data.config import DataMix
from edgemtl.errors import ConfigError
from edgemtl.train.config import TrainConfig
from edgemtl.train.draw import Draw, check_sizes, scaled
from edgemtl.train.shares import set_shares, systematic


def config(**changes: object) -> TrainConfig:
    base: dict[str, object] = {"name": "t", "data": Path("d"), "size_hw": (64, 96), "images": 6400}
    return TrainConfig.model_validate({**base, **changes})


def one(name: str, *tasks: str, weight: float = 1.0, video: bool = False) -> Shapes:
    data = Shapes(12)
    data.name, data.weight, data.tasks = name, weight, frozenset(tasks)
    if not video:
        data.sequences = ()
    return data


STREET = (
    one("video", "detect", "embed", weight=0.2, video=True),
    one("boxes", "detect", weight=0.3),
    one("both", "detect", "classify", weight=0.4),
    one("faces", "classify", weight=0.1),
)


def nearest(weights: np.ndarray, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Independent truth: least relative entropy under linear equalities, by SLSQP."""
    p = weights / weights.sum()
    found = optimize.minimize(
        lambda q: float((q * np.log(np.maximum(q, 1e-12) / p)).sum()),
        p,
        bounds=[(0, 1)] * len(p),
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1},
            {"type": "eq", "fun": lambda q: rows @ q - wanted},
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.x


def test_without_task_shares_the_weights_decide() -> None:
    np.testing.assert_allclose(set_shares(STREET, {}), [0.2, 0.3, 0.4, 0.1])


@pytest.mark.parametrize(
    "wanted",
    [
        {"classify": 0.8},
        {"embed": 0.5},
        {"detect": 0.6, "classify": 0.7},
        {"detect": 0.9, "classify": 0.3, "embed": 0.45},
        {"classify": 0.0},
        {"classify": 1.0, "embed": 0.0},
    ],
)
def test_task_shares_are_met_nearest_to_the_weights(wanted: dict[str, float]) -> None:
    share = set_shares(STREET, wanted)
    rows = np.array([[task in s.tasks for s in STREET] for task in wanted], float)
    asked = np.array(list(wanted.values()))
    np.testing.assert_allclose(rows @ share, asked, atol=1e-3)
    weights = np.array([s.weight for s in STREET])
    np.testing.assert_allclose(share, nearest(weights, rows, asked), atol=2e-3)


@pytest.mark.parametrize(
    ("sets", "wanted"),
    [
        (STREET, {"detect": 0.5, "embed": 0.6}),  # who embeds detects, too
        (STREET, {"detect": 0.2, "classify": 0.3}),  # every set carries one of them
        (STREET[:2], {"detect": 0.5}),
        (STREET[:2], {"classify": 0.5}),
    ],
)
def test_shares_that_no_mix_has_are_refused(
    sets: tuple[Shapes, ...], wanted: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match="no mix of the data sets gives"):
        set_shares(sets, wanted)


@pytest.mark.parametrize("expected", [[2.5, 0.25, 5.25], [0.0, 1.0, 0.0], [0.1] * 7, []])
def test_systematic_counts(expected: list[float]) -> None:
    means = np.array(expected)
    offsets = (np.arange(2000) + 0.5) / 2000
    counts = np.array([systematic(means, o) for o in offsets]).reshape(2000, -1)
    np.testing.assert_allclose(counts.mean(0), means, atol=2e-3)
    assert (np.abs(counts - means) < 1).all()
    assert set(counts.sum(1)) <= {int(means.sum()), int(np.ceil(means.sum() - 1e-9))}


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({}, [0.2, 0.3, 0.4, 0.1]),
        ({"sampling": {"embed": 0.5}}, [0.5, 0.1875, 0.25, 0.0625]),
        ({"sampling": {"classify": 0.75}, "batch": 16}, [0.1, 0.15, 0.6, 0.15]),
    ],
)
def test_the_pictures_drawn_have_these_shares(
    changes: dict[str, object], shares: list[float]
) -> None:
    draw = Draw(STREET, config(group=4, **changes))
    steps = [draw.picks(n) for n in range(1500)]
    batch = changes.get("batch", 8)
    counts = np.array([np.bincount([p.which for p in s], minlength=4) for s in steps])
    assert set(counts.sum(1)) == {batch}
    np.testing.assert_allclose(counts.mean(0) / batch, shares, atol=0.015)
    assert set(counts[:, 0]) <= {0, 4, 8, 12}  # whole groups
    for step in steps[:50]:
        frames = [p.indices for p in step if p.which == 0]
        assert all(len(i) == 1 for i in frames)


def test_only_groups_and_a_batch_that_they_do_not_fill() -> None:
    draw = Draw([STREET[0]], config(batch=6, group=4))
    assert {len(draw.picks(n)) for n in range(20)} == {6}
    assert len(Draw([STREET[0]], config(batch=2, group=4)).picks(0)) == 2


def test_sets_without_pictures_or_weight_take_no_part() -> None:
    empty = Shapes(0)
    draw = Draw([empty, one("off", "detect", weight=0.0), STREET[1]], config())
    assert [s.name for s in draw.sets] == ["boxes"]
    with pytest.raises(ConfigError, match="weight 0"):
        Draw([one("off", "detect", weight=0.0)], config())


def test_picks_depend_on_seed_and_number_alone() -> None:
    draw, again = Draw(STREET, config()), Draw(STREET, config())
    draw.picks(3)
    assert draw.picks(7) == again.picks(7)
    assert draw.picks(7) != draw.picks(8)
    assert draw.picks(7) != Draw(STREET, config(seed=1)).picks(7)
    seeds = [p.seed for n in range(20) for p in draw.picks(n)]
    assert len(set(seeds)) == len(seeds)


def test_sizes_of_sets_and_of_steps() -> None:
    both = {"sizes": {"faces": (96, 96)}, "multi_scale": (0.75, 1.25)}
    draw = Draw(STREET, config(**both))
    sizes: dict[int, set[tuple[int, int]]] = {}
    for number in range(300):
        step = draw.picks(number)
        assert len({p.size_hw for p in step if p.which < 3}) == 1
        for p in step:
            sizes.setdefault(p.which, set()).add(p.size_hw)
    assert sizes[0] == sizes[1] == sizes[2] == {(64, 64), (64, 96), (64, 128)}
    assert sizes[3] == {(64, 64), (96, 96), (128, 128)}


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((320, 416), 1.0, (320, 416)),
        ((320, 416), 0.75, (256, 320)),
        ((320, 416), 1.25, (416, 512)),
        ((32, 64), 0.25, (32, 32)),
    ],
)
def test_scaled(size: tuple[int, int], factor: float, expected: tuple[int, int]) -> None:
    assert scaled(size, factor) == expected
    assert all(side % 32 == 0 for side in scaled(size, factor * 1.013))


def test_mosaics_are_for_pictures_with_boxes() -> None:
    draw = Draw(STREET, config(augment={"mosaic": 1.0}))
    lengths = {which: set() for which in range(4)}
    for number in range(100):
        for p in draw.picks(number):
            lengths[p.which].add(len(p.indices))
    assert lengths == {0: {1}, 1: {4}, 2: {4}, 3: {1}}


def test_a_size_for_a_set_that_is_not_there() -> None:
    mixes = DataMix(("a",), (), STREET[:2]), DataMix(("a",), (), STREET[2:])
    check_sizes(config(sizes={"video": (96, 96), "faces": (96, 96)}), *mixes)
    with pytest.raises(ConfigError, match="no data set 'face'"):
        check_sizes(config(sizes={"face": (96, 96)}), *mixes)
    with pytest.raises(ConfigError, match="no data set 'faces'"):
        check_sizes(config(sizes={"faces": (96, 96)}), mixes[0], None)
