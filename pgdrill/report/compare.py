"""Runs side by side: what differs between them, and what became worse."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from statistics import median_low

from rich.table import Column, Table

from pgdrill.errors import BadUsageError
from pgdrill.judge.bench import bad_percent, due
from pgdrill.judge.failover import CLIENT_LANES
from pgdrill.records import AlertLife, Bench, views
from pgdrill.report import plots
from pgdrill.report.number_format import number
from pgdrill.report.pages import page, render
from pgdrill.report.read_run import read_run
from pgdrill.report.run_data import RunData
from pgdrill.report.trials import Group, own_drills

MARGIN = 25.0  # %: the same trial differs by as much between two hours of one machine
# A difference below these does not count, whatever its share: units by name.
FLOORS = {"s": 0.5, "ms": 10.0, "%": 0.05, "rows": 0.0}
# Settings that differ between any two runs, and cause nothing.
OF_THE_RUN = frozenset(("run_id", "reports_dir", "keep"))


@dataclass(frozen=True)
class Measure:
    """One figure of each run, as often as it was measured there; smaller is better."""

    subject: str
    what: str
    unit: str
    values: tuple[tuple[float, ...], ...]  # of each run; empty where it did not measure it

    def cell(self, run: int) -> str:
        """Return the values of one run: the one value, or the smallest, median and largest."""
        seen = sorted(self.values[run])
        if not seen:
            return "-"
        if len(seen) == 1:
            return f"{number(seen[0])} {self.unit}"
        small, middle, large = (number(v) for v in (seen[0], median_low(seen), seen[-1]))
        return f"{small} / {middle} / {large} {self.unit} ({len(seen)})"

    @property
    def comparable(self) -> bool:
        """Whether the first and the last run have measured it."""
        return bool(self.values[0] and self.values[-1])

    def change(self, margin: float) -> str:
        """Return how the last run compares with the first by their worst values.

        worse, better or same; - where not both have measured it.
        """
        if not self.comparable:
            return "-"
        before, after = max(self.values[0]), max(self.values[-1])
        if self._beyond(before, after, margin):
            return "worse"
        return "better" if self._beyond(after, before, margin) else "same"

    def _beyond(self, low: float, high: float, margin: float) -> bool:
        floor = FLOORS[self.unit]
        return high - low > max(floor, low * margin / 100 if floor else 0.0)

    @property
    def longer(self) -> float | None:
        """Share of all pairs, one value of each run, in which the last run's is the larger."""
        if not self.comparable:
            return None
        pairs = list(product(self.values[0], self.values[-1]))
        return sum(after > before for before, after in pairs) / len(pairs)


@dataclass(frozen=True)
class Comparison:
    """Two runs or more; the last is compared with the first."""

    runs: tuple[RunData, ...]
    margin: float

    @property
    def names(self) -> list[str]:
        """Name each run by its directory."""
        return [m.path.name for m in self.runs]

    @cached_property
    def differences(self) -> list[tuple[str, list[str]]]:
        """Settings, versions and machines that are not the same in all, by name."""
        tables: list[dict[str, str]] = []
        for m in self.runs:
            known = m.fingerprint
            tables.append({})
            if known:
                tables[-1] |= {"platform": known.platform, "engine": known.engine}
                tables[-1] |= {k: v for k, v in known.settings.items() if k not in OF_THE_RUN}
                tables[-1] |= {f"{k} version": v for k, v in known.versions.items()}
                tables[-1] |= {f"machine: {k}": v for k, v in known.machine.items()}
                tables[-1] |= known.tuning
        names = dict.fromkeys(name for table in tables for name in table)
        rows = [(name, [table.get(name, "-") for table in tables]) for name in names]
        return [(name, values) for name, values in rows if len(set(values)) > 1]

    @cached_property
    def measures(self) -> list[Measure]:
        """Everything that at least one of them has measured, faults first."""
        found = [*self._of_faults(), *self._of_loads(), *self._of_alerts()]
        return [one for one in found if any(one.values)]

    @property
    def worse(self) -> list[Measure]:
        """The measures that became worse by more than the margin."""
        return [one for one in self.measures if one.change(self.margin) == "worse"]

    @property
    def pictures(self) -> list[tuple[str, list[Group]]]:
        """Of each fault that several have drilled, their groups, each called by its run."""
        found = []
        for name in self._faults():
            groups = [
                replace(group, tuning=called)
                for called, m in zip(self.names, self.runs, strict=True)
                for group in _groups(m, name)
            ]
            if len(groups) > 1:
                found.append((name, groups))
        return found

    def _faults(self) -> list[str]:
        return list(dict.fromkeys(g.experiment for m in self.runs for g in own_drills(m)))

    def _of_faults(self) -> Iterable[Measure]:
        for name in self._faults():
            for lane in CLIENT_LANES:
                yield Measure(f"{name}, {lane}", "write gap", "s", self._each(_gaps(name, lane)))
            yield Measure(name, "full redundancy", "s", self._each(_redundancies(name)))
            yield Measure(name, "acknowledged writes lost", "rows", self._each(_lost(name)))

    def _of_loads(self) -> Iterable[Measure]:
        benches = [m.one(Bench) for m in self.runs]
        loads = [bench.scripts[0] if bench and bench.scripts else None for bench in benches]
        p99 = tuple((every.p99_ms,) if every else () for every in loads)
        bad = tuple((bad_percent(every),) if every and due(every) else () for every in loads)
        yield Measure("load", "p99", "ms", p99)
        yield Measure("load", "bad transactions", "%", bad)

    def _of_alerts(self) -> Iterable[Measure]:
        for alert in dict.fromkeys(life.alert for m in self.runs for life in m.all(AlertLife)):
            yield Measure(alert, "condition to page", "s", self._each(_paged(alert)))

    def _each(self, take: Callable[[RunData], Iterable[float]]) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(take(m)) for m in self.runs)


