"""The search against a make-believe network of which is known which layers matter."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgemtl.errors import CalibrationError
from edgemtl.graph.layers import Layer
from edgemtl.metrics.bootstrap import Interval
from edgemtl.quantize.budget import Loss
from edgemtl.quantize.judge import Journal, trial_dict
from edgemtl.quantize.search import Candidate, Search, SearchOptions, Trial
from edgemtl.quantize.sensitivity import Sensitivity

NAMES = [f"conv{k}" for k in range(16)]
DIALECTS = ("int8", "int8 trt")


def loss(points: float, budget: float = 1.0, half: float = 0.1, seen: int = 500) -> Loss:
    return Loss("map", 0.5, Interval(points, points - half, points + half), seen, budget)


def trial(candidate: Candidate, points: float, half: float = 0.1) -> Trial:
    return Trial(candidate, {name: (loss(points, half=half),) for name in DIALECTS})


class World:
    """Each layer of ``costs`` in INT8 costs so many points; ``extra`` by observer."""

    def __init__(self, costs: dict[str, float], extra: dict[str, float] | None = None) -> None:
        self.costs, self.extra = costs, extra or {}
        self.asked: list[Candidate] = []

    def judge(self, candidate: Candidate) -> Trial:
        self.asked.append(candidate)
        left = sum(v for name, v in self.costs.items() if name not in candidate.floats)
        return trial(candidate, left + self.extra.get(candidate.observer, 0.0))

    def search(
        self,
        *,
        errors: dict[str, float] | None = None,
        macs: Callable[[int], int] = lambda _: 10,
        observers: Sequence[str] = ("mse", "minmax"),
        trials: int = 60,
    ) -> Search:
        errors = self.costs if errors is None else errors
        layers = tuple(
            Sensitivity(Layer(name, macs(k)), {"det": errors.get(name, 0.0)})
            for k, name in enumerate(NAMES)
        )
        return Search(self.judge, lambda _: layers, observers, SearchOptions(trials))


def test_a_whole_network_that_keeps_the_budget_is_the_answer() -> None:
    world = World({"conv3": 0.5})
    found = world.search().go()
    assert found.candidate == Candidate("mse")
    assert len(world.asked) == 1


def test_another_observer_comes_before_any_layer() -> None:
    world = World({"conv3": 0.5}, {"mse": 2.0})
    assert world.search().go().candidate == Candidate("minmax")


@pytest.mark.parametrize("matter", [("conv5",), ("conv0", "conv9"), ("conv1", "conv7", "conv15")])
def test_exactly_the_layers_that_matter_stay_float(matter: tuple[str, ...]) -> None:
    world = World(dict.fromkeys(matter, 2.0))
    found = world.search().go()
    assert found.candidate.floats == matter  # in graph order
    assert found.verdict == "keeps"


def test_layers_that_look_bad_and_are_not_go_back_to_int8() -> None:
    world = World({"conv4": 3.0, "conv6": 3.0})
    misleading = {"conv2": 9.0, "conv4": 5.0, "conv3": 4.0, "conv6": 3.0}
    found = world.search(errors=misleading).go()
    assert found.candidate.floats == ("conv4", "conv6")


def test_the_costly_of_two_that_would_do_goes_back() -> None:
    # conv4 must be float, and either of two others
    class Either(World):
        def judge(self, candidate: Candidate) -> Trial:
            floats = set(candidate.floats)
            return trial(candidate, 0.0 if "conv4" in floats and floats & {"conv1", "conv2"} else 4)

    errors = {"conv1": 9.0, "conv2": 8.0, "conv4": 7.0}
    for costly, kept in ((1, "conv2"), (2, "conv1")):
        search = Either({}).search(errors=errors, macs=lambda k, at=costly: 100 if k == at else 10)
        assert set(search.go().candidate.floats) == {kept, "conv4"}


def test_a_minimum_is_found_wherever_two_layers_are() -> None:
    for pair in itertools.combinations(NAMES[:7], 2):
        found = World(dict.fromkeys(pair, 1.5)).search().go()
        assert found.candidate.floats == pair


def test_the_better_observer_is_searched_on() -> None:
    world = World({"conv3": 3.0}, {"mse": 2.0, "minmax": 0.5})
    assert world.search().go().candidate == Candidate("minmax", ("conv3",))


def test_no_answer_names_the_task_and_what_to_try() -> None:
    world = World(dict.fromkeys(NAMES, 2.0))
    search = world.search()
    with pytest.raises(CalibrationError, match=r"no set of layers .* map loses 16\.00") as caught:
        search.go()
    assert "allow more of det" in caught.value.hint
    assert max(len(t.candidate.floats) for t in search.trials) <= len(NAMES) // 2
    few = world.search(trials=3)
    with pytest.raises(CalibrationError, match="after 3 trials"):
        few.go()
    assert len(few.trials) == 3


def test_an_answer_is_kept_when_the_trials_run_out() -> None:
    world = World({"conv9": 2.0})
    errors = {"conv1": 9.0, "conv2": 8.0, "conv3": 7.0, "conv9": 6.0}
    for trials, floats in ((5, 4), (6, 4), (60, 1)):
        found = world.search(errors=errors, trials=trials).go()
        assert found.verdict == "keeps"
        assert len(found.candidate.floats) == floats


def test_what_the_data_cannot_tell_is_refused_with_the_number_of_pictures() -> None:
    search = Search(lambda c: trial(c, 0.2, half=3.0), lambda _: (), ("mse",))
    with pytest.raises(CalibrationError, match=r"det=1 \(map\) needs about 4500 pictures.* 500"):
        search.go()
    # but a loss that is above the budget for sure is searched on
    wide = Search(lambda c: trial(c, 9.0, half=3.0), lambda _: (), ("mse",))
    with pytest.raises(CalibrationError, match="no set of layers"):
        wide.go()


def test_a_handful_of_pictures_is_refused_without_a_search() -> None:
    def judge(candidate: Candidate) -> Trial:
        # one score seems broken, and no layer in float could prove the other one kept
        few = Loss("rank1", 0.5, Interval(0.0, 0.0, 0.0), 3, 50.0)
        return Trial(candidate, {"int8": (loss(9.0), few)})

    search = Search(judge, lambda _: (), ("mse", "minmax"))
    with pytest.raises(CalibrationError, match=r"\(rank1\) needs about 20 pictures, there are 3"):
        search.go()
    assert len(search.trials) == 1


def test_layers_are_tried_before_the_data_are_called_too_few() -> None:
    layers = World({"conv3": 1.0}).search().rank("mse")

    def search(half: float) -> Search:
        # the whole network is over the budget, but not for sure
        def judge(candidate: Candidate) -> Trial:
            if "conv3" in candidate.floats:
                return trial(candidate, 0.2, half=half)
            return trial(candidate, 2.0, half=1.5)

        return Search(judge, lambda _: layers, ("mse",))

    found = search(0.1)
    assert found.go().candidate.floats == ("conv3",)
    assert len(found.trials) == 2  # the task that seems to lose too much says which layer
    with pytest.raises(CalibrationError, match="needs about 1125 pictures"):
        search(1.5).go()


def test_a_journal_spares_what_was_measured(tmp_path: Path) -> None:
    path, about = tmp_path / "m.search.json", {"model": "a", "pictures": 3}
    first = trial(Candidate("mse", ("conv1",)), 0.3)
    nan = Trial(Candidate("mse"), {"int8": (loss(float("nan")),)})
    journal = Journal(path, about)
    journal.add(first)
    journal.add(nan)
    again = Journal(path, about)
    assert again.get(first.candidate) == first
    back = again.get(nan.candidate)
    assert back is not None
    assert trial_dict(back) == trial_dict(nan)
    assert again.get(Candidate("minmax")) is None
    assert len(Journal(path, {"model": "b", "pictures": 3})) == 0
    for text in ("", "{", "[]", '{"about": 1}', '{"trials": []}'):
        path.write_text(text)
        assert len(Journal(path, about)) == 0
    again.close()
    assert not path.exists()
    again.close()
