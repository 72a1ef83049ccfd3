"""Which tasks a run trains: the manifest of the network to be."""

from __future__ import annotations

from edgemtl import __version__
from edgemtl.data.base import Task
from edgemtl.data.config import DataMix
from edgemtl.data.identities import trained_identities
from edgemtl.errors import ConfigError
from edgemtl.manifest import InputSpec, Manifest
from edgemtl.manifest_tasks import Attribute
from edgemtl.nn.heads import further_task
from edgemtl.train.config import TrainConfig
from edgemtl.train.origin import Origin, with_kept


def build_manifest(config: TrainConfig, mix: DataMix, origin: Origin | None = None) -> Manifest:
    """The contract of the network to be: only tasks that some data set labels, and those that stay
    as ``origin`` has them.

    Sets of weight 0 take no part. Raises ConfigError if the config asks for a task that none
    labels, or one without a class, and if there is none at all.
    """
    sets = [data for data in mix.sets if data.weight > 0]
    tasks = {task for data in sets for task in data.tasks}
    missing = sorted(set(config.tasks or ()) - tasks)
    if missing:
        raise ConfigError(
            f"tasks: no data set labels '{missing[0]}', they label {sorted(tasks)}",
            "take it out of tasks, or add data that label it",
        )
    tasks &= set(config.tasks or tasks)
    # alone they can be trained, at true boxes
    blind = "detect" not in tasks and tasks > {"embed"}
    if blind and config.network.embedding_grid:
        raise ConfigError(
            "network.embedding_grid: embeddings at a grid of places need boxes, and "
            f"{sorted(tasks)} finds none",
            "train detect too, embed alone, or leave network.embedding_grid out",
        )
    _require_classes(tasks, config, mix)
    told = mix.attributes if {"attributes", "detect"} <= tasks else {}
    width = config.network.embedding_dim if "embed" in tasks else None
    manifest = Manifest(
        name=config.name,
        input=InputSpec(size_hw=config.size_hw),
        classes=mix.classes if "detect" in tasks else (),
        image_classes=mix.image_classes if "classify" in tasks else (),
        embedding_dim=width,
        attributes=tuple(Attribute(name=n, values=v) for n, v in told.items()),
        further=tuple(further_task(n, classes) for n, classes in config.further.items()),
        top_k=config.network.top_k,
        min_score=config.min_score,
        data=config.sources,
        identities=trained_identities(sets) if width is not None else (),
        weights_licence=config.weights_licence,
        edgemtl_version=__version__,
    )
    return with_kept(manifest, config, origin)


def _require_classes(tasks: set[Task], config: TrainConfig, mix: DataMix) -> None:
    """Raise ConfigError for a task that is asked for and has no class, and for no task at all."""
    named = {"detect": ("classes", mix.classes), "classify": ("image_classes", mix.image_classes)}
    bare = {task: key for task, (key, names) in named.items() if task in tasks and not names}
    for task, key in bare.items():
        if task in (config.tasks or ()) or tasks <= set(bare):
            raise ConfigError(
                f"{key}: the data file names none, so '{task}' has nothing to learn",
                f"name them: {key} = [...]",
            )
    if not tasks and not config.further:
        raise ConfigError(
            "data: the training sets label no task", "give their annotations, or a [[teachers]]"
        )
