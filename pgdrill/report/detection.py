"""The matrix of faults and alerts: which alert detected which fault, after how many seconds."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgdrill.records import Detection, Seen
from pgdrill.report.number_format import count, seconds

SEVERITIES = ("critical", "warning", "info", "")


@dataclass(frozen=True)
class Column:
    """An alert that came, or that had to."""

    alert: str
    severity: str

    @property
    def words(self) -> list[str]:
        """The words of the alert's name, for line breaks between them."""
        return re.split(r"(?<=[a-z])(?=[A-Z])", self.alert)


@dataclass(frozen=True)
class Cell:
    """The effect of one fault on one alert."""

    text: str
    state: str  # its severity; 'missed' where it had to come, 'pending' where it never fired, ''
    tip: str
    first: float | None  # seconds to firing, in the trial where that took longest


@dataclass(frozen=True)
class Row:
    """One fault over all its trials."""

    suite: str
    fault: str
    trials: int
    excused: str
    cells: tuple[Cell, ...]

    @property
    def first(self) -> float | None:
        """Seconds until the first alert fired; None: no alert fired."""
        return min((c.first for c in self.cells if c.first is not None), default=None)


@dataclass(frozen=True)
class Matrix:
    """All faults of a run, whichever suite injected them."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def of(self, suite: str) -> list[Row]:
        """Return the rows of one suite."""
        return [row for row in self.rows if row.suite == suite]


def matrix(found: Sequence[Detection]) -> Matrix:
    """Lay out what was detected: faults as rows in the order of the run, alerts as columns."""
    columns = _columns(found)
    keys = dict.fromkeys((one.suite, one.fault) for one in found)
    rows = [
        _row(*key, tuple(one for one in found if (one.suite, one.fault) == key), columns)
        for key in keys
    ]
    return Matrix(columns, tuple(rows))


def _columns(found: Iterable[Detection]) -> tuple[Column, ...]:
    severities = {alert: "" for one in found for alert in one.expected}
    severities |= {seen.alert: seen.severity for one in found for seen in one.seen}
    columns = [Column(alert, severity) for alert, severity in severities.items()]
    return tuple(sorted(columns, key=lambda c: (_rank(c.severity), c.alert)))


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _row(suite: str, fault: str, trials: tuple[Detection, ...], columns: tuple[Column, ...]) -> Row:
    cells = tuple(_cell(column, trials) for column in columns)
    excused = trials[0].excused if all(one.excused for one in trials) else ""
    return Row(suite, fault, len(trials), excused, cells)


def _cell(column: Column, trials: tuple[Detection, ...]) -> Cell:
    """Return the slowest first firing; an alert already raised before a fault does not count."""
    alert = column.alert
    stories = [(one, [seen for seen in one.seen if seen.alert == alert]) for one in trials]
    informative = [(one, seen) for one, seen in stories if not one.was_raised(alert)]
    fired = [at for _, seen in informative if (at := _first(seen)) is not None]
    tip = "; ".join(_tip(one, seen) for one, seen in informative if seen)
    expected = any(alert in one.expected for one in trials)
    if fired:
        always = len(fired) == len(informative)
        share = "" if always else f" ({len(fired)} of {len(informative)})"
        owing = [one for one, seen in informative if alert in one.expected and _first(seen) is None]
        state = "missed" if owing else column.severity
        arrived = [one for _, seen in informative for one in seen if one.alertmanager is not None]
        held = "" if arrived else " (held back)"
        return Cell(f"{seconds(max(fired))}{share}{held}", state, tip, max(fired))
    if expected:
        return Cell("never", "missed", tip or "this alert had to fire", None)
    if any(seen for _, seen in informative):
        return Cell("pending", "pending", tip, None)
    return Cell("", "", "", None)


def _first(seen: Sequence[Seen]) -> float | None:
    return min((one.firing for one in seen if one.firing is not None), default=None)


def _tip(trial: Detection, seen: Sequence[Seen]) -> str:
    """Return each stage of an alert in one trial, as a text."""
    stages = [
        f"{one.member or 'cluster'}: "
        + ", ".join(
            f"{name} {seconds(at)}"
            for name, at in (
                ("pending", one.pending),
                ("firing", one.firing),
                ("at Alertmanager", one.alertmanager),
            )
            if at is not None
        )
        for one in seen
    ]
    return f"trial {trial.trial}: {'; '.join(stages)}"


def summary(found: Sequence[Detection]) -> str:
    """Return one line for a terminal; empty where no alerts were watched."""
    rows = matrix(found).of("chaos")
    if not rows:
        return ""
    seen = [(row.first, row.fault) for row in rows if row.first is not None]
    slowest = f", the last of them after {seconds(max(seen)[0])} ({max(seen)[1]})" if seen else ""
    unseen = [row for row in rows if row.first is None]
    excused = ", ".join(row.fault for row in unseen if row.excused)
    missed = ", ".join(row.fault for row in unseen if not row.excused)
    return (
        f"detection: {len(seen)} of {count(len(rows), 'fault')} made an alert fire{slowest}"
        + (f"; need not be detected: {excused}" if excused else "")
        + (f"; not detected: {missed}" if missed else "")
    )
