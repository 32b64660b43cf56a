"""Faults: how long clients could not write, and the fate of every write."""

from statistics import median_low

from pgdrill.judge import failover, recheck
from pgdrill.judge.alerting import UNNOTICED
from pgdrill.judge.budgets import WEAK_SETTINGS
from pgdrill.records import Kept, Trial, views
from pgdrill.report import plots
from pgdrill.report.attempts import traces
from pgdrill.report.number_format import at_most, count, number, seconds
from pgdrill.report.pages import render
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.report.tables import table
from pgdrill.report.tiles import Tile, state_of, unmeasured
from pgdrill.report.trials import (
    Group,
    LaneGaps,
    all_trials,
    compared,
    coverage,
    drilled_ledger,
    drills,
    groups,
    own_drills,
    proven,
    proven_acks,
    worst_fresh,
)

WORST = 3  # faults that the first screen names


def _failover(m: RunData) -> str:
    return render(
        "failover.html.j2",
        m=m,
        groups=groups(m),
        compared=compared(m),
        plots=plots,
        coverage=coverage,
        traces=traces,
    )


def _ledger(m: RunData) -> str:
    return render(
        "ledger.html.j2",
        groups=groups(m),
        drills=drills(m),
        drilled=drilled_ledger(m),
        coverage=coverage,
    )


def _tiles(m: RunData) -> tuple[Tile, Tile]:
    return _gap_tile(m), _loss_tile(m)


def _gap_tile(m: RunData) -> Tile:
    known = [(lane.values[-1], g, lane) for g in own_drills(m) for lane in g.lanes if lane.gaps]
    if not known:
        return unmeasured("longest write gap")
    gap, group, lane = max(known, key=lambda found: found[0])
    unknown = sum(lane.unknown for g in own_drills(m) for lane in g.lanes)
    more = f"; {unknown} undecided" if unknown else ""
    detail = f"{group.experiment}, {lane.lane} connection, {count(len(lane.gaps), 'trial')}{more}"
    return Tile("longest write gap", seconds(gap), detail, state_of(m, failover.WRITE_GAP))


def _loss_tile(m: RunData) -> Tile:
    ledger, trials = drilled_ledger(m), proven(m)
    if not proven_acks(m) and not ledger.acked_lost:
        return unmeasured("acknowledged writes lost")
    lost = "broken" if ledger.acked_lost else state_of(m, failover.LOST.kind)
    detail = f"of {proven_acks(m):,} acknowledged in {count(len(trials), 'trial')}"
    return Tile("acknowledged writes lost", f"{ledger.acked_lost:,}", detail, lost)


def _claims(m: RunData) -> list[str]:
    said = []
    worst = worst_fresh(m)
    if worst:
        group, lane = worst
        said.append(
            f"new connections went without an acknowledged write for at most"
            f" {at_most(lane.values[-1])} ({group.experiment})"
        )
    if proven_acks(m) and not drilled_ledger(m).acked_lost:
        said.append(
            f"no acknowledged write was lost in {count(len(proven(m)), 'trial')}"
            f" ({proven_acks(m):,} acknowledged)"
        )
    return said


def _done(m: RunData) -> list[str]:
    trials = all_trials(m)
    if not trials:
        return []
    names = ", ".join(dict.fromkeys(trial.experiment for trial in trials))
    real = sum(trial.verified for trial in trials)
    return [f"{count(len(trials), 'fault')} injected ({names}), {real} of them proven by evidence."]


def _answers(m: RunData) -> list[tuple[str, list[str]]]:
    return [("Would users notice?", _noticed(m)), ("Was anything lost?", _lost(m))]


def _noticed(m: RunData) -> list[str]:
    """Name the faults that cost the most, and bound the others."""
    costs = sorted(
        (
            (max(lane.values[-1] for lane in group.lanes if lane.gaps), group)
            for group in drills(m)
            if any(lane.gaps for lane in group.lanes)
        ),
        key=lambda cost: -cost[0],
    )
    said = []
    for _, group in costs[:WORST]:
        each = [
            f"{at_most(lane.values[-1])} on {lane.lane}"
            + (f" (and {count(lane.unknown, 'trial')} undecided)" if lane.unknown else "")
            for lane in group.lanes
            if lane.gaps
        ]
        tuning = f" ({group.tuning})" if group.tuning else ""
        said.append(f"{group.experiment}{tuning}: no write for {', '.join(each)} connections.")
    others = costs[WORST:]
    if others:
        said.append(f"{count(len(others), 'more fault')}: at most {at_most(others[0][0])}.")
    return said


