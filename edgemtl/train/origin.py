"""Fine-tuning: a run that begins with the weights of a trained network, and may keep parts of it.

The parts that all tasks share must fit. A head takes what fits: of layers that give a number for
each class, those of classes that both know by name; one of another shape begins anew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from edgemtl.errors import ConfigError
from edgemtl.manifest import Manifest
from edgemtl.models import shipped_checkpoint
from edgemtl.nn.checkpoint import load_network
from edgemtl.nn.heads import Head
from edgemtl.nn.network import MultiTaskNetwork, NetworkConfig
from edgemtl.train.config import TrainConfig
from edgemtl.train.distributed import from_first

_FIELDS = {
    "detect": ("classes",),
    "classify": ("image_classes",),
    "embed": ("embedding_dim", "identities"),
    "attributes": ("attributes",),
}
"""What a manifest says of a task."""
_OURS = ("weights_licence", "min_score")
"""What a file that does not say so takes over."""
_WHOLE = "as it was"


@dataclass(frozen=True, slots=True)
class Origin:
    """The trained network that a run begins with, and its file."""

    network: MultiTaskNetwork
    manifest: Manifest
    where: Path


def begun(config: TrainConfig) -> tuple[TrainConfig, Origin | None]:
    """What [start] names, None without it; and ``config`` with the network's shape from there,
    where [network] leaves it open.

    Raises ModelError for a file that is no checkpoint, and ConfigError for other weights beside it.
    """
    named, given = config.start.checkpoint, config.network
    if named is None:
        return config, None
    if given.weights is not None or given.pretrained:
        raise ConfigError(
            "network: weights of a backbone and start.checkpoint both say what to begin with",
            "leave out one of them",
        )
    where = shipped_checkpoint(named) or named
    network, manifest = from_first(lambda: load_network(where))
    shape = network.config
    if shape.embedding_dim is None:
        shape = shape.model_copy(update={"embedding_dim": NetworkConfig().embedding_dim})
    wanted = {key: getattr(given, key) for key in given.model_fields_set}
    shape = shape.model_copy(update=wanted)
    return config.model_copy(update={"network": shape}), Origin(network, manifest, where)


def with_kept(manifest: Manifest, config: TrainConfig, origin: Origin | None) -> Manifest:
    """``manifest``, of what the data label, with what stays of the checkpoint's.

    That is its data and identities, the licence of its weights (if the file does not name one), and
    with start.only all tasks that are not named there. Raises ConfigError for a task there that no
    data set labels, and for data that name other classes of a task that stays.
    """
    if origin is None:
        return manifest
    theirs, only = origin.manifest, config.start.only
    update = {key: getattr(theirs, key) for key in _OURS if key not in config.model_fields_set}
    update["data"] = tuple(dict.fromkeys((*theirs.data, *manifest.data)))
    if manifest.embedding_dim is not None:  # whom it knew, it still knows
        known = (*theirs.identities, *manifest.identities)
        update["identities"] = tuple(dict.fromkeys(known))
    if only is None:
        return manifest.model_copy(update=update)
    for task in only:
        if task not in manifest.tasks:
            raise ConfigError(
                f"start.only: no data set labels '{task}', they label {list(manifest.tasks)}",
                "take it out of start.only, or add data that label it",
            )
    for task, keys in _FIELDS.items():
        if task in only:
            continue
        update |= {key: getattr(theirs, key) for key in keys}
        first, told = keys[0], getattr(manifest, keys[0])
        if task in manifest.tasks and told != update[first]:
            raise ConfigError(
                f"start.only: '{task}' stays as in '{origin.where.name}', whose {first} are "
                f"{_listed(update[first])}; the data have {_listed(told)}",
                f"name the same in the data file, or what is trained: tasks = {list(only)}",
            )
    stay = [task for task in theirs.further if task.name not in only]
    update["further"] = (*stay, *(task for task in manifest.further if task.name in only))
    return manifest.model_copy(update=update)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def fill(
    network: MultiTaskNetwork, manifest: Manifest, origin: Origin, only: Collection[str] | None
) -> list[str]:
    """Give a run's network the weights of ``origin``; in words, what each part got.

    Raises ConfigError if what all tasks share is of another shape, or a head that start.only
    (``only``) leaves alone.
    """
    said = []
    for name in ("backbone", "neck"):
        part, other = getattr(network, name), getattr(origin.network, name)
        if part is not None and other is None:
            said.append(f"{name} begins anew")
        elif part is not None:
            _take_whole(part, other, name, origin)
    for head in network.heads:
        other = getattr(origin.network, head.name)
        got = _take(head, manifest, other, origin.manifest)
        said.append(f"{head.name} {got}")
        if only is not None and head.name not in only and got != _WHOLE:
            raise ConfigError(
                f"start.only: '{head.name}' is to stay as it is in '{origin.where.name}', and "
                "[network] gives it another shape",
                "leave its keys out of [network]",
            )
    return said


def _take_whole(part: nn.Module, other: nn.Module, name: str, origin: Origin) -> None:
    have, wanted = other.state_dict(), part.state_dict()
    for key, value in wanted.items():
        if key not in have or have[key].shape != value.shape:
            raise ConfigError(
                f"start.checkpoint: [network] describes another {name} than '{origin.where.name}' "
                f"has (at '{key}')",
                "leave out of [network] what the checkpoint says: backbone, widths, folding",
            )
    part.load_state_dict({key: have[key] for key in wanted})


def _take(head: Head, manifest: Manifest, other: Head | None, theirs: Manifest) -> str:
    """Give ``head`` what it can use of ``other``; in words, what that was."""
    same = {task.name: task for task in theirs.further}
    renamed = any(t.name == head.name and same.get(t.name) != t for t in manifest.further)
    if other is None or type(other) is not type(head) or renamed:
        return "begins anew"
    have, found = other.state_dict(), {}
    names, known = head.outputs(manifest), other.outputs(theirs)
    for key, value in head.state_dict().items():
        layer = key.rpartition(".")[0]
        old = have.get(key)
        if old is None or old.shape[1:] != value.shape[1:]:
            return "begins anew, it has another shape"
        if layer in names:
            found[key] = _by_name(value, names[layer], old, known.get(layer, ()))
        elif old.shape != value.shape:
            return "begins anew, it has another shape"
        else:
            found[key] = old
    head.load_state_dict(found)
    every = set().union(*names.values())
    kept = every & set().union(*known.values())
    return _WHOLE if kept == every else f"knows {len(kept)} of its {len(every)} classes"


def _by_name(value: Tensor, names: tuple[str, ...], old: Tensor, known: tuple[str, ...]) -> Tensor:
    """Rows of a layer: those of names that are known from ``old``, others as in ``value``."""
    rows = value.clone()
    for row, name in enumerate(names):
        if name in known:
            rows[row] = old[known.index(name)]
    return rows


def hold(
    network: MultiTaskNetwork, origin: Origin | None, only: Collection[str] | None
) -> list[nn.Module]:
    """The parts that start.only leaves as they are; they learn nothing from here on. A neck that
    the checkpoint lacks is nobody else's, and learns."""
    if only is None or origin is None:
        return []
    still: list[nn.Module] = [head for head in network.heads if head.name not in only]
    still += [network.backbone] if origin.network.neck is None else network.shared
    for part in still:
        part.requires_grad_(False)
    return still
