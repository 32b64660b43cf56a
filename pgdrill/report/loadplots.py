"""The plots of steady load and of resources over time."""

import math
from collections.abc import Sequence
from itertools import chain

from markupsafe import Markup

from pgdrill.records import Bench, Event, Series
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
from pgdrill.report.words import number, seconds

LEFT, RIGHT = 64, WIDTH - 18
SMALL = 540
Instant = tuple[float, str]


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
    _series(canvas, x, y, good, "series1", "good transactions")
    bad = [(float(s.second), float(s.bad)) for s in slices]
    if any(value for _, value in bad):
        _series(canvas, x, y, bad, "series-bad", "late, skipped or failed")
    canvas.line(LEFT, y(bench.rate), RIGHT, y(bench.rate), "target", "offered rate")
    canvas.text(RIGHT, 14, f"dotted: offered {number(bench.rate)}/s", "t", "end")
    _faults(canvas, x, 24, 190, [(at - bench.started_at, text) for at, text in faults])
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
    _series(canvas, x, y, p99, "series2", "p99 of each second")
    _series(canvas, x, y, p50, "series1", "p50 of each second")
    for points, kind, name in ((p99, "series2", "p99"), (p50, "series1", "p50")):
        if points:
            canvas.text(x(points[0][0]) + 4, y(points[0][1]) - 7, name, f"t label-{kind}")
    canvas.line(LEFT, y(limit_ms), RIGHT, y(limit_ms), "limit", "the limit")
    canvas.text(RIGHT, y(limit_ms) - 5, f"limit {number(limit_ms)} ms", "t bad", "end")
    _faults(canvas, x, 24, 210, [(at - bench.started_at, text) for at, text in faults])
    return canvas.svg()


def calibration(bench: Bench) -> Markup:
    """What the machine could do, what was asked of it, what it did."""
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


def resource(
    metric: str, series: Sequence[Series], start: float, faults: Sequence[Instant]
) -> Markup:
    """One metric of all members over the run, a line each."""
    members = sorted(s.member for s in series)
    series = _readable(series)
    points = [point for one in series for point in one.points]
    canvas = Canvas(190, f"{metric} over time", SMALL)
    last = max(at for at, _ in points) - start
    unit, size = ("minutes", 60.0) if last > 300 else ("seconds", 1.0)
    first = min(at for at, _ in points) - start
    x = Scale(first / size, max(last, first + 1) / size, 56, SMALL - 12)
    y = Scale(0, nice_top(max(value for _, value in points)), 138, 36)
    canvas.text(0, 12, metric, "t strong")
    canvas.y_axis(y, 56, SMALL - 12, series[0].unit, 5)
    canvas.x_axis(x, 138, 36, f"{unit} since the run began", 6)
    for one in series:
        index = members.index(one.member) % 5
        moved = [((at - start) / size, value) for at, value in one.points]
        _series(canvas, x, y, moved, f"member{index}", one.member, MOST_POINTS // len(series))
    _faults(canvas, x, 36, 138, [((at - start) / size, text) for at, text in faults])
    left = 4.0
    for index, member in enumerate(members):
        canvas.bar(left, 168, left + 10, 178, f"key{index % 5}")
        canvas.text(left + 14, 177, member)
        left += 30 + 6.4 * len(member)
    return canvas.svg()


def _readable(series: Sequence[Series]) -> list[Series]:
    """Return series in bytes as KiB, MiB or GiB, whichever suits the largest value."""
    top = max(value for one in series for _, value in one.points)
    power = min(3, int(math.log(top, 1024))) if top >= 1024 else 0
    if not power or not series[0].unit.startswith("bytes"):
        return list(series)
    unit = series[0].unit.replace("bytes", ("", "KiB", "MiB", "GiB")[power], 1)
    return [
        one.model_copy(
            update={
                "unit": unit,
                "points": tuple((at, value / 1024**power) for at, value in one.points),
            }
        )
        for one in series
    ]


def _series(
    canvas: Canvas,
    x: Scale,
    y: Scale,
    points: Sequence[Point],
    kind: str,
    tip: str,
    most: int = MOST_POINTS,
) -> None:
    for whole in broken_at_holes(points):
        run = thin(whole, max(2, most * len(whole) // len(points)))
        if len(run) == 1:
            canvas.dot(x(run[0][0]), y(run[0][1]), f"{kind} lone", tip, 1.8)
        else:
            canvas.path([(x(a), y(b)) for a, b in run], kind, tip)


def _faults(
    canvas: Canvas, x: Scale, top: float, bottom: float, instants: Sequence[Instant]
) -> None:
    for at, text in instants:
        tip = f"{text}, at {seconds(at)}" if canvas.width == WIDTH else text
        canvas.line(x(at), top, x(at), bottom, "fault thin", tip)
