"""A training run as a program, which notes the losses of every step and what it ends with.

Run by tests, alone or under torchrun: ``python noted_training.py CONFIG.toml OUT NOTES [--resume]``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgemtl.train import loop
from edgemtl.train.config import load_train_config
from edgemtl.train.distributed import rank
from edgemtl.train.runlog import RunLog


def main(config: str, out: str, notes: str, *options: str) -> None:
    losses: list[dict[str, float]] = []
    runs: list[loop._Run] = []
    note, begin = RunLog.note, loop._Run.train

    def noted(log, step, rate, gradient, values, *others):
        losses.append({"gradient": gradient, **values})
        note(log, step, rate, gradient, values, *others)

    def watched(run, check):
        runs.append(run)
        begin(run, check)
        numbers = [float(t.double().abs().sum()) for t in run.network.state_dict().values()]
        found = {"losses": losses, "weights": numbers}
        Path(f"{notes}.{rank()}").write_text(json.dumps(found), encoding="utf-8")

    RunLog.note, loop._Run.train = noted, watched
    loop.run_training(load_train_config(Path(config)), out=Path(out), resume="--resume" in options)


if __name__ == "__main__":
    main(*sys.argv[1:])
