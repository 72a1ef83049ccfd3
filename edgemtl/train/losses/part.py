"""Means over a whole step, from the parts that its batches (and processes) add to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgemtl.train.distributed import count, total, whole

Losses = dict[str, Tensor]
"""Scalar losses by the name of their head; a task that no picture of the step labels is absent.

Of several processes all hold the same values; their gradients add up to that of the step.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """What one batch adds to a mean over the whole step: a sum, and what it is to be divided by.

    total, weight f32 []; the weight has no gradient. A task's loss is the sum over its parts of
    factor * (sum of totals) / (sum of weights, at least 1), sums over the batches of the step.
    ``labelled`` False: no picture of this batch labels the task, both are 0.
    """

    total: Tensor
    weight: Tensor
    factor: float = 1.0
    labelled: bool = True


def mean_of(values: Tensor) -> Part:
    """The part of a plain mean: values f32 [n], each counting the same."""
    weight = values.new_tensor(float(values.numel()))
    return Part(values.sum(), weight, labelled=values.numel() > 0)


def counted_once(part: Part) -> Part:
    """A part that every process computed from the rows of all: each adds its share of the value,
    and the gradient of its own rows.
    """
    parts, value = count(), part.total.detach()
    if parts == 1:
        return part
    return replace(part, total=part.total - value + value / parts, weight=part.weight / parts)


def combine(batches: Sequence[Mapping[str, tuple[Part, ...]]]) -> Losses:
    """The losses of a step from the parts of its batches, as if it had been one batch.

    ``batches``: parts by task, in each batch equally many of a task; a task may be absent. What is
    absent in one process is absent in all: each has its share of every batch.
    """
    columns = {
        task: list(zip(*(parts[task] for parts in batches if task in parts), strict=True))
        for task in dict.fromkeys(name for parts in batches for name in parts)
    }
    if not columns:
        return {}
    counted = [torch.stack([p.weight for p in c]).sum() for row in columns.values() for c in row]
    labelled = [float(any(p.labelled for c in row for p in c)) for row in columns.values()]
    found = total(torch.stack([*counted, *(counted[0].new_tensor(n) for n in labelled)]))
    weights = iter(found[: len(counted)].clamp(min=1.0))
    losses: Losses = {}
    for (task, row), present in zip(columns.items(), found[len(counted) :].tolist(), strict=True):
        means = [_total(column) / next(weights) for column in row]
        if present:
            losses[task] = whole(torch.stack(means).sum())
    return losses


def _total(parts: Sequence[Part]) -> Tensor:
    return parts[0].factor * torch.stack([part.total for part in parts]).sum()
