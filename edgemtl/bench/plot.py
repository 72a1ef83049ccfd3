"""The latency plot as SVG text: no plotting library on the device."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _LEFT, _RIGHT = 760, 110, 90
_BAR, _GAP, _SERIES_HEIGHT = 20, 10, 150
_DARK, _LIGHT, _INK, _GRID = "#2b6cb0", "#a8c8ea", "#222222", "#dddddd"


def latency_svg(
    title: str, bars: Sequence[tuple[str, float, float]], series_ms: Sequence[float]
) -> str:
    """``bars``: (stage, p50, p95) in ms. ``series_ms``: every frame's total, in order."""
    most = max([p95 for _, _, p95 in bars], default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    top = 54
    parts = [_text(16, 26, title, 14, "start", bold=True)]
    for number, (name, p50, p95) in enumerate(bars):
        y = top + number * (_BAR + _GAP)
        parts.append(_text(_LEFT - 8, y + 15, name, 12, "end"))
        parts.append(_rect(_LEFT, y, p95 * scale, _BAR, _LIGHT))
        parts.append(_rect(_LEFT, y, p50 * scale, _BAR, _DARK))
        parts.append(_text(_LEFT + p95 * scale + 6, y + 15, f"{p50:.2f} / {p95:.2f}", 11, "start"))
    bottom = top + len(bars) * (_BAR + _GAP)
    parts.append(_text(_LEFT, bottom + 12, "dark: p50, light: p95, in ms", 11, "start"))
    parts += _series(series_ms, bottom + 44)
    height = bottom + 44 + _SERIES_HEIGHT + 40
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    )
    body = "\n".join([_rect(0, 0, _WIDTH, height, "#ffffff"), *parts])
    return f"{head}\n{body}\n</svg>\n"


def _series(values: Sequence[float], top: float) -> list[str]:
    """Latency over the frames; the axis starts at 0, so that noise looks as small as it is."""
    if not values:
        return []
    most = 1.1 * max(values) or 1.0
    width = _WIDTH - _LEFT - _RIGHT
    step = width / max(1, len(values) - 1)
    points = " ".join(
        f"{_LEFT + i * step:.1f},{top + _SERIES_HEIGHT * (1 - v / most):.1f}"
        for i, v in enumerate(values)
    )
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = top + _SERIES_HEIGHT * (1 - share)
        lines.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + width}" y2="{y:.1f}" stroke="{_GRID}"/>'
        )
        lines.append(_text(_LEFT - 8, y + 4, f"{most * share:.1f}", 11, "end"))
    lines.append(f'<polyline points="{points}" fill="none" stroke="{_DARK}" stroke-width="1.2"/>')
    caption = f"total of each of {len(values)} frames, in ms"
    return [*lines, _text(_LEFT, top + _SERIES_HEIGHT + 22, caption, 11, "start")]


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" '
        f'fill="{fill}"/>'
    )


def _text(x: float, y: float, text: str, size: int, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    readable = "".join(c if c.isprintable() else " " for c in text)  # XML has no control characters
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{_INK}"{weight}>{escape(readable)}</text>'
    )
