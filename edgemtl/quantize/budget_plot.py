"""The losses of each score with their intervals, beside what the budget allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgemtl.quantize.budget import Loss
from edgemtl.svg import DARK, GRID, INK, LIGHT, WRONG, document, line, rect, text

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 760, 150, 150, 60, 30


def losses_svg(title: str, losses: Mapping[str, Sequence[Loss]]) -> str:
    """``losses`` by dialect. A bar is the 95 % interval, the stroke in it the loss (red where the
    budget is broken), the band what is allowed."""
    rows = [(f"{name}: {one.score}", one) for name, each in losses.items() for one in each]
    shown = [v for _, one in rows for v in (one.loss.low, one.loss.high, one.budget or 0.0)]
    shown = [v for v in shown if not math.isnan(v)]
    low, high = min([0.0, *shown]), max([0.1, *shown])
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)

    def x(points: float) -> float:
        return _LEFT + (points - low) * scale

    parts = [text(16, 26, f"What INT8 costs {title}, in points", 14, bold=True)]
    bottom = _TOP + len(rows) * _ROW
    for number, (name, one) in enumerate(rows):
        y = _TOP + number * _ROW
        if one.budget is not None:
            parts.append(rect(x(low), y + 2, x(one.budget) - x(low), _ROW - 4, GRID))
        parts.append(text(_LEFT - 8, y + 19, name, 12, "end"))
        if not math.isnan(one.loss.low):
            parts.append(rect(x(one.loss.low), y + 8, scale * 2 * one.loss.half, 14, LIGHT))
        parts += _value(one, x(one.loss.value), y)
    parts.append(line(x(0.0), _TOP - 4, x(0.0), bottom, INK))
    parts.append(text(x(0.0), bottom + 16, "0", 11, "middle"))
    caption = "stroke: loss; bar: its 95 % interval; grey: allowed"
    parts.append(text(_LEFT, bottom + 36, caption, 11))
    return document(_WIDTH, bottom + 52, parts)


def _value(one: Loss, x: float, y: float) -> list[str]:
    colour = WRONG if one.verdict == "breaks" else DARK
    asked = "" if one.budget is None else f" of {one.budget:g}, {one.verdict}"
    words = f"{one.loss.value:+.2f}{asked}"
    return [line(x, y + 5, x, y + 25, colour, 3), text(_WIDTH - _RIGHT + 8, y + 19, words, 11)]
