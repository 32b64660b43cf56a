"""The plots of steady load over time, and the strokes that other plots share with them."""

import math
from collections.abc import Sequence
from itertools import chain, groupby
from statistics import mean

from markupsafe import Markup

from pgdrill.judge.machine import Pace
from pgdrill.judge.waits import Strains, Waits
from pgdrill.records import Bench, Event
from pgdrill.report.number_format import number, seconds
from pgdrill.report.svg import (
    MOST_POINTS,
    WIDTH,
    Canvas,
    Point,
    Scale,
    broken_at_holes,
    nice_top,
    thin,
)
from pgdrill.report.waits import OTHERS, TOP

LEFT, RIGHT = 64, WIDTH - 18
MOST_COLUMNS = 350  # 3 pixels each; longer loads have columns of several seconds, which are means
Instant = tuple[float, str]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def fault_instants(happened: Sequence[Event], low: float, high: float) -> list[Instant]:
    """Return faults between two instants of the run's clock, for markers on other plots."""
    return [
        (event.at, f"{event.what} {event.subject}".strip())
        for event in happened
        if event.source == "fault" and "healed" not in event.what and low <= event.at <= high
    ]


def throughput(bench: Bench, faults: Sequence[Instant]) -> Markup:
    """Transactions and bad transactions of each second, against the offered rate."""
    canvas = Canvas(230, "Throughput over time")
    slices = bench.slices
    top = max([bench.rate, *(piece.transactions for piece in slices)])
    x, y = Scale(0, bench.duration, LEFT, RIGHT), Scale(0, nice_top(top), 190, 24)
    canvas.y_axis(y, LEFT, RIGHT, "transactions/s, by scheduled second")
    canvas.x_axis(x, 190, 24, "seconds of measured load")
    good = [(float(s.second), float(s.transactions - s.bad)) for s in slices]
    curve(canvas, x, y, good, "series1", "good transactions")
    bad = [(float(s.second), float(s.bad)) for s in slices]
    if any(value for _, value in bad):
        curve(canvas, x, y, bad, "series-bad", "late, skipped or failed")
    canvas.line(LEFT, y(bench.rate), RIGHT, y(bench.rate), "target", "offered rate")
    canvas.text(RIGHT, 14, f"dotted: offered {number(bench.rate)}/s", "t", "end")
    fault_lines(canvas, x, 24, 190, [(at - bench.started_at, text) for at, text in faults])
    return canvas.svg()


def latency(bench: Bench, limit_ms: float, faults: Sequence[Instant]) -> Markup:
    """Median and 99th percentile of each second, against the limit, on a logarithmic scale."""
    canvas = Canvas(250, "Latency over time")
    p50 = [(float(s.second), s.p50_ms) for s in bench.slices if s.p50_ms]
    p99 = [(float(s.second), s.p99_ms) for s in bench.slices if s.p99_ms]
    values = [value for _, value in chain(p50, p99)]
    x = Scale(0, bench.duration, LEFT, RIGHT)
    low = min([1.0, *values])
    y = Scale(low, max([limit_ms * 1.6, *(v * 1.2 for v in values)]), 210, 24, log=True)
    canvas.y_axis(y, LEFT, RIGHT, "latency from scheduled start, ms (log)")
    canvas.x_axis(x, 210, 24, "seconds of measured load")
    curve(canvas, x, y, p99, "series2", "p99 of each second")
    curve(canvas, x, y, p50, "series1", "p50 of each second")
    for points, kind, name in ((p99, "series2", "p99"), (p50, "series1", "p50")):
        if points:
            canvas.text(x(points[0][0]) + 4, y(points[0][1]) - 7, name, f"t label-{kind}")
    canvas.line(LEFT, y(limit_ms), RIGHT, y(limit_ms), "limit", "the limit")
    canvas.text(RIGHT, y(limit_ms) - 5, f"limit {number(limit_ms)} ms", "t bad", "end")
    fault_lines(canvas, x, 24, 210, [(at - bench.started_at, text) for at, text in faults])
    return canvas.svg()


def machine(bench: Bench, pace: Pace) -> Markup:
    """The machine's pace and the use of its CPUs in each second of the load."""
    canvas = Canvas(170, "The machine during the load")
    x, y = Scale(0, bench.duration, LEFT, RIGHT), Scale(0, 115, 130, 24)
    canvas.y_axis(y, LEFT, RIGHT, "% of the machine's best pace; % of its CPUs in use")
    canvas.x_axis(x, 130, 24, "seconds of measured load")
    busy = [(float(one.second), one.busy) for one in pace.loaded]
    curve(canvas, x, y, busy, "series2", "CPUs in use, %")
    paces = [(float(one.second), one.pace) for one in pace.loaded]
    curve(canvas, x, y, paces, "series1", "pace, %")
    canvas.text(RIGHT, y(100) - 7, "pace", "t label-series1", "end")
    lowest = min(share for _, share in busy)
    canvas.text(RIGHT, y(lowest) + 14, "CPUs in use", "t label-series2", "end")
    return canvas.svg()


