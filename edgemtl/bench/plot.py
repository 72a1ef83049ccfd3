"""The latency plot as SVG text: no plotting library on the device."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.svg import DARK, GRID, LIGHT, document, line, rect, text

_WIDTH, _LEFT, _RIGHT = 760, 110, 90
_BAR, _GAP, _SERIES_HEIGHT = 20, 10, 150


def latency_svg(
    title: str, bars: Sequence[tuple[str, float, float]], series_ms: Sequence[float]
) -> str:
    """``bars``: (stage, p50, p95) in ms. ``series_ms``: every frame's total, in order."""
    most = max([p95 for _, _, p95 in bars], default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    top = 54
    parts = [text(16, 26, title, 14, "start", bold=True)]
    for number, (name, p50, p95) in enumerate(bars):
        y = top + number * (_BAR + _GAP)
        parts.append(text(_LEFT - 8, y + 15, name, 12, "end"))
        parts.append(rect(_LEFT, y, p95 * scale, _BAR, LIGHT))
        parts.append(rect(_LEFT, y, p50 * scale, _BAR, DARK))
        parts.append(text(_LEFT + p95 * scale + 6, y + 15, f"{p50:.2f} / {p95:.2f}", 11, "start"))
    bottom = top + len(bars) * (_BAR + _GAP)
    parts.append(text(_LEFT, bottom + 12, "dark: p50, light: p95, in ms", 11, "start"))
    parts += _series(series_ms, bottom + 44)
    height = bottom + 44 + _SERIES_HEIGHT + 40
    return document(_WIDTH, height, parts)


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
        lines.append(line(_LEFT, y, _LEFT + width, y, GRID))
        lines.append(text(_LEFT - 8, y + 4, f"{most * share:.1f}", 11, "end"))
    lines.append(f'<polyline points="{points}" fill="none" stroke="{DARK}" stroke-width="1.2"/>')
    caption = f"total of each of {len(values)} frames, in ms"
    return [*lines, text(_LEFT, top + _SERIES_HEIGHT + 22, caption, 11, "start")]
