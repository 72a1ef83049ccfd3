"""One call shape for all trackers. Runs in a peer's own environment: numpy and that peer only.

An adapter has three steps, of which only the second is timed: ``prepare`` makes the tracker's own
input of a frame, ``update`` is the tracker's own call, ``read`` takes ids and boxes out of its
result. Settings are the defaults; what has none, or needs images by default, is named in NOTES.
A name with ``@time`` is the same tracker told the time of each frame in the way that it offers;
with ``@core`` it is timed at its call of C or C++ alone, without the Python around it.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

NOTES = {
    "ultralytics-botsort": "gmc_method none (no images)",
    "ultralytics-tracktrack": "gmc_method none (no images), nothing recovered from before NMS",
    "boxmot-botsort": "use_cmc off, use_embeddings off (no images)",
    "boxmot-boosttrack": "use_cmc off, use_embeddings off (no images)",
    "boxmot-sfsort": "given a blank image, of which it takes the size",
    "norfair": "distance iou, threshold .7: no default, its demo's; reports unseen objects too",
}
DISTRIBUTIONS = {
    "trackers": [f"roboflow-{n}" for n in ("sort", "bytetrack", "ocsort", "botsort", "cbiou")],
    "ultralytics": [
        f"ultralytics-{n}" for n in ("bytetrack", "botsort", "ocsort", "fasttrack", "tracktrack")
    ],
    "boxmot": [f"boxmot-{n}" for n in ("bytetrack", "ocsort", "sfsort", "botsort", "boosttrack")],
    "boxmot-cpp": [f"boxmot-cpp-{n}" for n in ("bytetrack", "ocsort", "sfsort")],
    "supervision": ["supervision-bytetrack"],
    "norfair": ["norfair"],
}
TIMED = [f"{name}@time" for name in DISTRIBUTIONS["trackers"]]
TIMED += ["boxmot-bytetrack@time", "boxmot-ocsort@time", "norfair@time"]


class Frame(NamedTuple):
    """Detections of one frame: boxes [N, 4] (x1, y1, x2, y2), scores [N] f32, labels [N] i32."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    time_s: float
    size_hw: tuple[int, int]


Read = tuple[np.ndarray, np.ndarray]  # ids [T] int64, boxes [T, 4]


