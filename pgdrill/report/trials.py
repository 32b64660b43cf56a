"""Summaries of the trials of a run, for page, terminal and tables."""

from dataclasses import dataclass
from statistics import median_low

from pgdrill.judge.failover import INSIDE, WRITE_GAP
from pgdrill.records import LaneResult, LedgerCount, Trial, Verdict, is_routed, views
from pgdrill.report.run_data import RunData

CONFIDENCE = 0.95


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
    unknown: int  # trials with too few acks for a gap
    limit: float | None

    @property
    def values(self) -> list[float]:
        """The gaps, shortest first."""
        return sorted(gap for _, gap in self.gaps)

    @property
    def longest(self) -> float | None:
        """The longest gap; None when it is unknown in a trial, or there was none."""
        return max(self.values) if self.gaps and not self.unknown else None


@dataclass(frozen=True)
class Group:
    """All trials of one experiment under one tuning."""

    experiment: str
    fault: str
    tuning: str
    trials: tuple[Trial, ...]
    lanes: tuple[LaneGaps, ...]
    inside: tuple[LaneGaps, ...] = ()  # of the prober beside the database, where one ran

    @property
    def every_lane(self) -> tuple[LaneGaps, ...]:
        """Those of this machine's clients, then those inside."""
        return (*self.lanes, *self.inside)

    def way_in(self, lane: LaneGaps) -> float | None:
        """Return how much longer a lane's gap is on this machine than inside, median of trials.

        None: no trial has both, or the lane is not one inside.
        """
        outside = next((dict(o.gaps) for o in self.lanes if f"{o.lane} {INSIDE}" == lane.lane), {})
        longer = [outside[number] - gap for number, gap in lane.gaps if number in outside]
        return median_low(longer) if longer else None

    @property
    def verified(self) -> tuple[Trial, ...]:
        """The trials with evidence of their fault; no other counts."""
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
        return total([view.ledger for trial in self.trials for view in views(trial)])


def groups(m: RunData) -> tuple[Group, ...]:
    """Return all trials by experiment and failover settings, controls last."""
    trials, verdicts = m.all(Trial), m.verdicts
    keys = dict.fromkeys((t.experiment, t.fault, t.tuning) for t in trials)
    made = [
        _group(*key, tuple(t for t in trials if (t.experiment, t.fault, t.tuning) == key), verdicts)
        for key in keys
    ]
    return tuple(sorted(made, key=lambda group: group.is_control))


def drills(m: RunData) -> list[Group]:
    """Return the groups that are results about the cluster, so not the controls."""
    return [group for group in groups(m) if not group.is_control]


def own_drills(m: RunData) -> list[Group]:
    """Return those under the failover settings of the run; others are compared."""
    asked = m.fingerprint.settings.get("timing") if m.fingerprint else None
    return [group for group in drills(m) if group.tuning == asked] or drills(m)


def compared(m: RunData) -> list[list[Group]]:
    """Return groups of one experiment under different settings, where there are several."""
    found = drills(m)
    names = dict.fromkeys(group.experiment for group in found)
    same = [[g for g in found if g.experiment == name] for name in names]
    return [groups for groups in same if len(groups) > 1]


def worst_fresh(m: RunData) -> tuple[Group, LaneGaps] | None:
    """Return the fault with the longest fresh gap; None unless every verified trial has one."""
    lanes = [(g, lane) for g in own_drills(m) for lane in g.lanes if lane.lane.startswith("fresh")]
    known = [(g, lane) for g, lane in lanes if lane.gaps]
    if not known or any(lane.unknown for _, lane in lanes):
        return None
    return max(known, key=lambda pair: pair[1].values[-1])


def drilled_ledger(m: RunData) -> LedgerCount:
    """Sum the ledger over all trials that are no controls."""
    return total([group.ledger() for group in drills(m)])


def proven(m: RunData) -> list[Trial]:
    """Return the trials that count: no control, and the fault left evidence."""
    return [trial for group in drills(m) for trial in group.verified]


def proven_acks(m: RunData) -> int:
    """Count acknowledged writes of the trials that count as evidence of loss or of none."""
    return total([view.ledger for trial in proven(m) for view in views(trial)]).acked


def all_trials(m: RunData) -> list[Trial]:
    """Return all trials that are not controls, with or without evidence of their faults."""
    return [trial for group in drills(m) for trial in group.trials]


def total(counts: list[LedgerCount]) -> LedgerCount:
    """Sum ledgers class by class."""
    return LedgerCount(
        **{name: sum(getattr(count, name) for count in counts) for name in LedgerCount.model_fields}
    )


def _group(
    experiment: str,
    fault: str,
    tuning: str,
    trials: tuple[Trial, ...],
    verdicts: tuple[Verdict, ...],
) -> Group:
    real = [trial for trial in trials if trial.verified]
    names = dict.fromkeys(lane for trial in trials for lane in trial.lanes if is_routed(lane))
    outside = [(trial.number, trial.lanes) for trial in real]
    inside = [(trial.number, trial.inside.lanes) for trial in real if trial.inside]

    def gaps(called: str, lane: str, found: list[tuple[int, dict[str, LaneResult]]]) -> LaneGaps:
        seen = [(number, lanes[lane].gap) for number, lanes in found if lane in lanes]
        return LaneGaps(
            lane=called,
            gaps=tuple((number, gap) for number, gap in seen if gap is not None),
            unknown=sum(gap is None for _, gap in seen),
            limit=_gap_limit(verdicts, experiment, tuning, called),
        )

    return Group(
        experiment,
        fault,
        tuning,
        trials,
        tuple(gaps(lane, lane, outside) for lane in names),
        tuple(gaps(f"{lane} {INSIDE}", lane, inside) for lane in names) if inside else (),
    )


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
