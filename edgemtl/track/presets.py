"""Trackers by name, and the tracker that a configuration asks for."""

from __future__ import annotations

from edgemtl.errors import ConfigError
from edgemtl.track import Tracker, TrackerConfig
from edgemtl.track.bytetrack import ByteTrackConfig, ByteTracker

__all__ = ["PRESETS", "AnyTracker", "AnyTrackerConfig", "make_tracker", "preset"]

AnyTracker = Tracker | ByteTracker
AnyTrackerConfig = TrackerConfig | ByteTrackConfig

PRESETS = ("edgemtl", "bytetrack")
"""``edgemtl``: the default, in seconds; ``bytetrack``: the reference ByteTrack, in frames."""


def preset(name: str) -> AnyTrackerConfig:
    """The default settings of the tracker of that name. Raises ConfigError for unknown names."""
    if name == "edgemtl":
        return TrackerConfig()
    if name == "bytetrack":
        return ByteTrackConfig()
    raise ConfigError(f"tracker: expected one of {', '.join(PRESETS)}, got '{name}'")


def make_tracker(
    config: AnyTrackerConfig, *, capacity: int = 1024, embedding_dim: int | None = None
) -> AnyTracker:
    """The tracker of this configuration; ByteTrack does not look at embeddings."""
    if isinstance(config, ByteTrackConfig):
        return ByteTracker(config, capacity=capacity)
    return Tracker(config, capacity=capacity, embedding_dim=embedding_dim)
