"""The rows of a run's log for TensorBoard, which is the user's to install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgemtl.errors import MissingExtraError

BOARD_FOLDER = "tensorboard"


class Board:
    """Event files in ``out/tensorboard``; those of steps after ``step`` no longer count.

    Raises MissingExtraError if the package is absent.
    """

    def __init__(self, out: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", None, "tensorboard = true") from error
        folder = out / BOARD_FOLDER
        if not step:
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def add(self, row: dict[str, Any]) -> None:
        """All numbers of a row, at its step."""
        single = {name: row[name] for name in ("rate", "gradient", "skipped", "score")
                  if row.get(name) is not None}  # fmt: skip
        losses = {f"loss/{name}": value for name, value in row.get("loss", {}).items()}
        weights = {f"weight/{name}": value for name, value in row.get("weight", {}).items()}
        scores = {name.replace(".", "/"): value for name, value in row.get("scores", {}).items()}
        for name, value in {**single, **losses, **weights, **scores}.items():
            self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
