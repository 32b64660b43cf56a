"""The records of one run as the report needs them: read once, grouped, nothing invented."""

from dataclasses import dataclass
from pathlib import Path

from pgdrill.dashboards.panels import Snapshot
from pgdrill.errors import BadUsageError
from pgdrill.judge.alerting import PAGED
from pgdrill.judge.budgets import BAD_TRANSACTIONS, P99
from pgdrill.judge.failover import WRITE_GAP
from pgdrill.records import (
    AlertLife,
    Bench,
    Budget,
    Clock,
    Collected,
    Detection,
    Event,
    Fingerprint,
    LedgerCount,
    MachineSecond,
    Rebuild,
    Recovery,
    RunEnd,
    Scaling,
    Seed,
    SloComparison,
    TestEnd,
    Trial,
    Verdict,
    WaitLook,
    Watch,
)
from pgdrill.report import legacy
from pgdrill.report.results import PytestResult, read_results
from pgdrill.rundir import Records, RunDir, first_lines

CONFIDENCE = 0.95
ORDER = {"broken": 0, "invalid": 1, "met": 2}


def coverage(trials: int) -> int:
    """Percent of all such events that stay below the largest of so many trials, 95 % confident.

    Wilks: if a share p of events stays below X, then k independent trials all stay below X with
    probability p^k; the smallest p not rejected at 5 % is 0.05^(1/k). Rounded down.
    """
    return int(100 * (1 - CONFIDENCE) ** (1 / trials)) if trials else 0


@dataclass(frozen=True)
class LaneGaps:
    """The write gaps of one lane over the verified trials of an experiment, seconds."""

    lane: str
    gaps: tuple[tuple[int, float], ...]  # trial number, gap
    unknown: int  # trials with too few acks to say
    limit: float | None

    @property
    def values(self) -> list[float]:
        """The gaps, shortest first."""
        return sorted(gap for _, gap in self.gaps)

    @property
    def longest(self) -> float | None:
        """The longest gap; None when a trial could not say, or there was none."""
        return max(self.values) if self.gaps and not self.unknown else None


@dataclass(frozen=True)
class Group:
    """All trials of one experiment under one tuning."""

    experiment: str
    fault: str
    tuning: str
    trials: tuple[Trial, ...]
    lanes: tuple[LaneGaps, ...]

    @property
    def verified(self) -> tuple[Trial, ...]:
        """The trials whose fault left evidence; no other counts."""
        return tuple(trial for trial in self.trials if trial.verified)

    @property
    def is_control(self) -> bool:
        """Whether this set-up is deliberately bad."""
        return all(trial.control for trial in self.trials)

    @property
    def worst_first(self) -> list[Trial]:
        """Trials, the one that clients noticed longest first."""

        def longest(trial: Trial) -> float:
            gaps = [result.gap for lane, result in trial.lanes.items() if is_routed(lane)]
            return max((float("inf") if gap is None else gap for gap in gaps), default=0.0)

        return sorted(self.trials, key=longest, reverse=True)

    def ledger(self) -> LedgerCount:
        """The ledger's classes, summed over all trials."""
        return total([trial.ledger for trial in self.trials])


@dataclass(frozen=True)
class Material:
    """Everything one run wrote down, and which of its files could not be read whole."""

    path: Path
    start: float
    wall: str
    fingerprint: Fingerprint | None
    verdicts: tuple[Verdict, ...]
    events: tuple[Event, ...]
    alerts: tuple[AlertLife, ...]
    scalings: tuple[Scaling, ...]
    recoveries: tuple[Recovery, ...]
    rebuilds: tuple[Rebuild, ...]
    detections: tuple[Detection, ...]
    watch: Watch | None
    seed: Seed | None
    bench: Bench | None
    machine: tuple[MachineSecond, ...]
    waits: tuple[WaitLook, ...]
    snapshots: tuple[Snapshot, ...]
    slos: tuple[SloComparison, ...]
    groups: tuple[Group, ...]
    results: tuple[PytestResult, ...]
    collected: Collected | None  # None: a run of before this was written down
    ended: RunEnd | None
    complaints: tuple[str, ...]

    @property
    def promises(self) -> list[Verdict]:
        """Verdicts that should be met: broken first, then those without evidence."""
        wanted = [verdict for verdict in self.verdicts if verdict.expected == "met"]
        return sorted(wanted, key=lambda verdict: ORDER[verdict.outcome])

    @property
    def controls(self) -> list[Verdict]:
        """Verdicts of set-ups that must not be met; the wrong ones first."""
        wanted = [verdict for verdict in self.verdicts if verdict.expected != "met"]
        return sorted(wanted, key=lambda verdict: verdict.outcome == verdict.expected)

    @property
    def unjudged(self) -> list[str]:
        """Tests that failed without a verdict that says why: they crashed before they judged."""
        told = {v.test for v in self.verdicts if v.outcome != v.expected}
        return sorted({result.test for result in self.results if result.is_bad} - told)

    @property
    def skipped(self) -> list[str]:
        """Tests that this platform could not run."""
        return sorted({result.test for result in self.results if result.outcome == "skipped"})

    @property
    def unended(self) -> list[str]:
        """Tests that were to be run and have no outcome, for the run was cut off before."""
        if self.collected is None:
            return []
        ended = {result.test for result in self.results}
        return [test for test in self.collected.tests if test not in ended]

    @property
    def cut_off(self) -> str:
        """What cut the run off, '' where nothing did."""
        if self.collected is None or (self.ended and not self.ended.reason and not self.unended):
            return ""
        return (self.ended.reason if self.ended else "killed") or "ended early"

    @property
    def drills(self) -> list[Group]:
        """Groups that say something about the cluster, so not the controls."""
        return [group for group in self.groups if not group.is_control]

    @property
    def own_drills(self) -> list[Group]:
        """Those under the fail-over settings that the run was asked for; others are compared."""
        asked = self.fingerprint.settings.get("timing") if self.fingerprint else None
        return [group for group in self.drills if group.tuning == asked] or self.drills

    @property
    def compared(self) -> list[list[Group]]:
        """Groups of one experiment under different fail-over settings, where there are several."""
        names = dict.fromkeys(group.experiment for group in self.drills)
        same = [[g for g in self.drills if g.experiment == name] for name in names]
        return [groups for groups in same if len(groups) > 1]

    @property
    def budget_p99(self) -> Budget | None:
        """The promise about the 99th percentile of transactions, in ms."""
        return next((v.budget for v in self.promises if v.budget.kind == P99.kind), None)

    @property
    def objectives(self) -> list[Verdict]:
        """What was promised of the load: its p99, and the share that was bad."""
        kinds = (P99.kind, BAD_TRANSACTIONS.kind)
        return [v for v in self.promises if v.budget.kind in kinds]

    def page_limit(self, alert: str) -> float | None:
        """Limit of the promise about the time from an alert's condition to its page, seconds."""
        about = [v.budget for v in self.promises if v.about.alert == alert]
        return next((b.limit for b in about if b.kind == PAGED), None)


