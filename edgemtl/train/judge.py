"""One number for a network in training, and the scores that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from edgemtl.data.base import DataSet, Task
from edgemtl.data.config import DataMix
from edgemtl.errors import ConfigError
from edgemtl.evaluate import EvaluateOptions, SetScores, evaluate_model
from edgemtl.manifest import Manifest
from edgemtl.nn.network import MultiTaskNetwork
from edgemtl.nn.session import TorchSession
from edgemtl.train.lookup import at_size, true_box_retrieval

_PARTS = (
    ("detection", "map50"),
    ("detection", "map"),
    ("classification", "top1"),
    ("tracking", "hota"),
    ("tracking", "idf1"),
    ("retrieval", "rank1"),
)
_SCORED = {"map50": 1.0, "top1": 1.0, "hota": 0.5, "accuracy": 0.5}
"""Weights in the one number: what follows detection counts half."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``score``: weighted mean over data sets and tasks; ``parts``: ``set.score`` -> value."""

    score: float
    parts: dict[str, float]


def judge(
    network: MultiTaskNetwork,
    manifest: Manifest,
    mix: DataMix,
    limit: int | None,
    sizes: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> Verdict:
    """Evaluate ``network`` on every data set of ``mix`` (at most ``limit`` pictures of each).

    A set that ``sizes`` names is judged at that input size, the others at the manifest's. A network
    of embeddings without detection is judged at the true boxes.
    """
    parts: dict[str, float] = {}
    if "detect" in manifest.tasks or judged_tasks(manifest, mix) - {"embed"}:
        session, of_set = TorchSession(network, manifest), sessions(network, manifest, sizes)
        found = evaluate_model(session, mix, EvaluateOptions(limit=limit), session_of=of_set)
        parts = {key: value for scores in found.sets for key, value in _parts(scores).items()}
    if "detect" not in manifest.tasks and network.embed is not None:
        for name, retrieval in true_box_retrieval(network, manifest, mix, limit, sizes).items():
            parts.update(_parts(SetScores(name, 0, retrieval=retrieval)))
    scored = {key: _SCORED.get(key.rpartition(".")[2], 0.0) for key in parts}
    if not any(scored.values()):  # embeddings alone
        scored = {key: float(key.endswith(".rank1")) for key in parts}
    weighted = [(scored[key], value) for key, value in parts.items()]
    total = sum(weight for weight, _ in weighted)
    score = sum(weight * value for weight, value in weighted) / total if total else 0.0
    return Verdict(score, parts)


def judged_tasks(manifest: Manifest, mix: DataMix) -> set[Task]:
    """The tasks of a network that a data set of ``mix`` labels."""
    labelled = {
        task
        for data in mix.sets
        for task in data.tasks
        if task != "detect" or np.any(data.labelled)
    }
    return labelled & set(manifest.tasks)


def require_judgement(manifest: Manifest, mix: DataMix | None) -> None:
    """Raise ConfigError if ``mix``, the validation data, labels none of the network's tasks."""
    if mix is not None and not judged_tasks(manifest, mix):
        labelled = sorted({task for data in mix.sets for task in data.tasks})
        raise ConfigError(
            f"val: the data sets label {labelled}, and {list(manifest.tasks)} is trained: nothing "
            "tells which weights are the best",
            "add a [[val]] set that labels what is trained",
        )


def sessions(
    network: MultiTaskNetwork, manifest: Manifest, sizes: Mapping[str, tuple[int, int]]
) -> Callable[[DataSet], TorchSession]:
    """What runs ``network`` on a data set: at the set's size in ``sizes``, or the manifest's."""

    def session_of(data: DataSet) -> TorchSession:
        return TorchSession(network, at_size(manifest, data, sizes))

    return session_of


def _parts(scores: SetScores) -> dict[str, float]:
    found = {}
    for task, name in _PARTS:
        record = getattr(scores, task)
        if record is not None and not math.isnan(getattr(record, name)):
            found[f"{scores.name}.{name}"] = round(float(getattr(record, name)), 4)
    for name, told in (scores.attributes or {}).items():
        found[f"{scores.name}.{name}.accuracy"] = round(told.top1, 4)
    return found
