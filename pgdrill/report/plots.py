"""The plots of failovers, alerts and events: each takes records and returns one <svg>."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median_low

from markupsafe import Markup

from pgdrill.records import AlertLife, Event, LaneResult, Trial, is_routed
from pgdrill.report.attempts import Trace
from pgdrill.report.number_format import number, seconds
from pgdrill.report.svg import CHARACTER, WIDTH, Canvas, Scale, nice_top, staggered, thin
from pgdrill.report.trials import Group, LaneGaps

LEFT, RIGHT = 118, WIDTH - 18
OUTCOMES = ("acked", "indeterminate", "refused")
BINS = 240
STEADY_SHARE = 99  # % in time in a second of steady service
Mark = tuple[float, str, str]  # value, label, CSS class
Outage = tuple[str, Sequence[tuple[float, float]]]  # lane, and when it had no acknowledged write


def gaps(group: Group) -> Markup:
    """Every verified trial's write gap as a dot, by lane, with minimum, median, maximum, limit."""
    return _gap_rows(group.experiment, [(lane.lane, lane) for lane in group.lanes if lane.gaps])


def compared(groups: Sequence[Group]) -> Markup | None:
    """The write gaps of one experiment under different settings, on one scale."""
    lanes = dict.fromkeys(lane.lane for group in groups for lane in group.lanes)
    rows = [
        (f"{name}, {group.tuning}", lane)
        for name in lanes
        for group in groups
        for lane in group.lanes
        if lane.lane == name and lane.gaps
    ]
    return _gap_rows(groups[0].experiment, rows) if rows else None


def _gap_rows(experiment: str, rows: Sequence[tuple[str, LaneGaps]]) -> Markup:
    top = max([lane.values[-1] for _, lane in rows] + [lane.limit or 0.0 for _, lane in rows])
    canvas = Canvas(38 + 62 * len(rows), f"Write gaps of {experiment}")
    x = Scale(0, nice_top(top), LEFT, RIGHT)
    canvas.x_axis(x, 62.0 * len(rows), 8, "write gap, seconds")
    for row, (label, lane) in enumerate(rows):
        _gap_row(canvas, x, 62 * row + 8, label, lane)
    return canvas.svg()


def _gap_row(canvas: Canvas, x: Scale, top: float, label: str, lane: LaneGaps) -> None:
    values = lane.values
    canvas.text(LEFT - 12, top + 26, label, "t strong", "end")
    canvas.line(x(values[0]), top + 22, x(values[-1]), top + 22, "span")
    for trial, gap in lane.gaps:
        shift = ((trial * 7) % 5 - 2) * 3.2  # apart, so that equal gaps stay visible
        tip = f"trial {trial}: {seconds(gap)}"
        canvas.dot(x(gap), top + 22 + shift, f"dot {lane_kind(lane.lane)}", tip)
    if lane.limit is not None:
        canvas.line(x(lane.limit), top, x(lane.limit), top + 50, "limit", "the budget")
        canvas.text(x(lane.limit) - 5, top + 8, f"budget {seconds(lane.limit)}", "t bad", "end")
    if len(values) == 1:
        canvas.text(x(values[0]) + 10, top + 26, seconds(values[0]))
        return
    shortest = f"min {seconds(values[0])}"
    if x(values[0]) - len(shortest) * CHARACTER - 12 > LEFT:
        canvas.text(x(values[0]) - 10, top + 26, shortest, "t", "end")
    canvas.text(x(values[-1]) + 10, top + 26, f"max {seconds(values[-1])}")
    middle = median_low(values)
    canvas.line(x(middle), top + 12, x(middle), top + 33, "median", "median")
    canvas.text(x(middle), top + 46, f"median {seconds(middle)}", "t", "middle")


def lane_kind(lane: str) -> str:
    """Return the CSS class that colours a lane."""
    return "held" if lane.startswith("held") else "fresh"


def part_steps(trial: Trial) -> list[tuple[str, float]]:
    """Return steps after the fault until the first new connection was served: name and second."""
    ack = first_ack(trial)
    parts = sorted(trial.parts, key=lambda part: part.after)
    steps = [(p.name, p.after) for p in parts if p.after >= 0 and (ack is None or p.after <= ack)]
    return steps + ([("first fresh ack", ack)] if ack is not None else [])


def first_ack(trial: Trial) -> float | None:
    """Seconds from the fault to the first write acknowledged on a new connection."""
    acks = [
        result.first_ack_after - trial.injected_at
        for lane, result in trial.lanes.items()
        if lane.startswith("fresh") and is_routed(lane) and result.first_ack_after is not None
    ]
    return max(0.0, min(acks)) if acks else None


