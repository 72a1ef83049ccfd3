"""A new engine is run before it is written: finite numbers, and those of ONNX Runtime."""

from __future__ import annotations

import math
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgemtl.data.synthetic import SyntheticWorld
from edgemtl.engine.build_graph import ChosenGraph
from edgemtl.engine.build_layers import Layer, inspected_layers
from edgemtl.engine.manifest import EngineManifest
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.session import Session
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.errors import EngineError, MissingExtraError
from edgemtl.evaluate.look import Shown, look
from edgemtl.evaluate.parity import further_apart
from edgemtl.evaluate.rungs import KINDS
from edgemtl.graph.file import save_model
from edgemtl.metrics.agreement import Agreement, compare_outputs
from edgemtl.metrics.tolerance import TOLERANCES
from edgemtl.records import F32, NetOutputs
from edgemtl.track import TrackerConfig

_PICTURES, _SEED = 4, 7
_SURE = 0.4
_RANKS = 10


@dataclass(frozen=True, slots=True)
class Proof:
    """``ran``: the engine ran here and is right; else ``why`` it could not be run. ``layers``: what
    runs in it and how long each takes, if that was asked for."""

    ran: bool
    why: str = ""
    layers: tuple[Layer, ...] = ()


def prove(plan: bytes, engine: EngineManifest, out: Path, chosen: ChosenGraph) -> Proof:
    """Run noise, and known pictures, through the engine ``out`` that is not written yet.

    Raises EngineError for outputs that are not finite (float16 overflows, broken kernels) and for
    an engine that says something else than ONNX Runtime of the same graph; and for one that cannot
    be loaded although it was built for this very GPU.
    """
    try:
        session = TensorRTSession(out, unwritten=(plan, engine), batch=engine.batch[0])
    except MissingExtraError as error:
        return Proof(False, error.message)
    except EngineError as error:
        if engine.gpu is not None:
            raise
        return Proof(False, error.message)  # portable engines are for other GPUs than this one too
    with closing(session):
        _require_finite(session, engine, out)
        _require_parity(session, out, chosen)
        layers = inspected_layers(*session.inspect()) if engine.profile else ()
    return Proof(True, layers=layers)


def _require_finite(session: Session, engine: EngineManifest, out: Path) -> None:
    image = session.manifest.input
    levels = np.random.default_rng(0).integers(0, 256, (session.batch, 3, *image.size_hw))
    outputs = session.infer((levels * image.scale + image.offset).astype(image.dtype))
    fields = ("boxes_net", "scores", "embeddings", "image_probs", "values")
    told = {name: getattr(outputs, name, None) for name in fields}
    for name, values in {**told, **outputs.attributes, **outputs.further}.items():
        if values is not None and not np.isfinite(values).all():
            raise EngineError(
                f"{out.name}: the {engine.precision} engine computes '{name}' that are not finite",
                "build another precision; float16 overflows above 65504",
            )


def _require_parity(session: Session, out: Path, chosen: ChosenGraph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        save_model(chosen.model, chosen.manifest, graph)
        with closing(OrtSession(graph, batch=session.batch)) as truth:
            wrong = differences(truth, session)
    if wrong:
        raise EngineError(
            f"{out.name}: the engine says something else than ONNX Runtime of the same graph: "
            f"{'; '.join(wrong)}",
            "build another precision, or another version of TensorRT; edgemtl eval --parity "
            "compares all forms of the model",
        )


def differences(truth: Session, session: Session) -> list[str]:
    """Where ``session`` says something else than ``truth`` of the same graph, in words.

    The pictures are drawn ones, and no network need find anything in them: so only sure detections
    are matched, and besides the scores are compared by rank, the image class by its probabilities.
    """
    bounds = TOLERANCES[KINDS[session.manifest.precision]]
    world = SyntheticWorld(_SEED, _PICTURES, 1, session.manifest.input.size_hw)
    first, second = (
        look(one, [Shown(world, _PICTURES)], TrackerConfig(), None, min_score=0.0)
        for one in (truth, session)
    )
    if not second.finite:
        return ["its outputs are not finite"]
    sure = max(_SURE, session.manifest.min_score)
    pairs = list(zip(first.outputs, second.outputs, strict=True))
    found = Agreement.combine([
        compare_outputs(a, b, min_score=sure, min_iou=bounds.min_iou) for a, b in pairs
    ])  # fmt: skip
    wrong = bounds.exceeded(replace(found, max_image_prob=math.nan))
    ranks = float(np.mean([_apart(_best(a), _best(b)) for a, b in pairs]))
    probs = float(np.mean([_apart(a.image_probs, b.image_probs) for a, b in pairs]))
    told = (
        ("mean score difference by rank", ranks, bounds.score),
        ("mean image probability difference", probs, bounds.attribute),
        ("other tasks' difference", further_apart(first, second, session.manifest), bounds.score),
    )
    return wrong + [
        f"{what} {value:.4g}, expected at most {bound:.4g}"
        for what, value, bound in told
        if value > bound
    ]


def _best(outputs: NetOutputs) -> F32:
    """The best scores, in order; zeros behind the last one."""
    scores = np.sort(outputs.scores[0])[::-1][:_RANKS]
    return np.pad(scores, (0, _RANKS - len(scores)))


def _apart(a: F32 | None, b: F32 | None) -> float:
    """The largest difference; none between what is absent."""
    return 0.0 if a is None or b is None else float(np.abs(a - b).max(initial=0.0))
