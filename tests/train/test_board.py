"""TensorBoard: what is written where, and that it is only asked for where it is wanted."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from edgemtl.errors import MissingExtraError
from edgemtl.train.runlog import RunLog

torch = pytest.importorskip("torch")


class Writer:
    """Stands for SummaryWriter: remembers what it was told."""

    made: ClassVar[list[Writer]] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.folder, self.purge_step = folder, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.flushed = self.closed = 0
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    Writer.made = []
    return Writer


def test_every_number_of_a_row(tmp_path: Path, writer: type[Writer]) -> None:
    log = RunLog(tmp_path, 8, tensorboard=True)
    log.begin()
    for step in range(1, 51):
        log.note(step, 0.5, 2.0, {"detect": 3.0})
    log.add(50, {"score": 0.25, "scores": {"pets.map50": 0.5}})
    log.add(50, {"stopped": "enough"})
    log.close()
    (one,) = writer.made
    assert one.folder == str(tmp_path / "tensorboard")
    assert one.scalars == [
        ("rate", 0.5, 50), ("gradient", 2.0, 50), ("skipped", 0, 50), ("loss/detect", 3.0, 50),
        ("score", 0.25, 50), ("pets/map50", 0.5, 50),
    ]  # fmt: skip
    assert (one.flushed, one.closed, one.purge_step) == (3, 1, None)


def test_a_resumed_run_takes_later_steps_back(tmp_path: Path, writer: type[Writer]) -> None:
    RunLog(tmp_path, 8, tensorboard=True).begin(120)
    assert writer.made[0].purge_step == 121


def test_a_new_run_drops_the_files_of_one_that_never_saved(
    tmp_path: Path, writer: type[Writer]
) -> None:
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    old, other = folder / "events.out.tfevents.1.host", folder / "notes.txt"
    for path in (old, other):
        path.write_text("x")
    RunLog(tmp_path, 8, tensorboard=True).begin()
    assert (old.exists(), other.exists()) == (False, True)


def test_nobody_asked(tmp_path: Path, writer: type[Writer]) -> None:
    RunLog(tmp_path, 8).begin()
    RunLog(None, 8, tensorboard=True).begin()
    assert writer.made == []


def test_the_package_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="tensorboard") as caught:
        RunLog(tmp_path, 8, tensorboard=True).begin()
    assert caught.value.hint == "pip install tensorboard"


def test_a_real_board_reads_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, 8, tensorboard=True)
    log.begin()
    for step in (50, 100, 150):
        log.add(step, {"score": step / 1000, "scores": {}})
    log.close()
    again = RunLog(tmp_path, 8, tensorboard=True)
    again.begin(100)
    again.add(150, {"score": 0.5, "scores": {}})
    again.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(event.step, round(event.value, 3)) for event in events.Scalars("score")]
    assert found == [(50, 0.05), (100, 0.1), (150, 0.5)]