def waits(bench: Bench, found: Waits, strains: Strains | None, faults: Sequence[Instant]) -> Markup:
    """The wait events of busy sessions in each second, stacked, and the machine's pressure."""
    pressed = strains is not None and bool(strains.cpu_by_second or strains.io_by_second)
    bottom = 330 if pressed else 230
    canvas = Canvas(bottom + 40, "What the sessions waited for over time")
    x = Scale(0, bench.duration, LEFT, RIGHT)
    y = Scale(0, nice_top(max(one.active for one in found.seconds)), 230, 24)
    canvas.y_axis(y, LEFT, RIGHT, "busy sessions of the load, by what they wait for")
    canvas.x_axis(x, bottom, 24, "seconds of measured load")
    top = found.top(TOP)
    wide = math.ceil(bench.duration / MOST_COLUMNS)
    boxes: dict[str, list[Box]] = {event: [] for event in (*top, OTHERS)}
    for start, part in groupby(found.seconds, key=lambda one: one.second // wide * wide):
        whole, base = list(part), 0.0
        heights = {e: mean(one.sessions.get(e, 0.0) for one in whole) for e in top}
        heights[OTHERS] = mean(one.active for one in whole) - sum(heights.values())
        for event, height in heights.items():
            if height > 1e-6:
                boxes[event].append((x(start), y(base + height), x(start + wide), y(base)))
                base += height
    for number_, (event, drawn) in enumerate(boxes.items()):
        if drawn:
            canvas.columns(drawn, f"wait{number_ if event != OTHERS else TOP}", event)
    late = [(x(one.second), 18.0, x(one.second + 1), 23.0) for one in found.seconds if one.bad]
    if late:
        canvas.columns(late, "refused", "seconds with late transactions")
    if strains is not None and pressed:
        _pressure(canvas, x, strains)
    fault_lines(canvas, x, 24, bottom, [(at - bench.started_at, text) for at, text in faults])
    return canvas.svg()


def _pressure(canvas: Canvas, x: Scale, strains: Strains) -> None:
    """Draw the pressure below the sessions, on the same seconds."""
    y = Scale(0, 100, 330, 262)
    canvas.y_axis(y, LEFT, RIGHT, "pressure: % of the time in which some process waited for it", 2)
    for points, kind, name in (
        (strains.io_by_second, "series2", "I/O"),
        (strains.cpu_by_second, "series1", "CPU"),
    ):
        if points:
            curve(canvas, x, y, [(float(at), share) for at, share in points], kind, f"{name}, %")
            canvas.text(RIGHT, y(points[-1][1]) - 5, name, f"t label-{kind}", "end")


def calibration(bench: Bench) -> Markup:
    """The capacity of the machine, the offered load, and the carried load."""
    done = bench.scripts[0].tps if bench.scripts else 0.0
    rows = (
        ("calibrated", bench.calibration_tps, "stage-quiet", "closed loop: as fast as it can"),
        ("offered", bench.rate, "part1", "open loop, on a fixed schedule"),
        ("achieved", done, "part0", "measured from the transaction log"),
    )
    canvas = Canvas(80, "Calibrated, offered and achieved rate")
    x = Scale(0, nice_top(max(value for _, value, _, _ in rows)) * 1.35, 96, RIGHT)
    for row, (name, value, kind, meaning) in enumerate(rows):
        y = 4 + 25 * row
        canvas.text(86, y + 14, name, "t", "end")
        canvas.bar(x(0), y, x(value), y + 19, kind, meaning)
        canvas.text(x(value) + 8, y + 14, f"{number(value)} tx/s: {meaning}")
    return canvas.svg()


def curve(
    canvas: Canvas,
    x: Scale,
    y: Scale,
    points: Sequence[Point],
    kind: str,
    tip: str,
    most: int = MOST_POINTS,
) -> None:
    """Draw a curve of at most so many points, broken where nothing was measured."""
    for whole in broken_at_holes(points):
        run = thin(whole, max(2, most * len(whole) // len(points)))
        if len(run) == 1:
            canvas.dot(x(run[0][0]), y(run[0][1]), f"{kind} lone", tip, 1.8)
        else:
            canvas.path([(x(a), y(b)) for a, b in run], kind, tip)


def fault_lines(
    canvas: Canvas, x: Scale, top: float, bottom: float, instants: Sequence[Instant]
) -> None:
    """Mark faults, given on the scale of x."""
    for at, text in instants:
        tip = f"{text}, at {seconds(at)}" if canvas.width == WIDTH else text
        canvas.line(x(at), top, x(at), bottom, "fault thin", tip)
