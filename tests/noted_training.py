"""``edgemtl train`` as a program that notes losses, gradients and weights.

Run by tests, alone or under torchrun. In the environment: NOTES, a path to which each process
appends its number; INTERRUPT_AT, the step in whose midst the run gets Ctrl-C (its launcher, where
there is one).
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from edgemtl.cli import main
from edgemtl.train import loop
from edgemtl.train.distributed import count, is_first, rank
from edgemtl.train.runlog import RunLog


def noted_main(notes: str, interrupt_at: int | None) -> None:
    losses: list[dict[str, float]] = []
    gradients: dict[str, float] = {}
    runs: list[loop._Run] = []
    note, train, combined = RunLog.note, loop._Run.train, loop.combine
    steps = 0

    def noted(log, step, rate, gradient, values, *others):
        losses.append({"gradient": gradient, **values})
        if not gradients:  # of the first step, where the weights are equal still
            named = runs[0].network.named_parameters()
            gradients.update({n: float(p.grad.norm()) for n, p in named if p.grad is not None})
        note(log, step, rate, gradient, values, *others)

    def watched(run, check):
        runs.append(run)
        train(run, check)
        numbers = [float(t.double().abs().sum()) for t in run.network.state_dict().values()]
        found = {"losses": losses, "gradients": gradients, "weights": numbers}
        Path(f"{notes}.{rank()}").write_text(json.dumps(found), encoding="utf-8")

    def interrupted(*arguments):
        nonlocal steps
        steps += 1
        if steps == interrupt_at and is_first():
            os.kill(os.getppid() if count() > 1 else os.getpid(), signal.SIGINT)
        return combined(*arguments)

    RunLog.note, loop._Run.train, loop.combine = noted, watched, interrupted
    main()


if __name__ == "__main__":
    at = os.environ.get("INTERRUPT_AT")
    noted_main(os.environ["NOTES"], int(at) if at else None)
