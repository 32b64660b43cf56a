"""Dashboards over the run: numbers as tiles, curves and states as small multiples on one time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

from markupsafe import Markup

from pgdrill.dashboards.panels import Panel, Snapshot, Tone
from pgdrill.records import Series
from pgdrill.report.loadplots import Instant, curve, fault_lines
from pgdrill.report.number_format import number, seconds, with_unit
from pgdrill.report.svg import (
    CHARACTER,
    MOST_POINTS,
    WIDTH,
    Canvas,
    Scale,
    broken_at_holes,
    nice_top,
)
from pgdrill.report.tiles import Tile

GUTTER = 24  # between panels side by side, as style.css has it
LEFT, TOP = 48, 36  # of the plot inside its panel
WHOLE = ("", "sessions", "standbys")  # units with whole numbers only
STATE = 22  # height of one member's stretches
STATES: dict[Tone, str] = {"plain": "plain", "good": "met", "warn": "invalid", "bad": "broken"}
SPARK = (240, 34)

Page = tuple[str, list[tuple[str, list[Snapshot]]]]


@dataclass(frozen=True)
class TimeAxis:
    """The time that all panels share: ends in its own unit, which is `size` seconds long."""

    start: float
    low: float
    high: float
    unit: str
    size: float
    step: float  # seconds between two points

    def __call__(self, at: float) -> float:
        """Return an instant of the run's clock on this axis."""
        return (at - self.start) / self.size

    def reached(self, series: Series) -> bool:
        """Whether a series reaches the end; queries use whole seconds, so it may miss one step."""
        return self(series.points[-1][0]) >= self.high - 2 * self.step / self.size


def pages(snapshots: Sequence[Snapshot]) -> list[Page]:
    """Return panels by dashboard and row, in their order."""
    return [
        (title, [(row, list(shown)) for row, shown in groupby(page, key=lambda s: s.row)])
        for title, page in groupby(snapshots, key=lambda s: s.dashboard)
    ]


def time_axis(snapshots: Sequence[Snapshot], start: float) -> TimeAxis | None:
    """Return the axis of all panels; None where no panel has data."""
    curves = [one.points for shown in snapshots for one in shown.series]
    if not curves:
        return None
    low = min(points[0][0] for points in curves) - start
    high = max(points[-1][0] for points in curves) - start
    unit, size = ("minutes", 60.0) if high > 300 else ("seconds", 1.0)
    steps = [b[0] - a[0] for points in curves for a, b in pairwise(points)]
    return TimeAxis(
        start, low / size, max(high, low + 1) / size, unit, size, median(steps) if steps else 1.0
    )


def tile(shown: Snapshot, axis: TimeAxis) -> Tile:
    """Return a number, or a name, as it was when the run ended, and its values before."""
    if not shown.series:
        return Tile(shown.panel.title, "-", "no data")
    if shown.panel.kind == "names":
        return _names(shown, axis)
    points = shown.series[0].points
    values = [value for _, value in points]
    low, high = min(values), max(values)
    said, lowest, highest = (_said(shown.panel, value) for value in (values[-1], low, high))
    over = lowest if lowest == highest else f"between {lowest} and {highest}"
    if not axis.reached(shown.series[0]):
        return Tile(shown.panel.title, "none", f"no data at the end, {over} before", "invalid")
    detail = "all the time" if over == said else over
    return Tile(shown.panel.title, said, detail, STATES[shown.panel.tone(values[-1])])


def _names(shown: Snapshot, axis: TimeAxis) -> Tile:
    now = [one.member for one in shown.series if axis.reached(one)]
    first = sorted((one.points[0][0], one.member) for one in shown.series)
    earlier = [name for _, name in first if name not in now]
    before = f"earlier {', '.join(earlier)}" if earlier else "nobody else"
    return Tile(shown.panel.title, ", ".join(now) or "nobody", before)


def _said(panel: Panel, value: float) -> str:
    """Return a value as people read it: its word, or a number with its unit."""
    word = next((word.text for word in panel.words if word.value == value), None)
    if word:
        return word
    if panel.unit == "s":
        return seconds(value)
    factor, unit = readable(panel.unit, value)
    return with_unit(number(value * factor), unit)


def spark(shown: Snapshot, axis: TimeAxis) -> Markup:
    """Return the course of a number as a small curve without a scale."""
    width, height = SPARK
    if shown.panel.kind == "names" or not shown.series:
        return Markup("")
    canvas = Canvas(height, f"{shown.panel.title} over the run", width)
    points = shown.series[0].points
    top = nice_top(max(value for _, value in points))
    x, y = Scale(axis.low, axis.high, 0, width), Scale(0, top, height - 2, 2)
    curve(canvas, x, y, [(axis(at), value) for at, value in points], "spark", "", width)
    return canvas.svg()


