"""A few shapes of SVG: plots without a plotting library, on the device too."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

DARK, LIGHT, INK, GRID, WRONG = "#2b6cb0", "#a8c8ea", "#222222", "#dddddd", "#c53030"


def text(
    x: float, y: float, words: str, size: int = 12, anchor: str = "start", *, bold: bool = False
) -> str:
    """Words at a place; ``anchor``: start, middle or end."""
    weight = ' font-weight="bold"' if bold else ""
    readable = "".join(
        c if c.isprintable() else " " for c in words
    )  # XML has no control characters
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{INK}"{weight}>{escape(readable)}</text>'
    )


def rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A box from its upper left corner; one of a negative width has none."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" '
        f'fill="{fill}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0) -> str:
    """From one point to another."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
        f'stroke-width="{width:g}"/>'
    )


def document(width: int, height: float, parts: Sequence[str]) -> str:
    """The parts on white."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" font-family="sans-serif">'
    )
    return "\n".join([head, rect(0, 0, width, height, "#ffffff"), *parts, "</svg>"]) + "\n"
