"""Judging detection: how soon each alert in the catalogue must fire after a fault.

An alert can only fire for a condition that lasts longer than two scrapes and its `for`.
"""

from collections.abc import Iterable, Mapping, Sequence

from pgdrill.faults.catalogue import FaultSpec, Where
from pgdrill.judge import alerting, failover
from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import About, Budget, Detection, Trial, total
from pgdrill.rundir import Records

# Alerts whose condition begins not with the fault but with the new primary.
AFTER_PROMOTION = frozenset({"PgFailoverHappened", "PgTwoPrimaries"})
OF_NO_PRIMARY = frozenset({"PgNoPrimary"})

UNMOVED = "the primary was back before another was promoted: no alert has a look-back for that"


def due(promised: Iterable[str], trial: Trial) -> tuple[str, ...]:
    """Return the promised alerts that must fire: those on a new primary only if there is one.

    Whether there had to be one is a promise of the trial, not of monitoring.
    """
    moved = trial.timeline_after > trial.timeline_before
    return tuple(alert for alert in promised if moved or alert not in AFTER_PROMOTION)


def within(where: Where, spec: FaultSpec, fires: Mapping[str, Budget]) -> dict[str, Budget]:
    """Return how long after a fault each alert may come, by alert.

    fires: seconds from an alert's condition to Alertmanager, by the intervals that run.
    """
    promoted = spec.gap(where).limit
    first = {alert: {"new primary": promoted} for alert in AFTER_PROMOTION}
    if answers := spec.answers.get(where):
        first |= {alert: {"it still answers": answers} for alert in OF_NO_PRIMARY}
    return {alert: _after_fault(budget, first.get(alert, {})) for alert, budget in fires.items()}


def _after_fault(fires: Budget, first: Mapping[str, float]) -> Budget:
    """Return a budget that begins with what passes between the fault and the condition."""
    if not first:
        return fires.model_copy(update={"name": alerting.FAULT})
    *intervals, margin = ((term.name, term.seconds) for term in fires.terms)
    return total(
        alerting.FAULT,
        {**first, **dict(intervals)},
        margin=margin[1],
        why=alerting.WHY,
    )


def judge(found: Sequence[Detection], promised: Mapping[str, Budget], verdicts: Verdicts) -> None:
    """Judge the slowest arrival of each expected alert over all trials of a fault."""
    with verdicts.together():
        for alert, budget in promised.items():
            owed = [d for d in found if alert in d.expected]
            if not owed and all(d.excused for d in found):
                continue
            usable = [d for d in owed if not d.was_raised(alert)]
            note = f"{len(usable)} of {len(found)} trials are evidence" if usable != found else ""
            subject = f"{found[0].fault}, {alert}"
            slowest = _slowest(d.arrived(alert) for d in usable)
            about = About(fault=found[0].fault, alert=alert)
            verdicts.check(budget, slowest, subject, note, about)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge the detection of each fault again; older runs lack the paths of the alerts."""
    for spec, where, _ in failover.drilled(records):
        fault = failover.named(spec.name, where)
        found = [d for d in records.all(Detection) if (d.suite, d.fault) == ("chaos", fault)]
        paths = found[0].paths if found else {}
        if paths:
            fires = {alert: alerting.fires(path) for alert, path in paths.items()}
            judge(found, within(where, spec, fires), verdicts)


def _slowest(arrivals: Iterable[float | None]) -> float | None:
    """Return the slowest; infinite if one never came, None if there are none."""
    seconds = [float("inf") if at is None else at for at in arrivals]
    return max(seconds, default=None)
