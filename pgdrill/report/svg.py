"""SVG by hand: scales, round ticks, and marks with tooltips; colours come from style.css."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from pgdrill.report.number_format import number

WIDTH = 1120
CHARACTER = 6.1  # width of an average character at the 11 px that style.css gives labels
MOST_POINTS = 600

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels, linearly or by their logarithm; never outside its ends."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low or 1)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Return round values (1, 2 or 5 times a power of ten) inside the scale."""
        return self._decades() if self.log else self._steps(wanted)

    def _steps(self, wanted: int) -> list[float]:
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(span / wanted))
        step = next(f * power for f in (1, 2, 5, 10) if span / (f * power) <= wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        factors = (1, 2, 5) if last - first <= 2 else (1,)
        every = [f * 10.0**power for power in range(first, last + 1) for f in factors]
        return [value for value in every if self.low <= value <= self.high * 1.0001]


def nice_top(value: float) -> float:
    """Return the end of a scale from zero with a little room above a value."""
    return value * 1.12 if value > 0 else 1.0


class Canvas:
    """Collects marks, and becomes an <svg> that scales with the page."""

    def __init__(self, height: float, label: str, width: int = WIDTH) -> None:
        self.height = height
        self.width = width
        self.label = label
        self._marks: list[str] = []

    def add(self, tag: str, kind: str, tip: str = "", text: str = "", **attributes: object) -> None:
        """Add one element of a CSS class; underscores in attribute names become dashes."""
        written = "".join(
            f' {name.replace("_", "-")}="{escape(value)}"' for name, value in attributes.items()
        )
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self._marks.append(f'<{tag} class="{kind}"{written}>{inner}{escape(text)}</{tag}>')

    def text(self, x: float, y: float, text: str, kind: str = "t", anchor: str = "start") -> None:
        """Write one label; y is its baseline."""
        self.add("text", kind, text=text, x=round(x, 1), y=round(y, 1), text_anchor=anchor)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, tip: str = "") -> None:
        """Draw a straight line."""
        self.add("line", kind, tip, x1=x1, y1=y1, x2=x2, y2=y2)

    def bar(self, x1: float, y1: float, x2: float, y2: float, kind: str, tip: str = "") -> None:
        """Draw a filled rectangle between two corners."""
        width, height = round(max(0.6, x2 - x1), 1), round(max(0.6, y2 - y1), 1)
        self.add("rect", kind, tip, x=round(x1, 1), y=round(y1, 1), width=width, height=height)

    def dot(self, x: float, y: float, kind: str, tip: str = "", radius: float = 4.5) -> None:
        """Draw a dot."""
        self.add("circle", kind, tip, cx=x, cy=round(y, 1), r=radius)

    def path(self, points: Iterable[Point], kind: str, tip: str = "") -> None:
        """Draw a line through pixels."""
        drawn = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.add("polyline", kind, tip, points=drawn)

    def cloud(self, points: Iterable[Point], kind: str) -> None:
        """Draw many small dots as one mark, which keeps the page small."""
        self.add("path", f"cloud {kind}", d="".join(f"M{x:g},{y:g}h0" for x, y in points))

    def columns(
        self, boxes: Iterable[tuple[float, float, float, float]], kind: str, tip: str = ""
    ) -> None:
        """Draw many rectangles (left, top, right, bottom) as one mark."""
        drawn = (f"M{a:g},{b:g}H{c:g}V{d:g}H{a:g}z" for a, b, c, d in boxes)
        self.add("path", kind, tip, d="".join(drawn))

    def x_axis(self, x: Scale, y: float, top: float, unit: str, wanted: int = 9) -> None:
        """Draw grid lines upwards from y to top, tick values, and the unit at the right end."""
        for value in x.ticks(wanted):
            self.line(x(value), top, x(value), y, "grid")
            self.text(x(value), y + 14, number(value, 4), "t tick", "middle")
        self.text(x.end, y + 28, unit, "t unit", "end")

    def y_axis(self, y: Scale, x1: float, x2: float, unit: str, wanted: int = 4) -> None:
        """Draw horizontal grid lines, tick values left of them, and the unit on top."""
        for value in y.ticks(wanted):
            self.line(x1, y(value), x2, y(value), "grid")
            self.text(x1 - 6, y(value) + 4, number(value, 4), "t tick", "end")
        self.text(x1, y.end - 7, unit, "t unit")

    def svg(self) -> Markup:
        """Return the finished picture; a wide one scrolls by itself where the screen is narrow."""
        label = escape(self.label)
        drawn = Markup(
            f'<svg class="plot" viewBox="0 0 {self.width} {self.height:g}" role="img"'
            f' aria-label="{label}" style="max-width:{self.width}px">'
            f"{''.join(self._marks)}</svg>"
        )
        if self.width < WIDTH:
            return drawn
        region = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        return Markup(f"{region}{drawn}</div>")


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Keep at most so many points: lowest and highest of each stretch, so no peak is lost."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(len(points) / (most / 2))
    kept: list[Point] = []
    for i in range(0, len(points), stretch):
        part = points[i : i + stretch]
        low, high = min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])
        kept += sorted({low, high})
    return kept


def broken_at_holes(points: Sequence[Point], factor: float = 3.5) -> list[list[Point]]:
    """Cut a series where data is missing, so that no line is drawn over what was not measured."""
    steps = sorted(b[0] - a[0] for a, b in pairwise(points))
    if not steps:
        return [list(points)] if points else []
    widest = factor * steps[len(steps) // 2]
    runs: list[list[Point]] = [[points[0]]]
    for before, after in pairwise(points):
        if after[0] - before[0] > widest:
            runs.append([])
        runs[-1].append(after)
    return runs


def staggered(labels: Sequence[tuple[float, str]], right: float) -> list[tuple[float, int]]:
    """Place labels (sorted by pixel) in rows so that none covers another: left pixel and row."""
    ends: list[float] = []
    placed = []
    for x, text in labels:
        width = len(text) * CHARACTER + 10
        left = min(x, right - width)
        row = next((i for i, end in enumerate(ends) if left >= end), len(ends))
        ends[row : row + 1] = [left + width]
        placed.append((round(left, 1), row))
    return placed
