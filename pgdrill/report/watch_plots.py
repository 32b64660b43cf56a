"""A watch on one axis, and the time around each failover."""

from pathlib import Path

from markupsafe import Markup

from pgdrill.records import Watch, step
from pgdrill.report import plots
from pgdrill.report.attempts import answers
from pgdrill.report.plots import Mark

AROUND = 2.0  # seconds before and after the enlarged part, at least
MOST = 12  # failovers that are drawn enlarged


def course(watch: Watch) -> Markup:
    """Draw the whole watch: when each lane wrote, failovers, and the user's marks."""
    size, unit = (60.0, "minutes") if watch.ended - watch.began > 300 else (1.0, "seconds")
    outages = [
        (
            lane,
            [
                ((p.began - watch.began) / size, (p.ended - watch.began) / size)
                for p in watch.pauses
                if p.lane == lane
            ]
            + ([] if last is None else [((last - watch.began) / size, float("inf"))]),
        )
        for lane, last in _open(watch).items()
    ]
    span = (0.0, (watch.ended - watch.began) / size)
    label = f"{unit} since the watch began"
    return plots.observed(
        "The watch", span, _marks(watch, watch.began, size), [], {}, label, outages
    )


def close_ups(run: Path, watch: Watch) -> list[tuple[str, Markup]]:
    """Draw the time around each failover, or around the longest pause where none was seen."""
    looked_at = [
        (step(h.before, h.after).capitalize(), h.last, h.at) for h in watch.handovers[:MOST]
    ]
    if not looked_at and watch.pauses:
        worst = max(watch.pauses, key=lambda pause: pause.seconds)
        looked_at = [("The longest pause", worst.began, worst.ended)]
    found = []
    for name, begin, end in looked_at:
        around = max(AROUND, 0.5 * (end - begin))
        # A lane may come back later than the one that first had an ack of the new server.
        back = max([end, *(p.ended for p in watch.pauses if p.began < end <= p.ended)])
        span = (-around, back - begin + around)
        traces = [t for t in answers(run / watch.attempts_file, watch.lanes, begin, span) if t.at]
        if not traces:
            continue
        marks = [mark for mark in _marks(watch, begin, 1.0) if span[0] <= mark[0] <= span[1]]
        marks.insert(0, (0.0, "last acknowledged write", "fault"))
        gaps = {lane: _gap(watch, lane, begin, end) for lane in watch.lanes}
        label = "seconds after the last acknowledged write"
        found.append((name, plots.observed(name, span, sorted(marks), traces, gaps, label)))
    return found


def _open(watch: Watch) -> dict[str, float | None]:
    """Return the last ack of each lane whose latest pause had not ended with the watch."""
    return {
        name: lane.last_ack_before if lane.gap is None and lane.silence else None
        for name, lane in watch.lanes.items()
    }


def _marks(watch: Watch, zero: float, size: float) -> list[Mark]:
    marks: list[Mark] = [
        ((at - zero) / size, f"mark {number}", "heal") for number, at in enumerate(watch.marks, 1)
    ]
    marks += [
        ((h.at - zero) / size, f"{h.kind} {h.after.address}", "mark") for h in watch.handovers
    ]
    return sorted(marks) or [(0.0, "begin", "mark")]


def _gap(watch: Watch, lane: str, begin: float, end: float) -> float | None:
    """Return a lane's longest pause that touches a stretch of time, seconds."""
    touching = [
        p.seconds for p in watch.pauses if p.lane == lane and p.ended > begin and p.began < end
    ]
    return max(touching, default=None)
