"""A watch in words, for page and terminal."""

from collections import Counter

from pgdrill.records import Handover, LaneResult, Reads, Watch, step
from pgdrill.report.number_format import at_most, count, number, seconds


def acked(watch: Watch) -> int:
    """Count the writes that were acknowledged."""
    return sum(lane.acked for lane in watch.lanes.values())


def gap(lane: LaneResult) -> str:
    """Return the longest gap of a lane, marked where it was still open when the watch ended."""
    if lane.gap is None and lane.silence is not None:
        return f"at least {seconds(lane.silence)}, not over"
    return "not known" if lane.gap is None else seconds(lane.gap)


def longest(watch: Watch) -> str:
    """Return the longest gap of all lanes."""
    worst = max(watch.lanes.values(), key=lambda lane: lane.gap or lane.silence or 0)
    return gap(worst)


def kinds(watch: Watch) -> str:
    """Count handovers by kind."""
    found = Counter(one.kind for one in watch.handovers)
    return ", ".join(count(n, kind) for kind, n in sorted(found.items())) or "no failover"


def cost(one: Handover) -> str:
    """Return a handover's gap in each lane, and its lost rows."""
    gaps = ", ".join(
        f"{lane} {'not over' if value is None else seconds(value)}"
        for lane, value in one.gaps.items()
    )
    return f"no write for {gaps}; acked-lost {number(one.lost)}"


def claims(watch: Watch) -> list[str]:
    """Return what a watch proves where its promises were kept."""
    gaps = [lane.gap for lane in watch.lanes.values() if lane.gap is not None]
    return [
        f"no acknowledged write was lost ({acked(watch):,} acknowledged; {kinds(watch)})",
        *(
            [f"clients went without an acknowledged write for at most {at_most(max(gaps))}"]
            if len(gaps) == len(watch.lanes)
            else []
        ),
    ]


def answers(watch: Watch) -> list[tuple[str, list[str]]]:
    """Answer the questions of the first screen."""
    ledger = watch.ledger
    lost = (
        [f"Unknown: {watch.unread}."]
        if ledger is None
        else [
            f"{ledger.acked_lost:,} of {acked(watch):,} acknowledged writes"
            + (f", {watch.lost_alone:,} of them with no failover." if watch.lost_alone else "."),
            f"{ledger.refused_present:,} refused writes present,"
            f" {ledger.duplicate:,} duplicate rows.",
        ]
    )
    return [
        (
            "What was done",
            [
                f"{number(watch.rate)} writes a second for {seconds(watch.ended - watch.began)}"
                f" into {watch.target} (PostgreSQL {watch.server}), ended by {watch.reason}."
            ],
        ),
        (
            "Would users notice?",
            [f"{name} connections: longest gap {gap(lane)}." for name, lane in watch.lanes.items()],
        ),
        ("Was anything lost?", lost),
        ("How old were reads?", [_reads(watch.reads)] if watch.reads else []),
    ]


def _reads(reads: Reads) -> str:
    bound = (
        "how far they were behind is not known"
        if reads.most_ms is None
        else f"behind by at most {number(reads.p50_ms)} ms (p50), {number(reads.p99_ms)} ms (p99),"
        f" {number(reads.most_ms)} ms (worst)"
    )
    return (
        f"{count(reads.answered, 'read')} through {reads.target}, {reads.failed:,} not answered:"
        f" {bound}."
    )


def lines(watch: Watch) -> list[str]:
    """Return the last lines on the terminal."""
    ledger = watch.ledger
    return [
        *(
            f"{name}: acked {lane.acked:,} of {lane.attempts:,}, refused {lane.refused:,},"
            f" no answer {lane.indeterminate:,}; p50 {number(lane.p50_ms)} ms,"
            f" p99 {number(lane.p99_ms)} ms; longest gap {gap(lane)}"
            for name, lane in watch.lanes.items()
        ),
        *(
            f"+{one.at - watch.began:.1f} s: {step(one.before, one.after)}: {cost(one)}"
            for one in watch.handovers
        ),
        *(
            [watch.unread]
            if ledger is None
            else [
                f"ledger: acked {ledger.acked:,}, acked-lost {ledger.acked_lost:,}"
                f"{f' ({watch.lost_alone:,} with no failover)' if watch.lost_alone else ''},"
                f" refused-present {ledger.refused_present:,}, duplicate {ledger.duplicate:,},"
                f" no answer and present {ledger.indeterminate_present:,}"
            ]
        ),
        *([f"reads: {_reads(watch.reads)}"] if watch.reads else []),
    ]
