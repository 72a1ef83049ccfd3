"""Several processes, one training (``torchrun``): each takes its share of every batch.

The gradient is that of one process at the same batch: what losses are divided by is counted over
all processes, and gradients are added up, once, after the balance of the tasks. That is also why
there is no DistributedDataParallel here: it averages during each backward pass, and a balance on
the Jacobian has several of them and needs the sum of every row before it aggregates. The networks
are small enough to add their gradients up in one go.

Everything here works, and does nothing, where there is one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from edgemtl.errors import ConfigError, ProcessError

_TIMEOUT = timedelta(hours=12)
"""The others wait as long as the first one judges. A process that dies ends them much earlier."""
_BUCKET = 8 << 20
"""Numbers that are added up at a time: 32 MB of float32."""

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes, judges and prints."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it did: NCCL on CUDA, gloo on the CPU.

    Raises ConfigError if there are more processes here than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    with _talking():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                                timeout=_TIMEOUT)  # fmt: skip
    yield
    # not after an error: the others may be waiting for what will never be sent
    dist.destroy_process_group()


def device() -> torch.device:
    """The GPU of this process, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    number, present = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= present:
        raise ConfigError(
            f"process {number} of this machine has no GPU: there are {present}",
            f"torchrun --nproc-per-node {present}",
        )
    return torch.device("cuda", number)


def share_of(batch: int) -> tuple[int, int]:
    """(number, count) of this process's share. Raises ConfigError if shares would be unequal."""
    if batch % count():
        raise ConfigError(
            f"batch: {batch} pictures cannot be dealt out evenly to {count()} processes",
            f"batch is the size over all processes: choose a multiple of {count()}",
        )
    return rank(), count()


def total(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes, without gradient."""
    value = value.detach()
    if count() == 1:
        return value
    value = value.clone()
    with _talking():
        dist.all_reduce(value)
    return value


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, parts: int) -> Tensor:
        return total(value) / parts

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def whole(value: Tensor, *, shared: bool = False) -> Tensor:
    """The sum of a loss over all processes, with the gradient of this one's part alone.

    ``shared``: every process computed the same whole already; they only agree on its last bit.
    """
    if count() == 1:
        return value
    result: Tensor = _Whole.apply(value, count() if shared else 1)
    return result


def widest(columns: int) -> int:
    """The largest of all processes' numbers."""
    if count() == 1:
        return columns
    value = torch.tensor(columns)
    with _talking():
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, [P, ...] -> [sum of P, ...], with gradient to this one's."""
    if count() == 1:
        return rows
    lengths = torch.zeros(count(), dtype=torch.int64, device=rows.device)
    lengths[rank()] = len(rows)
    sizes = [int(n) for n in total(lengths)]
    if not any(sizes):
        return rows
    padded = rows.detach().new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    with _talking():
        dist.all_gather(parts, padded)
    found = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    found[rank()] = rows
    return torch.cat(found)


@torch.no_grad()
def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor (all of one type) by its sum over all processes, in a few messages."""
    if count() == 1:
        return
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET:
            _add_up(bucket)
            bucket = []
        bucket.append(tensor)
    if bucket:
        _add_up(bucket)


def _add_up(bucket: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    with _talking():
        dist.all_reduce(flat)
    for tensor, summed in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
        tensor.copy_(summed.view(tensor.shape))


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum ``.grad`` over all processes; None stays only where no process has one."""
    if count() == 1:
        return
    listed = list(parameters)
    present = total(torch.tensor([float(p.grad is not None) for p in listed]))
    wanted = [p for p, n in zip(listed, present.tolist(), strict=True) if n]
    for parameter in wanted:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    add_up([p.grad for p in wanted if p.grad is not None])


@torch.no_grad()
def share_statistics(network: nn.Module, pictures: int) -> None:
    """Batch norm saw this process's share only, ``pictures`` of the step: everybody goes on with
    the mean of what they saw, by their number.

    Statistics within a forward pass stay those of the share (``batch_norm = "frozen"`` has none).
    """
    if count() == 1:
        return
    moving = [b for b in network.buffers() if b.is_floating_point()]
    for buffer in moving:
        buffer.mul_(pictures)
    add_up(moving)
    every = float(total(torch.tensor(float(pictures))))  # never 0: a step has pictures
    for buffer in moving:
        buffer.div_(every)


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns in the first process; the others wait for it and get a copy."""
    if count() == 1:
        return make()
    box: list[Any] = [make() if is_first() else None]
    with _talking():
        dist.broadcast_object_list(box)
    value: T = box[0]
    return value


def anywhere(flag: bool) -> bool:
    """Whether ``flag`` is true in any process; all get the same answer."""
    return bool(total(torch.tensor(int(flag))) > 0)


def check_alike(what: str, value: object) -> None:
    """Raise ConfigError unless ``value`` is the same in all processes."""
    if anywhere(from_first(lambda: value) != value):
        raise ConfigError(
            f"the processes of this run do not have the same {what}",
            "give every machine the same files",
        )


class _SharedDropout(nn.Dropout):
    """Drops what one process would drop that had the batches of all."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or count() == 1:
            return super().forward(x)
        ones = x.new_ones((count() * len(x), *x.shape[1:]))
        mask = functional.dropout(ones, self.p, True)
        return x * mask[rank() * len(x) : (rank() + 1) * len(x)]


def spread(network: nn.Module) -> None:
    """Make ``network`` ready for several processes: the first one's weights, shared dropout."""
    if count() == 1:
        return
    with _talking(), torch.no_grad():
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, 0)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, _SharedDropout(child.p))


@contextmanager
def _talking() -> Iterator[None]:
    """A collective that fails says that another process is gone: an error of its own."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            f"process {rank()} lost another process of this run: {str(error).splitlines()[0]}",
            "the error of that process says why; go on from the last judgement with --resume",
        ) from error
