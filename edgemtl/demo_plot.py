"""The demo's latency plot: per stage and precision a bar to p50 and a whisker to p95, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from edgemtl.files import write_text

Latencies = Mapping[str, tuple[float, float]]
"""Stage -> (p50, p95) in milliseconds."""

_LEFT, _RIGHT, _TOP, _WIDTH = 90.0, 150.0, 46.0, 720.0
_BAR, _GAP = 16.0, 14.0
_COLOURS = ("#7a8794", "#1f77b4")


def plot_latencies(path: Path, columns: Sequence[tuple[str, Latencies]]) -> None:
    """Write the plot of up to two ``columns`` (name, latencies) that have the same stages."""
    stages = list(columns[0][1])
    longest = max((p95 for _, stage in columns for _, p95 in stage.values()), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    group = _BAR * len(columns) + _GAP
    parts = [_text(_LEFT, 20, "latency per frame and stage (ms): bar p50, line p95", "start", 15)]
    for place, (name, _) in enumerate(columns):
        x = _LEFT + 90 * place
        parts.append(f'<rect x="{x}" y="28" width="10" height="10" fill="{_COLOURS[place]}"/>')
        parts.append(_text(x + 15, 37, name, "start"))
    for row, stage in enumerate(stages):
        y = _TOP + row * group
        parts.append(_text(_LEFT - 8, y + group / 2, stage, "end"))
        for place, (_, latencies) in enumerate(columns):
            bar = _bar(y + place * _BAR, latencies[stage], scale, _COLOURS[place])
            parts.append(bar)
    height = _TOP + len(stages) * group + 10
    write_text(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH:.0f}" height="{height:.0f}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n",
    )


def _bar(y: float, latency: tuple[float, float], scale: float, colour: str) -> str:
    p50, p95 = latency
    middle = y + _BAR / 2
    end = _LEFT + p95 * scale
    return (
        f'<rect x="{_LEFT}" y="{y + 2:.1f}" width="{max(p50 * scale, 0.5):.1f}" '
        f'height="{_BAR - 4}" fill="{colour}"/>'
        f'<path d="M{_LEFT + p50 * scale:.1f} {middle:.1f}H{end:.1f}m0 -4v8" '
        f'stroke="{colour}" stroke-width="1.5" fill="none"/>'
        + _text(end + 8, middle + 4, f"{p50:.2f} / {p95:.2f}", "start", 11)
    )


def _text(x: float, y: float, words: str, anchor: str, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )
