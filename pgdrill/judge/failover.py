"""What a fault cost over all its trials, judged against what the catalogue promises."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

from pgdrill.faults.catalogue import FAULTS, TUNED, FaultSpec, Where
from pgdrill.judge.budgets import PROCESSORS, SCHEDULE_ERROR, processors_of
from pgdrill.judge.verdicts import Verdicts, worst
from pgdrill.records import About, Budget, Fingerprint, LaneResult, Trial, total, views
from pgdrill.rundir import Records

WRITE_GAP = "write-gap"  # the kind of the promise, as in `--budget`
STEADY = "steady-service"  # likewise
CLIENT_LANES = ("fresh", "held")  # through the load balancer: what a user would notice
INSIDE = "inside"  # after a lane's name: of a prober beside the database

STEADY_WINDOW = 5.0  # seconds in which 99 % of attempts are in time: 350 attempts
RECOVER = 120.0  # seconds to wait for recovery, at least
REDUNDANCY = total(
    "time to full redundancy",
    {"restart": 10, "pg_rewind, or a copy of one small member": 30, "stream": 10},
    margin=10,
)
LOST = Budget(
    name="acknowledged writes lost",
    limit=0,
    unit="rows",
    better="lower",
    because="synchronous replication: an acknowledged write is on two members",
)
PHANTOM = Budget(
    name="refused writes present",
    limit=0,
    unit="rows",
    better="lower",
    because="an error that precedes the commit must leave no row",
)
DUPLICATE = Budget(
    name="duplicate rows",
    limit=0,
    unit="rows",
    better="lower",
    because="no attempt is ever sent twice",
)
TORN = Budget(
    name="transactions that are there in part",
    limit=0,
    unit="transactions",
    better="lower",
    because="each attempt is one transaction of three rows in two tables: all of them, or none",
)
LOST_UPDATES = Budget(
    name="updates lost or made up",
    limit=0,
    unit="updates",
    better="lower",
    because="each attempt adds one to a counter: that is the number of its rows",
)
DISPLACED = Budget(
    name="appends out of place",
    limit=0,
    unit="appends",
    better="lower",
    because="each attempt adds its id to the end of a list: what was there before stays before it",
)
TWO_WRITERS = Budget(
    name="time with two writable members",
    limit=0,
    unit="s",
    better="lower",
    because="the old primary must stop before the new one accepts writes",
)
DIVERGED = Budget(
    name="members that differ",
    limit=0,
    unit="members",
    better="lower",
    because="after recovery every member holds the same rows",
)
NO_FAILOVER = Budget(
    name="trials without a failover",
    limit=0,
    unit="trials",
    better="lower",
    because="the primary was hit: without a new timeline the gap has another cause",
)
NEEDLESS_FAILOVER = Budget(
    name="trials with a needless failover",
    limit=0,
    unit="trials",
    better="lower",
    because="the primary can go on after this fault: no standby has to take its role",
)


@dataclass(frozen=True)
class FaultBudgets:
    """The promises of one fault: write gap (max of all trials, each lane), service, redundancy."""

    gap: Budget
    steady: Budget
    redundancy: Budget


def promised() -> list[Budget]:
    """Return every promise of a write gap, under any engine and timing."""
    return [spec.gap(where) for spec in FAULTS.values() for where in spec.cost]


def steadied() -> list[Budget]:
    """Return every promise of steady service, under any engine and timing."""
    return [steady(spec, where) for spec in FAULTS.values() for where in spec.cost]


def steady(spec: FaultSpec, where: Where, processors: int = PROCESSORS) -> Budget:
    """Return how long after a fault service may take until it is steady.

    That is when a window begins in which 99 % of attempts are acknowledged inside their SLO.
    processors: of the machine that nodes and clients share.
    """
    parts = {
        "write gap, at most": spec.gap(where).limit,
        "a session's next connection": 1,
        "attempts from within the gap, to their deadline": 2,
    }
    if where.platform in ("kind", "kube"):
        # On kind, two processors: 93 to 97 % in time in seconds 0, 1, 4 after a standby was lost.
        # Where the host takes time from those two, a lost standby was felt for 28 s, a primary that
        # is started again for 15 to 41 s after the gap.
        crowded = processors < PROCESSORS
        parts["a pod that starts on the same processors"] = 30 if crowded else 5
    return total(
        "time to steady service",
        parts,
        key=f"{spec.name}.{STEADY}",
        margin=2,
        why="a member that comes back shares the processors",
    )


def longest_gap(where: Where) -> float:
    """Return the longest write gap that any fault is allowed there, seconds."""
    return max(spec.gap(where).limit for spec in FAULTS.values() if where in spec.cost)


def other_timing(timing: str) -> str:
    """Return the name of settings that are compared with the suite's own; '' for its own."""
    return "" if timing == TUNED else timing


def patience(where: Where) -> float:
    """Return how long to wait for recovery, seconds: long enough to measure a broken promise."""
    return max(RECOVER, 1.5 * longest_gap(where))


def budgets(where: Where, spec: FaultSpec, processors: int = PROCESSORS) -> FaultBudgets:
    """Return the promises of a fault on a machine with so many processors.

    Raises:
        KeyError: nothing is promised there: a fault without budgets proves nothing.
    """
    gap = spec.gap(where)
    late = spec.returns_late or gap.limit > REDUNDANCY.limit
    redundancy = _after(gap, spec.lasts) if late else REDUNDANCY
    return FaultBudgets(gap, steady(spec, where, processors), redundancy)


def _after(gap: Budget, lasts: float) -> Budget:
    """Return redundancy's promise if the old primary rejoins only after write gap and fault."""
    first = "the fault lasts" if lasts > gap.limit else "write gap, at most"
    terms = {t.name: t.seconds for t in REDUNDANCY.terms}
    margin = terms.pop("margin")
    parts = {first: max(gap.limit, lasts), **terms}
    return total(REDUNDANCY.name, parts, margin=margin)


def drilled(records: Records) -> list[tuple[FaultSpec, Where, list[Trial]]]:
    """Return a run's faults with their trials; controls and faults without promises are left out.

    A run from before the edition was recorded has the operator's version among its versions.
    """
    where = records.one(Fingerprint)
    if where is None:
        return []
    operator = where.versions.get("cloudnative-pg")
    edition = where.edition or (f"{where.engine} {operator}" if operator else where.engine)
    found: dict[tuple[str, Where], list[Trial]] = {}
    for trial in records.all(Trial):
        spec, here = FAULTS.get(trial.experiment), Where(where.platform, edition, trial.tuning)
        if spec and here in spec.cost and not trial.control and trial.verified:
            found.setdefault((spec.name, here), []).append(trial)
    return [(FAULTS[name], here, trials) for (name, here), trials in found.items()]


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge the trials of every fault again."""
    for spec, where, trials in drilled(records):
        judge(trials, spec, where, verdicts, processors_of(records.one(Fingerprint)))


def judge(
    trials: Sequence[Trial],
    spec: FaultSpec,
    where: Where,
    verdicts: Verdicts,
    processors: int = PROCESSORS,
) -> None:
    """Judge the worst of all trials; a lane without acks before and after is no evidence."""
    promised = budgets(where, spec, processors)
    name = trials[0].experiment
    subject, about = named(name, where), About(fault=name, timing=where.timing)
    with verdicts.together():
        for lane in CLIENT_LANES:
            seen = [trial.lanes[lane] for trial in trials]
            gaps = [_gap(one, promised.gap) for one in seen]
            note = _spread(gaps) or ("the gap had not ended" if gaps[0] and not seen[0].gap else "")
            on = about.model_copy(update={"lane": lane})
            verdicts.check(promised.gap, worst(gaps), f"{subject}, {lane}", note, on)
            # Where the way in is short, no client may wait longer.
            beside = [_gap(t.inside.lanes[lane], promised.gap) for t in trials if t.inside]
            if beside:
                inside, note = f"{lane} {INSIDE}", _spread(beside)
                on = about.model_copy(update={"lane": inside})
                verdicts.check(promised.gap, worst(beside), f"{subject}, {inside}", note, on)
        _steady(trials, promised.steady, verdicts, subject, about)
        times = [math.inf if t.redundancy is None else t.redundancy for t in trials]
        never = f"not within {patience(where):.0f} s" if math.inf in times else ""
        verdicts.check(promised.redundancy, worst(times), subject, never, about)
        fate = spec.fate(where)
        if fate != "either":
            budget, wrong, passed = _timelines(trials, must_move=fate == "moves")
            verdicts.check(budget, wrong, subject, passed, about)
        seen_by_all = [view for trial in trials for view in views(trial)]
        acked = sum(view.ledger.acked for view in seen_by_all)
        written = all(view.ledger.acked for view in seen_by_all)
        # Not judged if no member could be read directly; the platform reports that before.
        direct = any(t.members or t.lanes.keys() - set(CLIENT_LANES) for t in trials)
        for budget, counts in (
            (LOST, [v.ledger.acked_lost for v in seen_by_all]),
            (PHANTOM, [v.ledger.refused_present for v in seen_by_all]),
            (DUPLICATE, [v.ledger.duplicate for v in seen_by_all]),
            (DIVERGED, [len(t.diverged) for t in trials] if direct else []),
            # Older runs wrote one row each.
            (TORN, [v.torn for v in seen_by_all if v.torn is not None]),
            (LOST_UPDATES, [v.lost_updates for v in seen_by_all if v.lost_updates is not None]),
            (DISPLACED, [v.displaced for v in seen_by_all if v.displaced is not None]),
        ):
            if counts:
                # Without an acknowledged write, a count of zero proves nothing; a greater one does.
                rows = sum(counts) if written or any(counts) else None
                verdicts.check(budget, rows, subject, f"of {acked} acked", about)
        if direct:
            _two_writers(trials, verdicts, subject, about)
        late = worst([t.schedule_error_p99_ms for t in trials])
        verdicts.check(SCHEDULE_ERROR, late, subject, about=about)


def _steady(
    trials: Sequence[Trial], promised: Budget, verdicts: Verdicts, subject: str, about: About
) -> None:
    """Judge the latest return to steady service; trials of older runs did not measure it."""
    found = [(trial.steady, trial.service) for trial in trials if trial.service]
    if not found:
        return
    times = [
        (math.inf if at is None else at) if any(s is not None for s in service.shares) else None
        for at, service in found
    ]
    latest = worst(times)
    # The trial that decides: the first without evidence, else the slowest.
    _, service = found[times.index(latest)]
    shares = [share for share in service.shares if share is not None]
    note = ""
    if shares:
        never = f"not within {len(service.shares)} s, " if latest == math.inf else ""
        note = f"{never}{min(shares):.0f} % in time in its worst second"
    verdicts.check(promised, latest, subject, note, about)


def _two_writers(trials: Sequence[Trial], verdicts: Verdicts, subject: str, about: About) -> None:
    """Judge the longest overlap; the note has how long one may last without being detected.

    A trial in which no direct lane had an ack is no evidence; an overlap always counts.
    """
    seen = max(view.two_writers for trial in trials for view in views(trial))
    unseen = worst([t.unseen_overlap for t in trials])
    note = "" if unseen is None else f"an overlap below {unseen:.2f} s may not be detected"
    evident = seen or all(
        t.ledger.acked and sum(r.acked for name, r in t.lanes.items() if name not in CLIENT_LANES)
        for t in trials
    )
    verdicts.check(TWO_WRITERS, seen if evident else None, subject, note, about)


def _timelines(trials: Sequence[Trial], *, must_move: bool) -> tuple[Budget, int | None, str]:
    """Return the budget of the timeline, how many trials break it, and the timelines.

    A timeline that could not be read (0) is no evidence.
    """
    unknown = [t for t in trials if not (t.timeline_before and t.timeline_after)]
    moved = sum(t.timeline_after > t.timeline_before for t in trials)
    budget, wrong = (NO_FAILOVER, len(trials) - moved) if must_move else (NEEDLESS_FAILOVER, moved)
    seen = ", ".join(f"{t.timeline_before} to {t.timeline_after}" for t in trials)
    return budget, None if unknown else wrong, f"timelines {seen}"


def _gap(lane: LaneResult, promised: Budget) -> float | None:
    """Return a lane's write gap; an open one counts once it has broken its promise."""
    if lane.gap is None and lane.silence is not None and not promised.allows(lane.silence):
        return lane.silence
    return lane.gap


def named(name: str, where: Where) -> str:
    """Name a fault, and the failover settings where they are not the suite's own."""
    other = other_timing(where.timing)
    return f"{name} on {other} timing" if other else name


def _spread(gaps: Sequence[float | None]) -> str:
    seen = sorted(gap for gap in gaps if gap is not None)
    if len(seen) < 2:
        return ""
    return f"min {seen[0]:.2f}, p50 {median_low(seen):.2f} of {len(seen)} trials"