def read_run(path: Path) -> Material:
    """Read a run directory; a damaged file becomes a complaint that the report shows on top.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    run = RunDir(path)
    if not run.file(Clock).is_file():
        raise BadUsageError(f"{path} is no run directory (no clock.json): give a path in reports/")
    records = Records(run)
    ends = records.all(TestEnd)
    results = tuple(PytestResult(end.test, end.outcome, end.reason) for end in ends)
    try:
        results = results or read_results(run.report)  # a run of before they were written down
    except (ValueError, KeyError) as error:
        records.complaints.append(f"{run.report}: {first_lines(error)}")
    clock = records.one(Clock)
    if clock and clock.version < 2:
        trials, lives = records.all(Trial), records.all(AlertLife)
        records.replace(Verdict, legacy.with_facts(records.all(Verdict), trials, lives))
        records.replace(Trial, legacy.with_controls(trials))
    verdicts = records.all(Verdict)
    return Material(
        path=path,
        start=clock.monotonic if clock else 0.0,
        wall=clock.wall if clock else "",
        fingerprint=records.one(Fingerprint),
        verdicts=verdicts,
        events=tuple(sorted(records.all(Event), key=lambda event: event.at)),
        alerts=records.all(AlertLife),
        scalings=records.all(Scaling),
        recoveries=records.all(Recovery),
        rebuilds=records.all(Rebuild),
        detections=records.all(Detection),
        watch=records.one(Watch),
        seed=records.one(Seed),
        bench=records.one(Bench),
        machine=records.all(MachineSecond),
        waits=records.all(WaitLook),
        snapshots=records.all(Snapshot),
        slos=records.all(SloComparison),
        groups=_groups(records.all(Trial), verdicts),
        results=results,
        collected=records.one(Collected),
        ended=records.one(RunEnd),
        complaints=tuple(records.complaints),
    )


def is_routed(lane: str) -> bool:
    """Whether a lane takes the load balancer's way, as users do.

    A direct one (fresh@pg-1) may well ask a standby, and is there to catch two writers.
    """
    return "@" not in lane


def total(counts: list[LedgerCount]) -> LedgerCount:
    """Sum ledgers class by class."""
    return LedgerCount(
        **{name: sum(getattr(count, name) for count in counts) for name in LedgerCount.model_fields}
    )


def _groups(trials: tuple[Trial, ...], verdicts: tuple[Verdict, ...]) -> tuple[Group, ...]:
    keys = dict.fromkeys((t.experiment, t.fault, t.tuning) for t in trials)
    made = [
        _group(*key, tuple(t for t in trials if (t.experiment, t.fault, t.tuning) == key), verdicts)
        for key in keys
    ]
    return tuple(sorted(made, key=lambda group: group.is_control))


def _group(
    experiment: str,
    fault: str,
    tuning: str,
    trials: tuple[Trial, ...],
    verdicts: tuple[Verdict, ...],
) -> Group:
    real = [trial for trial in trials if trial.verified]
    lanes = []
    for lane in dict.fromkeys(lane for trial in trials for lane in trial.lanes if is_routed(lane)):
        seen = [(t.number, t.lanes[lane].gap) for t in real if lane in t.lanes]
        lanes.append(
            LaneGaps(
                lane=lane,
                gaps=tuple((number, gap) for number, gap in seen if gap is not None),
                unknown=sum(gap is None for _, gap in seen),
                limit=_gap_limit(verdicts, experiment, tuning, lane),
            )
        )
    return Group(experiment, fault, tuning, trials, tuple(lanes))


def _gap_limit(
    verdicts: tuple[Verdict, ...], experiment: str, tuning: str, lane: str
) -> float | None:
    """Limit of the verdict about this experiment's gap in this lane, under these settings."""
    for verdict in verdicts:
        about = verdict.about
        same = (about.fault, about.timing) == (experiment, tuning)
        # One that names no lane is about each.
        if same and verdict.budget.kind == WRITE_GAP and about.lane in ("", lane):
            return verdict.budget.limit
    return None
