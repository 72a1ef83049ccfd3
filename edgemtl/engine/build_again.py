"""``--rebuild``: an engine that is stale or foreign, built again as its manifest says."""

from __future__ import annotations

from pathlib import Path

from edgemtl.engine.build import BuildOptions, BuildReport, build_engine
from edgemtl.engine.manifest import EngineManifest, manifest_beside
from edgemtl.errors import EngineError
from edgemtl.models import resolve_model, shipped_models


def build_again(engine: Path) -> BuildReport:
    """Build ``engine`` again, in its place, from the model that it came from.

    Raises what :func:`edgemtl.engine.build.build_engine` raises, EngineError if the model is gone;
    the engine stays as it is then.
    """
    engine = Path(engine)
    manifest = manifest_beside(engine)
    options = BuildOptions(
        precision=manifest.precision,
        workspace_mb=manifest.workspace_mb,
        batch=manifest.batch,
        flavour=manifest.flavour,
        profile=manifest.profile,
    )
    return build_engine(_model_of(manifest, engine), engine, options)


def _model_of(manifest: EngineManifest, engine: Path) -> Path:
    """MODEL as it was given, or else the graph behind it, where it lies beside the engine."""
    if manifest.source in shipped_models():
        return resolve_model(manifest.source)
    beside = engine.parent / manifest.built_from
    for model in (Path(manifest.source), beside):
        if model.is_file():
            return model
    raise EngineError(
        f"{engine}: the model that it was built from is gone: neither '{manifest.source}' nor "
        f"'{beside}'",
        f"bring it back, then: {manifest.rebuild(engine)}",
    )
