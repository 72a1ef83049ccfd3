"""The picture of tracker_speed.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {"edgemtl": "#d62728", "boxmot-cpp": "#1f77b4", "boxmot": "#7fb2d9",
           "roboflow": "#9467bd", "ultralytics": "#2ca02c", "supervision": "#8c564b",
           "norfair": "#7f7f7f"}  # fmt: skip
"""By family, the longer name before its beginning."""


def plot(scenes: dict[str, dict[str, Any]], path: Path) -> None:
    """Cost against objects in the sparse scenes, log-log; a colour is a package."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "edgemtl", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.5, 5.5))
    named: set[str] = set()
    for name in scenes["sparse_20"]["us"]:
        if "@" in name:
            continue
        points = [
            (int(key.removeprefix("sparse_")), each["us"].get(name))
            for key, each in scenes.items()
            if key.startswith("sparse_")
        ]
        x, y = zip(*[point for point in points if point[1] is not None], strict=True)
        family = next(key for key in COLOURS if name.startswith(key))
        width = 2.5 if family == "edgemtl" else 1
        label = None if family in named else family
        named.add(family)
        axes.loglog(x, y, "o-", color=COLOURS[family], linewidth=width, markersize=3, label=label)
    axes.legend(frameon=False)
    axes.set(xlabel="objects", ylabel="one update, microseconds", xlim=(15, 14000))
    axes.set_title("Cost of a tracker update, one thread, sparse scenes", fontsize=10)
    axes.grid(which="major", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
