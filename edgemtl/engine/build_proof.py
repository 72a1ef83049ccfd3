"""A new engine is run before it is written: finite numbers, and those of ONNX Runtime."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemtl.engine.build_graph import ChosenGraph
from edgemtl.engine.build_layers import Layer, inspected_layers
from edgemtl.engine.manifest import EngineManifest
from edgemtl.engine.ort import OrtSession
from edgemtl.engine.session import Session
from edgemtl.engine.tensorrt import TensorRTSession
from edgemtl.errors import EngineError, MissingExtraError
from edgemtl.evaluate.choose import differences
from edgemtl.graph.file import save_model


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
        emulate = chosen.manifest.dialect == "trt"
        with closing(OrtSession(graph, emulate=emulate, batch=session.batch)) as truth:
            wrong = differences(truth, session)
    if wrong:
        raise EngineError(
            f"{out.name}: the engine says something else than ONNX Runtime of the same graph: "
            f"{'; '.join(wrong)}",
            "build another precision, or another version of TensorRT; edgemtl eval --parity "
            "compares all forms of the model",
        )
