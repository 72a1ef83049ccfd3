"""What an evaluation runs over, and from which score on a detection counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgemtl.errors import ConfigError
from edgemtl.track import TrackerConfig
from edgemtl.track.presets import AnyTrackerConfig

TASKS = ("detect", "classify", "track", "embed", "attributes")


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Average precision wants the tail of low scores: ``ap_min_score``; ``tracker`` has its own.

    ``min_score`` is where detections count one by one (box class baseline, retrieval); None: the
    manifest's. ``limit``: at most so many pictures of each set, the first ones of a video, evenly
    spread ones otherwise. ``sets``: names of the data sets to score, empty for all.
    ``tasks``: those of TASKS to score, empty for all. ``frame_gap``: retrieval searches among
    frames at least so far away; ``true_boxes``: at every true box, whether the detector is sure of
    it or not. ``keep``: keep the detections that the tracker saw, for more runs of it.
    Raises ConfigError for values that cannot be meant.
    """

    ap_min_score: float = 0.005
    min_score: float | None = None
    limit: int | None = None
    sets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    frame_gap: int = 50
    true_boxes: bool = False
    keep: bool = False
    tracker: AnyTrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        for name in ("ap_min_score", "min_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name}: expected a score from 0 to 1, got {value}")
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown:
            raise ConfigError(f"tasks: there is no '{unknown[0]}'", f"known: {', '.join(TASKS)}")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit: expected at least 1 picture, got {self.limit}")
        if self.frame_gap < 1:
            raise ConfigError(f"frame_gap: expected at least 1 frame, got {self.frame_gap}")
