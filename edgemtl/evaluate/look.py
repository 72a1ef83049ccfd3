"""What a session says of given pictures, decoded, and tracked where they are a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgemtl import ops
from edgemtl.data.base import SequenceInfo
from edgemtl.data.images import ImageSource, VideoImages, open_images
from edgemtl.engine.predict import Predictor
from edgemtl.engine.session import Session
from edgemtl.progress import track as progress
from edgemtl.records import Detections, LetterboxGeometry, NetOutputs, RawOutputs, Tracks
from edgemtl.track.presets import AnyTrackerConfig, make_tracker

if TYPE_CHECKING:
    from edgemtl.data.config import DataMix


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures that all rungs look at: the first ``count`` of a source, and its videos."""

    source: ImageSource
    count: int
    sequences: tuple[SequenceInfo, ...] = ()


def shown_of_data(mix: DataMix, limit: int | None = None) -> list[Shown]:
    """The data sets of a mix, at most ``limit`` pictures of each."""
    return [Shown(s, min(len(s), limit or len(s)), tuple(s.sequences)) for s in mix.sets]


def shown_of_path(path: Path, limit: int | None = None) -> list[Shown]:
    """A folder, a zip, or a video, whose frames are tracked. Raises DataError."""
    source = open_images(path)
    count = min(len(source), limit or len(source))
    sequences: tuple[SequenceInfo, ...] = ()
    if isinstance(source, VideoImages):
        sequences = (SequenceInfo(path.name, 0, len(source), source.fps),)
    return [Shown(source, count, sequences)]


@dataclass(frozen=True, slots=True)
class Seen:
    """``outputs``: each picture decoded, boxes at the scale of the network's input; ``videos``: the
    tracks of each video's frames; ``finite``: whether all that came out of the network was, before
    decoding, which drops what is not.
    """

    outputs: list[NetOutputs]
    videos: list[list[Tracks]]
    finite: bool = True


def look(
    session: Session,
    shown: Sequence[Shown],
    config: AnyTrackerConfig,
    name: str | None,
    min_score: float | None = None,
) -> Seen:
    """Run a session over the pictures, in order, and the tracker over the videos among them.

    ``name`` is what the progress bar shows, None: no bar. ``min_score`` of detections; default:
    the tracker's, or half of the model's. Raises DataError for a picture that cannot be read.
    """
    manifest, seen = session.manifest, Seen([], [])
    finite = True
    lowest = min(config.min_score, manifest.min_score / 2) if min_score is None else min_score
    predictor, detects = Predictor(session, lowest), "detect" in manifest.tasks
    places: Iterable[tuple[Shown, int]] = (
        (one, index) for one in shown for index in range(one.count)
    )
    tracker, video = None, None
    if name is not None:
        places = progress(places, name, sum(one.count for one in shown))
    for one, index in places:
        outputs, geometry = predictor.outputs(one.source.image(index))
        finite = finite and _finite(outputs)
        found = ops.decode(outputs, 0, geometry, lowest) if detects else None
        seen.outputs.append(_decoded(outputs, found, geometry))
        begun = next((s for s in one.sequences if s.start == index), None)
        if begun is not None:
            tracker, video = make_tracker(config, embedding_dim=manifest.embedding_dim), begun
            seen.videos.append([])
        elif video not in one.sequences:
            video = None
        if found is not None and tracker is not None and video is not None and index < video.stop:
            pts_ns = round((index - video.start) * 1e9 / video.fps)
            seen.videos[-1].append(tracker.step(found, pts_ns, geometry.src_hw))
    return replace(seen, finite=finite)


def _finite(outputs: NetOutputs) -> bool:
    told = (
        outputs.boxes_net, outputs.scores, outputs.embeddings, outputs.image_probs,
        outputs.values if isinstance(outputs, RawOutputs) else None,
        *outputs.attributes.values(), *outputs.further.values(),
    )  # fmt: skip
    return all(values is None or bool(np.isfinite(values).all()) for values in told)


def _decoded(
    outputs: NetOutputs, found: Detections | None, geometry: LetterboxGeometry
) -> NetOutputs:
    told = None if outputs.image_probs is None else outputs.image_probs[:1].copy()
    further = {key: values[:1].copy() for key, values in outputs.further.items()}
    if found is None:  # no boxes: what is told of points stays as it is
        looks = None if outputs.embeddings is None else outputs.embeddings[:1].copy()
        return NetOutputs(
            outputs.boxes_net[:1], outputs.scores[:1], outputs.labels[:1], looks, told, {}, further
        )
    scale = np.tile(np.asarray(geometry.scale_xy, np.float32), 2)
    return NetOutputs(
        (found.boxes_src * scale)[None],
        found.scores[None],
        found.labels[None],
        None if found.embeddings is None else found.embeddings[None],
        told,
        {key: probs[None] for key, probs in found.attributes.items()},
        further,
    )
