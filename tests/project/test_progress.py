"""Progress on a terminal and elsewhere, with work inside work."""

from __future__ import annotations

import io
import sys

import pytest

from edgemtl import progress


class Terminal(io.StringIO):
    """A stderr that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called by the test itself: pytest puts its own stderr back after the fixtures."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_a_terminal_sees_both_bars_in_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    state = [""]
    for step in progress.track(range(3), "train", note=lambda: state[0]):
        state[0] = f"detect [{step}]"
        for _ in progress.track(range(2), "judge"):
            assert len(progress._on_terminal) == 1
            progress._on_terminal[0].refresh()
        progress._on_terminal[0].refresh()
    assert progress._on_terminal == []
    shown = screen.getvalue()
    for words in ("train", "judge", "2/3", "detect [1]"):
        assert words in shown


def test_the_display_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)

    def broken() -> None:
        for _ in progress.track(range(3), "train"):
            for _ in progress.track(range(2), "judge"):
                raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        broken()
    assert progress._on_terminal == []
    assert list(progress.track([1, 2], "again")) == [1, 2]


def test_elsewhere_lines_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 4.0, 11.0, 15.0, 25.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    items = progress.track(iter("abcd"), "train", 4, lambda: "detect 1.5")
    assert list(items) == list("abcd")
    assert capsys.readouterr().err.splitlines() == [
        "train: 2/4 after 11 s  detect 1.5",
        "train: 4/4 after 25 s  detect 1.5",
    ]


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([], "nothing")) == []
    assert capsys.readouterr().err == ""
