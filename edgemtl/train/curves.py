"""The course of a run as one picture: losses, rate and gradient, scores, over pictures seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgemtl.errors import MissingExtraError
from edgemtl.files import atomic_path
from edgemtl.train.runlog import Row, best_judgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES, _DPI = (11.0, 10.5), 100
_STYLES = {
    "map50": "-", "map": "--", "top1": "-.", "hota": ":", "idf1": (0, (5, 1, 1, 1, 1, 1)),
    "rank1": (0, (1, 3)),
}  # fmt: skip


def draw_curves(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write the picture of the log's ``rows``. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", "the curves of a run") from error
    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(4, 5, 2))
    means = [row for row in rows if "loss" in row]
    judged = [row for row in rows if "score" in row]
    _losses(top, means)
    _scores(middle, judged)
    _rate(bottom, means)
    bottom.set_xlabel("pictures seen")
    bottom.set_xlim(0, 1.02 * max([1, *(row["images"] for row in (*means, *judged))]))
    best = best_judgement(judged)
    said = f": best score {best['score']:.4f} at {best['images']:,} pictures" if best else ""
    top.set_title(f"{title}{said}", loc="left", fontweight="bold")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)


def _losses(axes: Axes, means: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in means for name in row["loss"]))
    for name in names:
        some = [row for row in means if name in row["loss"]]
        x, y = [row["images"] for row in some], [row["loss"][name] for row in some]
        (line,) = axes.plot(x, y, marker=_marker(x), alpha=0.3, linewidth=1)
        axes.plot(x, smooth(y), color=line.get_color(), label=f"{name} {y[-1]:.3g}")
    axes.set_ylabel("loss per task (log, smoothed)")
    _logarithmic(axes)
    _finish(axes, bool(names))


def smooth(values: Sequence[float]) -> list[float]:
    """Mean over the last tenth of what came so far, so that the end is not behind."""
    found = []
    for end in range(1, len(values) + 1):
        part = values[end - max(1, end // 10) : end]
        found.append(sum(part) / len(part))
    return found


def _scores(axes: Axes, judged: Sequence[Row]) -> None:
    """All of them, a colour for a data set and a line style for a score; the one number thick."""
    names = list(dict.fromkeys(name for row in judged for name in row["scores"]))
    sets = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    if judged:
        x, y = [row["images"] for row in judged], [row["score"] for row in judged]
        label = f"score {y[-1]:.3f}"
        thick: Any = {"color": "black", "linewidth": 2.4, "zorder": 5}
        axes.plot(x, y, marker="o", markersize=4, label=label, **thick)
        best = best_judgement(judged)
        assert best is not None
        axes.plot(best["images"], best["score"], "*", markersize=15, **thick)
    for name in names:
        data, _, score = name.rpartition(".")
        some = [row for row in judged if name in row["scores"]]
        x, y = [row["images"] for row in some], [row["scores"][name] for row in some]
        style: Any = _STYLES.get(score, "-")
        colour = f"C{sets.index(data) % 10}"
        axes.plot(
            x, y, linestyle=style, color=colour, linewidth=1.3, label=f"{name} {y[-1]:.3f}",
            marker=_marker(x),
        )  # fmt: skip
    axes.set_ylabel("validation scores (star: kept)")
    axes.set_ylim(bottom=0)
    _finish(axes, bool(judged))


def _marker(x: Sequence[float]) -> str:
    """Dots, while there are few: a line through one point is none."""
    return "." if len(x) < 30 else ""


def _rate(axes: Axes, means: Sequence[Row]) -> None:
    x = [row["images"] for row in means]
    axes.plot(x, [row["rate"] for row in means], marker=_marker(x), color="C0", label="rate")
    axes.set_ylabel("rate")
    axes.set_ylim(bottom=0)
    beside = axes.twinx()
    norms = [row["gradient"] for row in means]
    if any(norms):
        shown = [norm if norm else float("nan") for norm in norms]
        beside.plot(x, shown, color="C1", linewidth=1, alpha=0.5)
        _logarithmic(beside)
        axes.plot([], [], color="C1", linewidth=1, alpha=0.5, label="gradient norm (right)")
    _finish(axes, bool(means))


def _logarithmic(axes: Axes) -> None:
    """Logarithmic where there is something positive, labelled at 1, 2 and 5 of each decade."""
    if not any((np.asarray(line.get_ydata(), np.float64) > 0).any() for line in axes.lines):
        return
    axes.set_yscale("log")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")


def _finish(axes: Axes, anything: bool) -> None:
    axes.grid(alpha=0.3)
    if anything:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.06, 1), fontsize=8, frameon=False, handlelength=3
        )
