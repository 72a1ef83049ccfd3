"""Broken pieces of a data set: each is named by file and line, and skipped or refused, as told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgemtl.errors import DataError

OnError = Literal["skip", "refuse"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a data set, and what was done about it.

    ``line`` counts from 1; None where the file has no lines (a picture, a JSON value).
    """

    file: str
    line: int | None
    what: str
    action: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.what} ({self.action})"


class ProblemLog:
    """Collects the problems of one loading."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, file: object, line: int | None, what: str, action: str = "skipped") -> None:
        """Note one problem."""
        self.problems.append(Problem(str(file), line, what, action))

    def settle(self, on_error: OnError) -> tuple[Problem, ...]:
        """The problems, in order. Raises DataError if there are any and they are to be refused."""
        if self.problems and on_error == "refuse":
            first = self.problems[0]
            where = first.file if first.line is None else f"{first.file}:{first.line}"
            more = len(self.problems) - 1
            raise DataError(
                f"{where}: {first.what}" + (f" (and {more} more problems)" if more else ""),
                'repair the files, or set on_error = "skip" to go on without the broken ones',
            )
        return tuple(self.problems)