def parts(group: Group) -> Markup:
    """The parts of the time from the fault to the first fresh ack, a bar for each trial."""
    rows = [(trial, part_steps(trial)) for trial in group.verified]
    rows = [(trial, steps) for trial, steps in rows if len(steps) > 1]
    if not rows:
        return Markup("")
    names = list(dict.fromkeys(name for _, steps in rows for name, _ in steps))
    canvas = Canvas(70 + 26 * len(rows), f"Parts of the failover time of {group.experiment}")
    x = Scale(0, nice_top(max(steps[-1][1] for _, steps in rows)), LEFT, RIGHT)
    _legend(canvas, [(f"until {name}", f"part{i % 6}") for i, name in enumerate(names)])
    bottom = 30.0 + 26 * len(rows)
    canvas.x_axis(x, bottom, 26, "seconds after the fault")
    for row, (trial, steps) in enumerate(rows):
        y, before = 32 + 26 * row, 0.0
        canvas.text(LEFT - 12, y + 14, f"trial {trial.number}", "t", "end")
        for name, after in steps:
            tip = f"until {name}: {seconds(after - before)} (at {seconds(after)})"
            canvas.bar(x(before), y, x(after), y + 20, f"part{names.index(name) % 6}", tip)
            label = seconds(after - before)
            if x(after) - x(before) > len(label) * CHARACTER + 8:
                canvas.text((x(before) + x(after)) / 2, y + 14, label, "t onpart", "middle")
            before = after
        canvas.text(x(before) + 6, y + 14, seconds(before), "t strong")
    return canvas.svg()


def _legend(canvas: Canvas, entries: Sequence[tuple[str, str]], y: float = 6) -> None:
    left = float(LEFT)
    for text, kind in entries:
        canvas.bar(left, y, left + 11, y + 11, kind)
        canvas.text(left + 16, y + 10, text)
        left += 34 + len(text) * CHARACTER


def trial_marks(trial: Trial) -> list[Mark]:
    """Return the instants worth naming in a trial, in seconds after the fault.

    Events long after the last lane's return are left to the table: they would squeeze the
    outage, the subject of the plot, into a corner.
    """
    marks: list[Mark] = [(0.0, "fault", "fault")]
    marks += [(part.after, part.name, "mark") for part in trial.parts]
    for lane, result in trial.lanes.items():
        if is_routed(lane) and result.first_ack_after is not None:
            at = result.first_ack_after - trial.injected_at
            marks.append((at, f"{lane}: first ack", lane_kind(lane)))
    if trial.healed_at is not None:
        marks.append((trial.healed_at - trial.injected_at, "fault healed", "heal"))
    if trial.redundancy is not None:
        marks.append((trial.redundancy, "all members stream", "mark"))
    if trial.steady is not None:
        marks.append((trial.steady, "service steady again", "mark"))
    core = max([3.0] + [at for at, _, kind in marks if kind in ("fresh", "held")])
    return sorted(mark for mark in marks if mark[0] <= 4 * core)


def trial(trial: Trial, traces: Sequence[Trace]) -> Markup:
    """One trial as its clients observed it: answers by outcome, latency, and named instants."""
    marks = trial_marks(trial)
    last = max(at for at, _, _ in marks)
    low, high = -max(2.0, 0.25 * last), last + max(2.0, 0.15 * last)
    traces = [trace for trace in traces if trace.at]
    lanes = {name: result for name, result in trial.lanes.items() if is_routed(name)}
    outages = [] if traces else [_outage(trial, n, r) for n, r in lanes.items()]
    label = f"Trial {trial.number} of {trial.experiment}"
    gaps = {name: result.gap for name, result in lanes.items()}
    return observed(label, (low, high), marks, traces, gaps, "seconds after the fault", outages)