def _lost(m: RunData) -> list[str]:
    trials = all_trials(m)
    ledger = drilled_ledger(m)
    if not trials:
        return []
    if not proven_acks(m) and not ledger.acked_lost:
        return ["Unknown: no write was acknowledged around a fault with evidence."]
    overlap = max(view.two_writers for trial in trials for view in views(trial))
    if overlap:
        two = f"Two members acknowledged writes at the same time for {seconds(overlap)}."
    elif all(trial.wrote_straight for trial in trials):
        two = "No two members ever acknowledged writes at the same time."
    else:
        two = "Not judged: two members that both accept writes; no address leads to each one."
    return [
        f"{number(ledger.acked_lost)} of {proven_acks(m):,} acknowledged writes.",
        f"{ledger.refused_present:,} refused writes present, {ledger.duplicate:,} duplicate rows.",
        two,
    ]


def _tables(m: RunData) -> list[str]:
    return [_gap_table(m), _ledger_table(m)]


def _gap_table(m: RunData) -> str:
    rows = []
    for group in drills(m):
        for lane in group.every_lane:
            values = lane.values
            shown = [values[0], median_low(values), values[-1]] if values else [None] * 3
            limit = "-" if lane.limit is None else f"≤ {number(lane.limit)} s"
            rows.append(
                [group.experiment, group.tuning, lane.lane, f"{len(values)}/{len(group.trials)}"]
                + [seconds(value) for value in shown]
                + [limit, f"{coverage(len(values))} %" if lane.longest is not None else "-"]
            )
    heads = ["write gap", "tuning", "lane", "trials", "min", "p50", "max", "promised", "covers*"]
    note = "\\* of such failovers at least this share stays below the maximum, 95 % confident."
    return table(heads, rows, 3) + f"\n\n{note}" if rows else ""


def _ledger_table(m: RunData) -> str:
    found = drills(m)
    if not found:
        return ""
    sums = drilled_ledger(m)
    heads = ["ledger", "acked", "acked-lost", "no answer", "refused", "phantom", "duplicate"]
    values = (
        sums.acked,
        sums.acked_lost,
        sums.indeterminate_present + sums.indeterminate_absent,
        sums.refused_absent + sums.refused_present,
        sums.refused_present,
        sums.duplicate,
    )
    trials = sum(len(group.trials) for group in found)
    return table(heads, [[f"writes in {trials} trials", *(f"{value:,}" for value in values)]])


def _lines(m: RunData) -> list[str]:
    gaps = [_gap_line(group, lane) for group in groups(m) for lane in group.every_lane]
    if not drills(m):
        return gaps
    ledger = drilled_ledger(m)
    return [
        *gaps,
        f"ledger: acked {ledger.acked:,}, acked-lost {ledger.acked_lost:,},"
        f" phantom {ledger.refused_present:,}, duplicate {ledger.duplicate:,}",
    ]


def _gap_line(group: Group, lane: LaneGaps) -> str:
    name = f"write gap {group.experiment} {group.tuning} {lane.lane}".replace("  ", " ")
    control = " (control)" if group.is_control else ""
    if not lane.gaps:
        return f"{name}{control}: no evidence in {count(len(group.trials), 'trial')}"
    values = lane.values
    unknown = f", {lane.unknown} undecided" if lane.unknown else ""
    budget = "" if lane.limit is None else f", budget <= {number(lane.limit)} s"
    return (
        f"{name}{control}: min {seconds(values[0])}, p50 {seconds(median_low(values))},"
        f" max {seconds(values[-1])} ({count(len(values), 'trial')}{unknown}{budget})"
        f"{_way_in(group, lane)}"
    )


def _way_in(group: Group, lane: LaneGaps) -> str:
    """Return what the way from this machine adds to a gap inside; '' for other lanes."""
    longer = group.way_in(lane)
    if longer is None:
        return ""
    sign = "-" if longer < 0 else "+"
    return f"; the way in: p50 {sign}{seconds(abs(longer))}"


SUITE = Suite(
    name="chaos",
    order=50,
    marker="faults, failover time and the ledger of writes",
    records=(Trial, Kept),
    judges=(failover.rejudge, recheck.rejudge),
    place=10,
    questions=(
        Question(
            "How long did writes fail?",
            (
                failover.WRITE_GAP,
                failover.NO_FAILOVER.kind,
                failover.NEEDLESS_FAILOVER.kind,
                UNNOTICED.kind,
            ),
        ),
        Question(
            "Is anything lost?",
            (
                failover.LOST.kind,
                failover.PHANTOM.kind,
                failover.DUPLICATE.kind,
                failover.TORN.kind,
                failover.LOST_UPDATES.kind,
                failover.DISPLACED.kind,
                failover.DIVERGED.kind,
                recheck.LOST_LATER.kind,
                recheck.OLD_ROWS.kind,
                WEAK_SETTINGS.kind,
            ),
        ),
        Question("When is service steady again?", (failover.STEADY,)),
        Question("Can two members accept writes at once?", (failover.TWO_WRITERS.kind,)),
        Question("How long until it is fully redundant again?", (failover.REDUNDANCY.kind,)),
    ),
    sections=(
        Section("failover", "Failover", _failover),
        Section("ledger", "Ledger", _ledger),
    ),
    tiles=_tiles,
    claims=_claims,
    done=_done,
    answers=_answers,
    tables=_tables,
    lines=_lines,
)
