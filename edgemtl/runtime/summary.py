"""What a run says of itself when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did. ``stage_ms``: stage -> (p50, p95); ``warning``: what was not right."""

    frames: int
    dropped: int
    seconds: float
    fps: float
    stage_ms: dict[str, tuple[float, float]]
    interrupted: bool = False
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.fps, 2),
            "latency_ms": {
                stage: {"p50": round(p50, 4), "p95": round(p95, 4)}
                for stage, (p50, p95) in self.stage_ms.items()
            },
            "interrupted": self.interrupted,
            "warning": self.warning,
        }

    def text(self) -> str:
        """For people: one line, the stages, and the warning if there is one."""
        end = "interrupted after " if self.interrupted else ""
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        lines = [
            f"{end}{self.frames} frames in {self.seconds:.1f} s, "
            f"{self.fps:.1f} frames per second{dropped}",
        ]
        if self.stage_ms:
            stages = (f"{s} {p50:.1f}/{p95:.1f}" for s, (p50, p95) in self.stage_ms.items())
            lines.append(f"p50/p95 in ms: {', '.join(stages)}")
        return "\n".join(lines + ([f"warning: {self.warning}"] if self.warning else []))