def picture(shown: Snapshot, axis: TimeAxis, faults: Sequence[Instant], columns: int) -> Markup:
    """Return curves or states; nothing where the panel has no data."""
    if not shown.series:
        return Markup("")
    width = (WIDTH - GUTTER * (columns - 1)) // columns
    draw = _states if shown.panel.kind == "states" else _lines
    return draw(shown, axis, [(axis(at), text) for at, text in faults], width)


def _lines(shown: Snapshot, axis: TimeAxis, faults: Sequence[Instant], width: int) -> Markup:
    panel = shown.panel
    top = max(value for one in shown.series for _, value in one.points)
    limits = [step.at for step in panel.steps]
    factor, unit = readable(panel.unit, max([top, *limits]))
    canvas = Canvas(178, f"{panel.title} over the run", width)
    bottom, right = 132, width - 8
    x = Scale(axis.low, axis.high, LEFT, right)
    highest = 1.0 if panel.unit == "share" else nice_top(max([top, *limits]))
    y = Scale(0, highest * factor, bottom, TOP)
    _frame(canvas, panel, x, axis, bottom)
    wanted = min(4, max(2, math.ceil(highest))) if panel.unit in WHOLE else 4
    canvas.y_axis(y, LEFT, right, unit, wanted)
    fault_lines(canvas, x, TOP, bottom, faults)
    for step in panel.steps:
        at, said = y(step.at * factor), with_unit(number(step.at * factor), unit)
        canvas.line(LEFT, at, right, at, "limit" if step.tone == "bad" else "target", said)
        if step.tone == "bad":
            canvas.text(right, at - 4 if at > TOP + 14 else at + 13, said, "t bad", "end")
    names = sorted({one.member for one in shown.series})
    for one in shown.series:
        moved = [(axis(at), value * factor) for at, value in one.points]
        kind = f"member{names.index(one.member) % 5}"
        curve(canvas, x, y, moved, kind, one.member, MOST_POINTS // len(shown.series))
    _legend(canvas, [(f"key{i % 5}", name) for i, name in enumerate(names)], bottom + 30)
    return canvas.svg()


def _states(shown: Snapshot, axis: TimeAxis, faults: Sequence[Instant], width: int) -> Markup:
    panel, series = shown.panel, sorted(shown.series, key=lambda one: one.member)
    left = min(0.45 * width, max(LEFT, 12 + CHARACTER * max(len(s.member) for s in series)))
    bottom, right = 24 + STATE * len(series) + 4, width - 8
    canvas = Canvas(bottom + 46, f"{panel.title} over the run", width)
    x = Scale(axis.low, axis.high, left, right)
    _frame(canvas, panel, x, axis, bottom, 22)
    for row, one in enumerate(series):
        y = 24 + STATE * row
        canvas.text(left - 8, y + 15, one.member, "t", "end")
        for begin, end, value in _stretches(one, axis.step):
            said = _said(panel, value)
            tip = f"{one.member}: {said} from {seconds(begin - axis.start)}"
            a, b = x(axis(begin)), x(axis(end))
            canvas.bar(a, y + 2, b, y + STATE - 2, f"tone-{panel.tone(value)}", tip)
            if b - a > len(said) * CHARACTER + 8:
                canvas.text((a + b) / 2, y + 15, said, "t onpart", "middle")
    fault_lines(canvas, x, 22, bottom, faults)
    _legend(canvas, [(f"tone-{word.tone}", word.text) for word in panel.words], bottom + 30)
    return canvas.svg()


def _frame(
    canvas: Canvas, panel: Panel, x: Scale, axis: TimeAxis, bottom: float, top: float = TOP
) -> None:
    canvas.text(0, 12, panel.title, "t strong")
    canvas.x_axis(x, bottom, top, axis.unit, max(4, canvas.width // 90))


def _legend(canvas: Canvas, entries: Sequence[tuple[str, str]], y: float) -> None:
    left = 4.0
    for kind, text in entries:
        canvas.bar(left, y - 4, left + 10, y + 6, kind)
        canvas.text(left + 14, y + 5, text)
        left += 32 + CHARACTER * len(text)


def _stretches(series: Series, step: float) -> Iterator[tuple[float, float, float]]:
    """Return begin, end and value of each stretch; a point holds until the next, or for a step."""
    for run in broken_at_holes(series.points):
        changes = [run[0], *(b for a, b in pairwise(run) if a[1] != b[1])]
        ends = [at for at, _ in changes[1:]] + [run[-1][0] + step]
        yield from ((at, end, value) for (at, value), end in zip(changes, ends, strict=True))


def readable(unit: str, top: float) -> tuple[float, str]:
    """Return the factor and the unit in which values up to top are easily read."""
    if unit == "share":
        return 100.0, "%"
    if unit == "s" and 0 < top < 0.5:
        return 1000.0, "ms"
    if unit.startswith("bytes") and top >= 1024:
        power = min(3, int(math.log(top, 1024)))
        return 1024.0**-power, unit.replace("bytes", ("", "KiB", "MiB", "GiB")[power], 1)
    return 1.0, unit
