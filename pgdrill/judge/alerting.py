"""The promises about alerts: how soon each reaches a person, and which must page nobody."""

import math
from collections.abc import Mapping

from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import About, AlertLife, AlertPath, Budget, total
from pgdrill.rundir import Records

MARGIN = 5.0  # seconds for WHY; alerts read recorded series, which takes a second evaluation
WHY = "a second evaluation, a scrape that runs into its time-out, delivery"
CONDITION, RESOLVED, FAULT = "condition to alert", "healed to resolved page", "fault to alert"
PAGED = "condition-to-alert"  # the kind of the first, as in `--budget`

NO_WAKING = Budget(
    name="alerts that wake somebody",
    limit=0,
    unit="alerts",
    better="lower",
    because="PgFailoverHappened is info, and inhibits the alerts that follow from a moved role",
)
# Critical alerts of a primary that clients cannot write to.
FAILED_PRIMARY = frozenset({"PgNoPrimary", "PgCommitsWait", "PgNoNewSession", "PgWayInDown"})
KNOWN = Budget(
    key="failed-primary.person-knows",
    name="failed primary to page",
    limit=30,
    unit="s",
    better="lower",
    because="a person is paged within half a minute, whatever the intervals and `for` are",
)
UNHEARD = total(
    "watchdog gone to page",
    # pgdrill/observe/deadman.py
    {"heartbeat under way": 5, "two missed heartbeats, and the third": 15},
    margin=MARGIN,
    why="the pager checks four times a second, and a silence takes effect after a moment",
)
UNNOTICED = Budget(
    name="slowest write while the archive failed",
    limit=2,
    unit="s",
    better="lower",
    because="the same as for a lost standby: no commit waits for the archive",
)


def nominal() -> tuple[Budget, ...]:
    """Return the promises that depend on rules and intervals, with the margin alone."""
    names = (CONDITION, RESOLVED, FAULT)
    return tuple(
        total(name, {}, margin=MARGIN, why=f"beside all intervals: {WHY}") for name in names
    )


def fires(path: AlertPath) -> Budget:
    """Return the budget from the condition to a page, by the actual intervals."""
    return _through(path, CONDITION, {"for": path.hold, "group_wait": path.group_wait})


def resolves(path: AlertPath) -> Budget:
    """Return the budget from healed to the resolved page, by the actual intervals."""
    waits = {"look-back": path.memory, "group_interval": path.group_interval}
    return _through(path, RESOLVED, waits)


def _through(path: AlertPath, name: str, waits: Mapping[str, float]) -> Budget:
    """Return the budget of the whole path: the intervals of every alert, and these waits."""
    intervals = {"push": path.push, "scrape": path.scrape, "evaluation": path.evaluation}
    return total(name, {**intervals, **waits}, margin=MARGIN, why=WHY)


def judge(life: AlertLife, verdicts: Verdicts) -> None:
    """Judge when an alert was at Alertmanager, paged (info: logged) and resolved.

    Raises:
        ValueError: the life is of an older run, which did not record the path.
    """
    path = life.path
    if path is None:
        raise ValueError(f"{life.alert}: its path to a person was not recorded")
    called = f"{life.alert}({life.member})" if life.member else life.alert
    about = About(alert=life.alert, member=life.member)
    arrival = ("logged", life.logged) if life.severity == "info" else ("paged", life.paged)
    known = (KNOWN, "paged", life.condition, life.paged)
    with verdicts.together():
        for budget, stage, start, end in (
            (fires(path), "at Alertmanager", life.condition, life.alertmanager),
            (fires(path), arrival[0], life.condition, arrival[1]),
            (resolves(path), "resolved", _gone(life), life.resolved),
            *([known] if life.alert in FAILED_PRIMARY else []),
        ):
            seen, note = (None, life.doubt) if life.doubt else _lasted(start, end, life.ended)
            verdicts.check(budget, seen, f"{called} {stage}", note, about)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge every alert's life again; those of older runs have no path to judge them by."""
    for life in records.all(AlertLife):
        if life.path:
            judge(life, verdicts)


def _gone(life: AlertLife) -> float | None:
    """Return the latest instant at which the alert's reason may have ended.

    A healing takes time, and its end is seen by polling: an alert that resolves in between has
    seen the end of its reason itself.
    """
    began, healed, resolved = life.healing, life.healed, life.resolved
    if began is None or healed is None or resolved is None or resolved < began:
        return healed
    return min(healed, resolved)


def _lasted(start: float | None, end: float | None, ended: float) -> tuple[float | None, str]:
    """Return the seconds of a span, and a note; no end is infinite, an early end is None."""
    if start is None:
        return None, ""
    if end is None:
        return math.inf, f"not seen within {ended - start:.0f} s"
    if end < start:
        return None, f"came {start - end:.1f} s before the event that it reports"
    return end - start, ""