def observed(
    label: str,
    span: tuple[float, float],
    marks: Sequence[Mark],
    traces: Sequence[Trace],
    gaps: Mapping[str, float | None],
    unit: str,
    outages: Sequence[Outage] = (),
) -> Markup:
    """Draw what clients observed between two instants, and name some instants.

    outages are drawn as bars, where there are no single answers.
    """
    low, high = span
    if traces:  # draw no time that was not measured
        low = max(low, min(min(trace.at) for trace in traces))
        high = min(high, max(max(trace.at) for trace in traces))
    x = Scale(low, high, LEFT, RIGHT)
    labels = [(x(at), f"{name} {_signed(at)}") for at, name, _ in marks]
    placed = staggered(labels, RIGHT)
    head = 18 + 15 * (max(row for _, row in placed) + 1)
    answered = [trace for trace in traces if trace.latency_ms]
    height = head + 84 * len(traces) + (96 if answered else 0) + 26 * len(outages)
    canvas = Canvas(height + 40, label)
    for row, trace in enumerate(traces):
        _answers(canvas, x, head + 84 * row, trace, gaps[trace.lane])
    if answered:
        _latencies(canvas, x, head + 84 * len(traces), answered)
    canvas.x_axis(x, height + 4, head, unit)
    for row, (lane, holes) in enumerate(outages):
        _silences(canvas, x, head + 4 + 26 * row, lane, holes)
    for (at, _, kind), (_, row), (_, text) in zip(marks, placed, labels, strict=True):
        canvas.line(x(at), 8 + 15 * row, x(at), height + 4, f"{kind} upright", text)
    for (_, _, kind), (left, row), (_, text) in zip(marks, placed, labels, strict=True):
        canvas.text(left + 3, 14 + 15 * row, text, f"t {kind}")
    return canvas.svg()


def service(trial: Trial) -> Markup:
    """Draw the share of attempts in time in each second after the fault; '' where none is known."""
    shares = list(enumerate(trial.service.shares)) if trial.service else []
    known = [(second, share) for second, share in shares if share is not None]
    if not trial.service or not known:
        return Markup("")
    canvas = Canvas(128, f"Attempts in time after the fault of trial {trial.number}")
    x = Scale(0, len(shares), LEFT, RIGHT)
    y = Scale(0, 100, 92, 18)
    canvas.y_axis(y, LEFT, RIGHT, f"% of attempts within {number(trial.service.limit_ms)} ms", 2)
    for second, share in known:
        kind = "acked" if share >= STEADY_SHARE else "refused"
        tip = f"second {second} to {second + 1}: {share:.1f} % in time"
        canvas.bar(x(second), y(share), x(second + 0.9), y(0), kind, tip)
    canvas.x_axis(x, 92, 18, "seconds after the fault")
    return canvas.svg()


def _outage(trial: Trial, lane: str, result: LaneResult) -> Outage:
    last, first = result.last_ack_before, result.first_ack_after
    start = -math.inf if last is None else last - trial.injected_at
    return lane, [(start, math.inf if first is None else first - trial.injected_at)]


def _silences(
    canvas: Canvas, x: Scale, top: float, lane: str, holes: Sequence[tuple[float, float]]
) -> None:
    canvas.text(LEFT - 12, top + 13, lane, "t strong", "end")
    canvas.bar(LEFT, top, RIGHT, top + 18, "acked", "writes acknowledged")
    for start, end in holes:
        tip = f"no acknowledged write: {lane}"
        canvas.bar(x(start), top, x(end), top + 18, "outage", tip)


def _signed(at: float) -> str:
    return "" if at == 0 else f"{'+' if at > 0 else '-'}{seconds(abs(at))}"


def _answers(canvas: Canvas, x: Scale, top: float, trace: Trace, gap: float | None) -> None:
    width = (x.high - x.low) / BINS
    bins: Counter[tuple[int, str]] = Counter()
    for at, outcome in zip(trace.at, trace.outcome, strict=True):
        if x.low <= at <= x.high:
            bins[int((at - x.low) / width), outcome] += 1
    highest = max((sum(bins[i, o] for o in OUTCOMES) for i in range(BINS + 1)), default=1)
    y = Scale(0, highest / width * 1.05 or 1, top + 76, top + 16)
    canvas.y_axis(y, LEFT, RIGHT, f"{trace.lane}: answers/s", 3)
    floors = dict.fromkeys(range(BINS + 1), 0.0)
    for outcome in OUTCOMES:
        boxes = []
        for i in (i for i in floors if bins[i, outcome]):
            left, foot = x.low + i * width, floors[i]
            floors[i] += bins[i, outcome] / width
            right = round(max(x(left + width) - 0.4, x(left) + 0.8), 1)
            boxes.append((x(left), y(floors[i]), right, y(foot)))
        canvas.columns(boxes, outcome)
    canvas.text(
        RIGHT, top + 9, "no gap known" if gap is None else f"gap {seconds(gap)}", "t", "end"
    )