class Timed:
    """A function that keeps its latest result and how long that took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.seconds, self.result = function, 0.0, None

    def __call__(self, *arguments: Any) -> Any:
        """The lower of time on the clock and time on the processor.

        Where others use the machine, too, the first counts their turns during a long call; the
        second counts its own reading, which a short call would notice.
        """
        busy, start = time.process_time(), time.perf_counter()
        self.result = self._function(*arguments)
        wall = time.perf_counter() - start
        self.seconds = min(wall, time.process_time() - busy)
        return self.result


@dataclass
class Adapter:
    prepare: Callable[[Frame], Any]
    update: Timed
    read: Callable[[Any], Read]
    core: Timed | None = None
    """The native call inside of ``update``."""


class TimedCore:
    """Our native tracker with its ``step`` timed."""

    def __init__(self, core: Any) -> None:
        self._core, self.step = core, Timed(core.step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


def make(name: str, fps: float) -> Adapter:
    """A fresh tracker by its name, ``edgemtl`` being ours."""
    name, _, variant = name.partition("@")
    family, _, rest = name.partition("-")
    makers = {
        "roboflow": roboflow, "ultralytics": ultralytics, "boxmot": boxmot,
        "supervision": supervision, "norfair": norfair, "edgemtl": edgemtl,
    }  # fmt: skip
    return makers[family](rest, fps, variant)


def _read_rows(rows: np.ndarray) -> Read:
    """Rows x1, y1, x2, y2, id, ..."""
    if not len(rows):
        return np.empty(0, np.int64), np.empty((0, 4))
    rows = np.asarray(rows, np.float64)
    return rows[:, 4].astype(np.int64), rows[:, :4]


def _supervision_detections(frame: Frame) -> Any:
    import supervision

    return supervision.Detections(
        xyxy=frame.boxes.astype(np.float32), confidence=frame.scores, class_id=frame.labels
    )


def _read_supervision(result: Any) -> Read:
    ids = np.asarray(result.tracker_id if result.tracker_id is not None else [], np.int64)
    known = ids >= 0
    return ids[known], np.asarray(result.xyxy)[: len(ids)][known]


def roboflow(kind: str, fps: float, variant: str) -> Adapter:
    import trackers

    names = {
        "sort": "SORTTracker", "bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker",
        "botsort": "BoTSORTTracker", "cbiou": "CBIoUTracker",
    }  # fmt: skip
    tracker = getattr(trackers, names[kind])()
    return Adapter(
        lambda frame: (_supervision_detections(frame), frame.time_s if variant else None),
        Timed(lambda made: tracker.update(made[0], timestamp=made[1])),
        _read_supervision,
    )


def supervision(kind: str, fps: float, variant: str) -> Adapter:
    import supervision as sv

    tracker = sv.ByteTrack()
    return Adapter(
        _supervision_detections, Timed(tracker.update_with_detections), _read_supervision
    )


def ultralytics(kind: str, fps: float, variant: str) -> Adapter:
    from ultralytics.engine.results import Boxes
    from ultralytics.trackers.track import TRACKER_MAP
    from ultralytics.utils import YAML, IterableSimpleNamespace
    from ultralytics.utils.checks import check_yaml

    settings = YAML.load(check_yaml(f"{kind}.yaml"))
    if "gmc_method" in settings:
        settings["gmc_method"] = "none"
    tracker = TRACKER_MAP[kind](args=IterableSimpleNamespace(**settings, device="cpu"))

    def prepare(frame: Frame) -> Any:
        rows = np.column_stack((frame.boxes, frame.scores, frame.labels)).astype(np.float32)
        return Boxes(rows, frame.size_hw)

    return Adapter(prepare, Timed(lambda boxes: tracker.update(boxes, None)), _read_rows)


def boxmot(kind: str, fps: float, variant: str) -> Adapter:
    from boxmot import create_tracker
    from boxmot.trackers import TrackerSpec

    backend = "cpp" if kind.startswith("cpp-") else "python"
    kind = kind.removeprefix("cpp-")
    options: list[tuple[str, Any]] = [("variable_dt", True)] if variant == "time" else []
    if kind in ("botsort", "boosttrack"):
        options = [("use_cmc", False), ("use_embeddings", False), *options]
    spec = TrackerSpec(name=kind, backend=backend, options=tuple(options))
    tracker = create_tracker(spec)
    blank: dict[tuple[int, int], np.ndarray] = {}

    def prepare(frame: Frame) -> Any:
        rows = np.column_stack((frame.boxes, frame.scores, frame.labels)).astype(np.float32)
        image = None
        if kind == "sfsort":
            image = blank.setdefault(frame.size_hw, np.zeros((*frame.size_hw, 3), np.uint8))
        return rows, image, frame.time_s if variant == "time" else None

    core = _timed_library(kind) if variant == "core" else None
    return Adapter(
        prepare,
        Timed(lambda made: tracker.update(made[0], made[1], timestamp_s=made[2])),
        _read_rows,
        core,
    )


def _timed_library(kind: str) -> Timed:
    """boxmot's C++ library is one for all trackers of a process: its update, timed from here on."""
    module = importlib.import_module(f"boxmot.native.trackers.{kind}")
    library = getattr(module, f"get_{kind}_library")()
    if not isinstance(library._update, Timed):
        library._update = Timed(library._update)
    return library._update


def norfair(kind: str, fps: float, variant: str) -> Adapter:
    import norfair as module

    tracker = module.Tracker(distance_function="iou", distance_threshold=0.7)
    last = [None]

    def prepare(frame: Frame) -> Any:
        found = [
            module.Detection(box.reshape(2, 2), scores=np.array([score, score]))
            for box, score in zip(frame.boxes.astype(float), frame.scores, strict=True)
        ]
        before = frame.time_s - 1 / fps if last[0] is None else last[0]
        last[0] = frame.time_s
        return found, max(1, round((frame.time_s - before) * fps)) if variant else 1

    def read(result: Any) -> Read:
        ids = np.array([found.id for found in result], np.int64)
        boxes = np.array([found.estimate.reshape(4) for found in result]).reshape(-1, 4)
        return ids, boxes

    return Adapter(prepare, Timed(lambda made: tracker.update(made[0], period=made[1])), read)


def edgemtl(kind: str, fps: float, variant: str) -> Adapter:
    from edgemtl.records import Detections
    from edgemtl.track import Tracker

    tracker = Tracker(capacity=16384)
    core = TimedCore(tracker._core) if variant == "core" else None
    if core:
        tracker._core = core

    def prepare(frame: Frame) -> Any:
        record = Detections(frame.boxes, frame.scores, frame.labels, None)
        return record, round(frame.time_s * 1e9), frame.size_hw

    return Adapter(
        prepare,
        Timed(lambda made: tracker.step(*made)),
        lambda tracks: (tracks.track_ids, tracks.boxes_src),
        core and core.step,
    )
