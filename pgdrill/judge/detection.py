"""Which alert must see which fault and how soon, or why none need.

Keyed by engine as the other promises are: what an alert can see is what the engine leaves undone
for longer than two scrapes and the alert's `for`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgdrill.judge import alerting, failover
from pgdrill.judge.promises import total
from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import Budget, Detection, Trial


@dataclass(frozen=True)
class Excused:
    """Why no alert need see a fault."""

    reason: str


Expected = tuple[str, ...] | Excused

# Alerts whose condition begins not with the fault but with the new primary.
AFTER_PROMOTION = frozenset({"PgFailoverHappened"})

UNMOVED = "the primary was back in place before another was named: no alert looks back at that"

_NEW_PRIMARY = ("PgFailoverHappened",)
# Not PgMemberDown: Alertmanager holds it back while these two say the same and more.
_OUTAGE = ("PgNoPrimary", "PgFailoverHappened")
_PATRONI: dict[str, Expected] = {
    "primary_kill": _NEW_PRIMARY,
    "postmaster_kill": _NEW_PRIMARY,
    "primary_away": _OUTAGE,
    "primary_freeze": _OUTAGE,
    "switchover": _NEW_PRIMARY,
    "standby_kill": Excused(
        "supervisor restarts it at once: it streams again before PgMemberDown's scrapes and its"
        " for are over (11 s, more only on a busy machine), and no client notices"
    ),
    "standby_freeze": ("PgMemberDown",),
}
_CNPG: dict[str, Expected] = {
    "primary_kill": _NEW_PRIMARY,
    "primary_grace_1": _NEW_PRIMARY,
    "primary_delete": _NEW_PRIMARY,
    "postmaster_kill": _NEW_PRIMARY,  # where the operator is quicker than the container's restart
    "primary_away": _OUTAGE,
    "primary_freeze": _OUTAGE,
    "switchover": _NEW_PRIMARY,
    "standby_kill": Excused(
        "its pod is made anew within seconds: PgMemberDown's scrape, evaluation and for take 18"
    ),
    "standby_freeze": Excused(
        "it hangs for 16 s: PgMemberDown's scrape, its time-out, evaluation and for take 22"
    ),
}
_BY_ENGINE = {"patroni": _PATRONI, "cnpg": _CNPG}
# infra/helm/postgres-cnpg/values.tuned-1.30.0.yaml: a primary that hangs is restarted in place.
_BY_EDITION: dict[tuple[str, str], dict[str, Expected]] = {
    ("cnpg 1.30.0", failover.TUNED): {"primary_freeze": ("PgNoPrimary",)},
}


def expected(edition: str, timing: str, fault: str) -> Expected:
    """Return the alerts that must see a fault, or why none need.

    Raises:
        KeyError: nobody has decided: a fault that is not expected to be seen proves nothing.
    """
    special = _BY_EDITION.get((edition, timing), {})
    return special.get(fault) or _BY_ENGINE[edition.partition(" ")[0]][fault]


def due(promised: Iterable[str], trial: Trial) -> tuple[str, ...]:
    """Return which promised alerts a trial owes: those about a new primary only where one came.

    That one had to come is the trial's own promise, not monitoring's.
    """
    moved = trial.timeline_after > trial.timeline_before
    return tuple(alert for alert in promised if moved or alert not in AFTER_PROMOTION)


def within(edition: str, timing: str, fault: str, fires: Mapping[str, Budget]) -> dict[str, Budget]:
    """Return how long after a fault each alert may come, by alert.

    fires: seconds from an alert's condition to Alertmanager, by the intervals that run.
    """
    new_primary = failover.budgets(edition, timing, fault).gap.limit
    return {alert: _after_fault(alert, budget, new_primary) for alert, budget in fires.items()}


def _after_fault(alert: str, fires: Budget, new_primary: float) -> Budget:
    if alert not in AFTER_PROMOTION:
        return fires.model_copy(update={"name": alerting.FAULT})
    *intervals, margin = ((term.name, term.seconds) for term in fires.terms)
    return total(
        alerting.FAULT,
        {"new primary": new_primary, **dict(intervals)},
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
            telling = [d for d in owed if d.arrived(alert) is not None or not d.was_raised(alert)]
            note = f"{len(telling)} of {len(found)} trials can tell" if telling != found else ""
            subject = f"{found[0].fault}, {alert}"
            verdicts.check(budget, _slowest(d.arrived(alert) for d in telling), subject, note)


def _slowest(arrivals: Iterable[float | None]) -> float | None:
    """Return the slowest; infinite when one never came, None when there was nothing to see."""
    seconds = [float("inf") if at is None else at for at in arrivals]
    return max(seconds, default=None)
