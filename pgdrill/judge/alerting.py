"""What alerts promise: how soon each reaches a person, and what must reach nobody."""

import math
from collections.abc import Mapping

from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import About, AlertLife, AlertPath, Budget, total
from pgdrill.rundir import Records

MARGIN = 5.0  # seconds beyond the intervals; alerts read recorded series, hence the second one
WHY = "a second evaluation, a scrape that runs into its time-out, delivery"
CONDITION, RESOLVED, FAULT = "condition to alert", "healed to resolved page", "fault to alert"
PAGED = "condition-to-alert"  # the kind of the first, as `--budget` calls it

NO_WAKING = Budget(
    name="alerts that wake somebody",
    limit=0,
    unit="alerts",
    better="lower",
    because="PgFailoverHappened is info, and holds back what follows from a moved role",
)
# Critical alerts of a primary that clients cannot write to.
FAILED_PRIMARY = frozenset({"PgNoPrimary", "PgCommitsWait", "PgNoNewSession", "PgWayInDown"})
KNOWN = Budget(
    key="failed-primary.person-knows",
    name="failed primary to page",
    limit=30,
    unit="s",
    better="lower",
    because="whatever intervals and `for` run: half a minute of an outage, and a person knows",
)
UNHEARD = total(
    "watchdog gone to page",
    # pgdrill/observe/deadman.py
    {"one that is under way": 5, "two that are missed, and the third": 15},
    margin=MARGIN,
    why="the pager looks four times a second, and a silence takes a moment to hold",
)
UNNOTICED = Budget(
    name="slowest write while the archive failed",
    limit=2,
    unit="s",
    better="lower",
    because="as when a standby is lost: no commit waits for the archive",
)


def nominal() -> tuple[Budget, ...]:
    """Return the promises that depend on the rules and intervals that run, without those."""
    names = (CONDITION, RESOLVED, FAULT)
    return tuple(
        total(name, {}, margin=MARGIN, why=f"beside all intervals: {WHY}") for name in names
    )


def fires(path: AlertPath) -> Budget:
    """From the condition to a page, by the intervals that run."""
    return _through(path, CONDITION, {"for": path.hold, "group_wait": path.group_wait})


def resolves(path: AlertPath) -> Budget:
    """From healed to the page that says so, by the intervals that run."""
    waits = {"look-back": path.memory, "group_interval": path.group_interval}
    return _through(path, RESOLVED, waits)


def _through(path: AlertPath, name: str, waits: Mapping[str, float]) -> Budget:
    """Return the promise of the whole way: what each change of an alert passes, and its waits."""
    intervals = {"push": path.push, "scrape": path.scrape, "evaluation": path.evaluation}
    return total(name, {**intervals, **waits}, margin=MARGIN, why=WHY)


def judge(life: AlertLife, verdicts: Verdicts) -> None:
    """Judge the two ways of an alert to a person, and the way back; information is but logged.

    Raises:
        ValueError: the life is of an older run: what the alert passed is not known.
    """
    path = life.path
    if path is None:
        raise ValueError(f"{life.alert}: its path to a person was not kept")
    called = f"{life.alert}({life.member})" if life.member else life.alert
    about = About(alert=life.alert, member=life.member)
    told = ("logged", life.logged) if life.severity == "info" else ("paged", life.paged)
    known = (KNOWN, "paged", life.condition, life.paged)
    with verdicts.together():
        for budget, stage, start, end in (
            (fires(path), "at Alertmanager", life.condition, life.alertmanager),
            (fires(path), told[0], life.condition, told[1]),
            (resolves(path), "resolved", life.healed, life.resolved),
            *([known] if life.alert in FAILED_PRIMARY else []),
        ):
            seen, note = (None, life.doubt) if life.doubt else _lasted(start, end, life.ended)
            verdicts.check(budget, seen, f"{called} {stage}", note, about)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge every alert's life again; those of older runs lack what they are judged by."""
    for life in records.all(AlertLife):
        if life.path:
            judge(life, verdicts)


def _lasted(start: float | None, end: float | None, ended: float) -> tuple[float | None, str]:
    """Return the seconds of a span; an end never seen took for ever, an early one is none."""
    if start is None:
        return None, ""
    if end is None:
        return math.inf, f"not seen within {ended - start:.0f} s"
    if end < start:
        return None, f"came {start - end:.1f} s before what it is about"
    return end - start, ""
