"""A model over the data sets of a mix: every task that both the model and the data have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgemtl.data.base import DataSet
from edgemtl.engine.session import Session
from edgemtl.errors import ConfigError
from edgemtl.evaluate.attributes import AttributeTask
from edgemtl.evaluate.classmap import ClassMap
from edgemtl.evaluate.options import EvaluateOptions
from edgemtl.evaluate.report import Evaluation, SetScores
from edgemtl.evaluate.setrun import SetRun
from edgemtl.evaluate.tasks import SceneTask
from edgemtl.metrics import DetectionMeter, combine, combine_retrieval

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix


def evaluate_model(
    session: Session,
    mix: DataMix,
    options: EvaluateOptions | None = None,
    *,
    session_of: Callable[[DataSet], Session] | None = None,
) -> Evaluation:
    """Score ``session`` on every data set of ``mix``, and on all together.

    ``session_of`` gives another session of the same model for a data set, at its own input size.
    Classes are matched by name. Raises ConfigError if there is nothing that the model does and
    the data label, and DataError for a picture that cannot be read.
    """
    runs = run_model(session, mix, options, session_of=session_of)
    return summarise(session, mix, runs)


def run_model(
    session: Session,
    mix: DataMix,
    options: EvaluateOptions | None = None,
    *,
    session_of: Callable[[DataSet], Session] | None = None,
) -> tuple[SetRun, ...]:
    """What :func:`evaluate_model` scores: each data set with all that was collected over it."""
    options = options or EvaluateOptions()
    at = session_of or (lambda _: session)
    runs = tuple(SetRun(at(data), mix, data, options) for data in _chosen(mix, options))
    if not any(run.tasks for run in runs):
        labelled = sorted(set().union(*(run.data.tasks for run in runs)))
        asked = f", --tasks asks for {list(options.tasks)}" if options.tasks else ""
        raise ConfigError(
            f"nothing to evaluate: the model does {list(session.manifest.tasks)} of "
            f"{list(session.manifest.classes)[:8]}, the data label {labelled} of "
            f"{list(mix.classes)[:8]}{asked}",
            "classes are matched by name; [[val]] sets need 'rename' where names differ"
            + (", --tasks what both have" if asked else ""),
        )
    for run in runs:
        run.go()
    return runs


def summarise(session: Session, mix: DataMix, runs: Sequence[SetRun]) -> Evaluation:
    """The scores of finished runs."""
    each = tuple(run.scores() for run in runs)
    left_out = ClassMap(session.manifest.classes, mix.classes).left_out
    left_out += ClassMap(session.manifest.image_classes, mix.image_classes).left_out
    return Evaluation(
        model=session.manifest.name,
        precision=session.manifest.precision,
        backend=session.backend,
        classes=tuple(mix.classes),
        image_classes=tuple(mix.image_classes),
        sets=each,
        together=_together(runs, mix, each),
        left_out=tuple(dict.fromkeys(left_out)),
        attributes=mix.attributes,
    )


def _chosen(mix: DataMix, options: EvaluateOptions) -> list[DataSet]:
    names = [data.name for data in mix.sets]
    for name in options.sets:
        if name not in names:
            raise ConfigError(f"sets: there is no data set '{name}'", f"the data have {names}")
    return [data for data in mix.sets if not options.sets or data.name in options.sets]


def _together(runs: Sequence[SetRun], mix: DataMix, each: Sequence[SetScores]) -> SetScores:
    """All pictures, sequences and queries of the sets as one; see :class:`Evaluation`."""
    detection = [run.detection for run in runs if run.detection is not None]
    meter = DetectionMeter()
    for task in detection:
        meter.merge(task.meter)
    scene = SceneTask(mix.classes, mix.image_classes)
    for run in runs:
        if run.scene is not None and run.scene.truth:
            scene.extend(run.scene)
    attributes = AttributeTask({}, mix.attributes)
    for run in runs:
        if run.attributes is not None:
            attributes.extend(run.attributes)
    tracking = [run.tracking for run in runs if run.tracking is not None]
    return SetScores(
        name="together",
        images=sum(scores.images for scores in each),
        detection=meter.result() if detection else None,
        classification=scene.scores(),
        box_class=scene.box_class_scores(),
        tracking=combine([m for task in tracking for m in task.meters]) if tracking else None,
        retrieval=combine_retrieval([s.retrieval for s in each if s.retrieval is not None]),
        attributes=attributes.scores(),
    )
