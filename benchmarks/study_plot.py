"""Pictures of the studies' results, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgemtl.files import atomic_path

COLOURS = (
    "#3b6ea5", "#c8803c", "#5a9367", "#8d5a97", "#888888", "#b04a4a", "#2f9e9e", "#a8a13a",
    "#5b4a3a",
)  # fmt: skip
Panel = Mapping[str, Sequence[float]]
"""Name of a kind of bars -> a value for each group."""


def bars(axes: Any, title: str, groups: Sequence[str], panel: Panel) -> None:
    """Grouped bars with their values; a value of None leaves its place empty."""
    width = 0.8 / max(len(panel), 1)
    for k, (name, values) in enumerate(panel.items()):
        at = [g + (k + 0.5) * width - 0.4 for g in range(len(groups))]
        shown = [0.0 if v is None else v for v in values]
        drawn = axes.bar(at, shown, width, label=name, color=COLOURS[k % len(COLOURS)])
        labels = ["" if v is None else _short(v) for v in values]
        axes.bar_label(drawn, labels, fontsize=6, padding=1)
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set_title(title, fontsize=9)
    if len(panel) > 1:  # below, where no bar is
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.08), "ncols": 3}
        axes.legend(fontsize=7, frameon=False, **place)
    axes.spines[["top", "right"]].set_visible(False)


def _short(value: float) -> str:
    """Three figures, no zero before the point: neighbours must not touch."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}".removeprefix("0") or "0"


def save(figure: Any, path: Path) -> None:
    """The same bytes for the same figures: no date, no random names; text that can be searched."""
    import matplotlib

    settings = {"svg.hashsalt": "edgemtl", "svg.fonttype": "none"}
    with atomic_path(path) as temporary, matplotlib.rc_context(settings):
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches="tight")


def figure(panels: Sequence[tuple[str, Sequence[str], Panel]], path: Path) -> None:
    """One row of panels, each a title, the names of its groups, and its bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(4.2 * max(len(panels), 1), 3.2))
    for number, (title, groups, panel) in enumerate(panels, start=1):
        bars(drawn.add_subplot(1, len(panels), number), title, groups, panel)
    drawn.tight_layout()
    save(drawn, path)


def shared_plot(parts: Mapping[str, Any], path: Path) -> None:
    """Scores and cost of the shared and of the separate networks."""
    scores, panels = ("map", "top1", "idf1", "rank1"), []
    for part, result in parts.items():
        seeds = [s["scores"] for s in result.get("seeds", {"": result}).values()]
        panel = {
            side: [sum(s[side][name] for s in seeds) / len(seeds) for name in scores]
            for side in ("shared", "separate")
        }
        if "longer" in result:
            told = result["longer"]["scores"]
            panel["shared, as long as the three"] = [told[name] for name in scores]
        panels.append((f"{part}: scores", scores, panel))
        cost = result["cost"]
        share = [v["ratio"] for v in cost["latency_cpu_ms"].values()]
        groups = [f"latency {name}" for name in cost["latency_cpu_ms"]]
        panel = {"shared / separate": [*share, cost["parameters"]["ratio"]]}
        panels.append((f"{part}: cost, shared / separate", [*groups, "parameters"], panel))
    if panels:
        figure(panels, path)