def _latencies(canvas: Canvas, x: Scale, top: float, traces: Sequence[Trace]) -> None:
    highest = max(max(trace.latency_ms) for trace in traces)
    y = Scale(1, max(100.0, highest * 1.2), top + 88, top + 16, log=True)
    canvas.y_axis(y, LEFT, RIGHT, "latency of acknowledged writes, ms (log)")
    for trace in traces:
        acks = [
            (at, ms)
            for at, ms, outcome in zip(trace.at, trace.latency_ms, trace.outcome, strict=True)
            if outcome == "acked" and x.low <= at <= x.high
        ]
        canvas.cloud([(x(at), y(ms)) for at, ms in thin(acks, 300)], lane_kind(trace.lane))


STAGES = (
    ("condition", "condition true"),
    ("pending", "pending"),
    ("firing", "firing"),
    ("alertmanager", "at Alertmanager"),
    ("paged", "paged"),
    ("logged", "logged"),
    ("healed", "healed"),
    ("resolved", "resolved"),
)


def alert_bound(life: AlertLife) -> float:
    """Seconds from condition to page that the configuration permits."""
    return life.scrape + life.evaluation + life.hold + life.group_wait


def alert_stages(life: AlertLife) -> list[tuple[str, float | None]]:
    """Return each stage in seconds after the condition came true; None: never seen."""
    zero = life.quiet_from if life.condition is None else life.condition
    instants = [(label, getattr(life, name)) for name, label in STAGES]
    return [(label, None if at is None else at - zero) for label, at in instants]


def alert(life: AlertLife, limit: float | None) -> Markup:
    """One alert from quiet to resolved, against what its configuration and its budget permit."""
    stages = {label: at for label, at in alert_stages(life) if at is not None}
    if life.condition is None or len(stages) < 2:
        return Markup("")
    bound = alert_bound(life)
    limits = [(bound, "page due")] + ([] if limit is None else [(limit, "budget for the page")])
    seen = sorted([*((at, label) for label, at in stages.items()), *limits])
    last = seen[-1][0]
    x = Scale(-0.06 * last, last * 1.04, 16, RIGHT)
    labels = [(x(at), f"{label} {_signed(at)}") for at, label in seen]
    placed = staggered(labels, RIGHT)
    head = 8 + 15 * (max(row for _, row in placed) + 1)
    canvas = Canvas(head + 58, f"Life of alert {life.alert}")
    canvas.x_axis(x, head + 26, head + 20, "seconds after the condition came true")
    _alert_bar(canvas, x, head + 2, stages)
    kinds = ["limit" if stage in limits else "upright mark" for stage in seen]
    for (at, _), (_, row), (_, text), kind in zip(seen, placed, labels, kinds, strict=True):
        canvas.line(x(at), 5 + 15 * row, x(at), head + 22, kind, text)
    for (left, row), (_, text), kind in zip(placed, labels, kinds, strict=True):
        canvas.text(left + 3, 13 + 15 * row, text, "t bad" if kind == "limit" else "t")
    return canvas.svg()


def _alert_bar(canvas: Canvas, x: Scale, top: float, at: dict[str, float]) -> None:
    stretches = (
        ("condition true", "quiet", "quiet before"),
        ("pending", "waiting", "true, not yet pending"),
        ("firing", "pending", "pending: the rule's for"),
        ("at Alertmanager", "firing", "firing, not yet at Alertmanager"),
        ("resolved", "known", "at Alertmanager"),
    )
    before = x.low
    for end, kind, tip in stretches:
        if end in at and at[end] > before:
            canvas.bar(x(before), top, x(at[end]), top + 18, f"stage-{kind}", tip)
            before = at[end]
    if "resolved" in at:
        canvas.bar(x(at["resolved"]), top, x(x.high), top + 18, "stage-quiet", "quiet again")


def events(happened: Sequence[Event], start: float) -> Markup:
    """All events of the run on one line for each source."""
    sources = list(dict.fromkeys(event.source for event in happened))
    first, last = happened[0].at - start, happened[-1].at - start
    canvas = Canvas(26 * len(sources) + 40, "Events of the run")
    unit, size = ("minutes", 60.0) if last > 300 else ("seconds", 1.0)
    x = Scale(min(0.0, first) / size, nice_top(last) / size, LEFT, RIGHT)
    canvas.x_axis(x, 26 * len(sources) + 4, 4, f"{unit} since the run began")
    for row, source in enumerate(sources):
        y = 20 + 26 * row
        canvas.text(LEFT - 12, y + 4, source, "t strong", "end")
        own = [event for event in happened if event.source == source]
        every = max(1, len(own) // 150)
        for event in own[::every]:
            at = (event.at - start) / size
            tip = f"{number(at)} {unit}: {event.what} {event.subject}".strip()
            canvas.dot(x(at), y, f"dot source-{row % 5}", tip, 3.6)
    return canvas.svg()
