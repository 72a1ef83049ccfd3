"""The latency plot: well-formed, to scale, and inside its frame."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from edgemtl.bench.plot import latency_svg

SVG = "{http://www.w3.org/2000/svg}"
BARS = [("decode", 1.0, 2.0), ("infer", 5.0, 8.0), ("total", 6.0, 10.0)]


def _rects(root: ElementTree.Element) -> list[dict[str, float]]:
    return [
        {name: float(rect.attrib[name]) for name in ("x", "y", "width", "height")}
        for rect in root.iter(f"{SVG}rect")
    ]


def test_bars_are_to_scale() -> None:
    root = ElementTree.fromstring(latency_svg("title", BARS, [6.0, 7.0]))
    _, *bars = _rects(root)
    assert len(bars) == 2 * len(BARS)
    longest = bars[-2]["width"]
    for (_, p50, p95), light, dark in zip(BARS, bars[::2], bars[1::2], strict=True):
        assert light["width"] == pytest.approx(longest * p95 / 10, abs=0.1)
        assert dark["width"] == pytest.approx(longest * p50 / 10, abs=0.1)
        assert (light["x"], light["y"]) == (dark["x"], dark["y"])
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert "5.00 / 8.00" in words


def test_the_series_starts_at_zero_and_rises_with_the_values() -> None:
    values = [2.0, 4.0, 8.0]
    root = ElementTree.fromstring(latency_svg("title", BARS, values))
    line = next(root.iter(f"{SVG}polyline"))
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    base = max(float(g.attrib["y1"]) for g in root.iter(f"{SVG}line"))
    heights = [base - y for _, y in points]
    for height, value in zip(heights, values, strict=True):
        assert height / heights[0] == pytest.approx(value / values[0], rel=0.01)
    assert all(one[0] < two[0] for one, two in pairwise(points))


@pytest.mark.parametrize(
    ("bars", "series"),
    [
        ([], []),
        (BARS, []),
        ([], [1.0]),
        (BARS, [3.0]),
        ([("a", 0.0, 0.0)], [0.0, 0.0]),
        ([("a", 1e-6, 1e6)], [1e-6, 1e6]),
        (BARS, [1.0] * 5000),
    ],
    ids=range(7),
)
def test_everything_lies_inside(bars: list[tuple[str, float, float]], series: list[float]) -> None:
    text = latency_svg("t", bars, series)
    assert "nan" not in text
    assert "inf" not in text.replace("infer", "")
    root = ElementTree.fromstring(text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in _rects(root):
        assert rect["x"] >= 0
        assert rect["x"] + rect["width"] <= width
        assert rect["y"] + rect["height"] <= height
    for line in root.iter(f"{SVG}polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


@pytest.mark.parametrize("title", ["a < b & c", "\x00\x1b[31m", "größer 模型 \U0001f600", ""])
def test_titles_stay_text(title: str) -> None:
    root = ElementTree.fromstring(latency_svg(title, BARS, []))
    shown = next(root.iter(f"{SVG}text")).text or ""
    assert shown == "".join(c if c.isprintable() else " " for c in title)