def _groups(m: RunData, name: str) -> list[Group]:
    return [group for group in own_drills(m) if group.experiment == name]


def _gaps(name: str, lane: str) -> Callable[[RunData], Iterable[float]]:
    return lambda m: [
        value
        for group in _groups(m, name)
        for seen in group.lanes
        if seen.lane == lane
        for value in seen.values
    ]


def _redundancies(name: str) -> Callable[[RunData], Iterable[float]]:
    return lambda m: [
        trial.redundancy
        for group in _groups(m, name)
        for trial in group.verified
        if trial.redundancy is not None
    ]


def _lost(name: str) -> Callable[[RunData], Iterable[float]]:
    return lambda m: [
        float(sum(view.ledger.acked_lost for trial in group.verified for view in views(trial)))
        for group in _groups(m, name)
        if group.verified
    ]


def _paged(alert: str) -> Callable[[RunData], Iterable[float]]:
    return lambda m: [
        life.paged - life.condition
        for life in m.all(AlertLife)
        if life.alert == alert and life.paged is not None and life.condition is not None
    ]


def compare(paths: Sequence[Path], margin: float = MARGIN) -> Comparison:
    """Read runs; the last is compared with the first.

    margin: percent by which the worst value of a run may differ.

    Raises:
        BadUsageError: there are not two of them, or they have measured nothing in common.
    """
    if len(paths) < 2:
        raise BadUsageError("name at least two runs to compare: the last with the first")
    found = Comparison(tuple(read_run(path) for path in paths), margin)
    if not any(one.comparable for one in found.measures):
        raise BadUsageError(f"{found.names[0]} and {found.names[-1]} have no measurement in common")
    return found


def tables(found: Comparison) -> tuple[Table, Table]:
    """Return the differences between the runs, and their measurements, for a terminal."""
    differs = Table("what differs", *found.names, title="Settings, versions, machines")
    for name, values in found.differences:
        differs.add_row(name, *values)
    note = (
        "smallest / median / largest (how many);"
        f" worse: the largest by more than {found.margin:g} %"
    )
    subject = Column("", overflow="fold", min_width=max(len(one.subject) for one in found.measures))
    heads = ("", *found.names, "last against first")
    measured = Table(subject, *heads, title="Measured", caption=note)
    for one in found.measures:
        cells = [one.cell(run) for run in range(len(found.runs))]
        change = one.change(found.margin)
        style = {"worse": "red", "better": "green"}.get(change, "")
        measured.add_row(one.subject, one.what, *cells, change, style=style)
    return differs, measured


def write(found: Comparison, to: Path) -> Path:
    """Write a page of its own; return it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    title = f"pgdrill: {' and '.join(found.names)}"
    to.write_text(page(title, render("compare.html.j2", c=found, plots=plots)))
    return to
