"""The parts of a dashboard, and the values of a panel over a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pgdrill.records import Record, Series

Kind = Literal["stat", "names", "lines", "states"]
Tone = Literal["plain", "good", "warn", "bad"]

# Why a panel may be empty although all is well; what is not named here must have data at any time.
Only = Literal["", "load", "alert", "backup"]
ABSENT: dict[Only, str] = {
    "load": "exists only while the steady load runs",
    "alert": "exists only while an alert fires",
    "backup": "exists only where a backup is configured",
}


class Query(Record):
    """PromQL, and a name for each series it gives: {{label}} stands for a label's value."""

    expr: str
    legend: str


class Step(Record):
    """The meaning of a value from here on, up to the next step."""

    at: float
    tone: Tone


class Word(Record):
    """The name of one value."""

    value: float
    text: str
    tone: Tone


class Panel(Record):
    """One picture: a number (stat), a name (names), curves (lines) or stretches (states)."""

    title: str
    kind: Kind
    queries: tuple[Query, ...]
    about: str  # what it shows and how to read it; the tooltip in Grafana
    unit: str = ""  # one of grafana.UNITS
    base: Tone = "plain"  # below the first step
    steps: tuple[Step, ...] = ()
    words: tuple[Word, ...] = ()
    only: Only = ""

    def tone(self, value: float) -> Tone:
        """Return the tone of a value."""
        said = [word.tone for word in self.words if word.value == value]
        passed = [step.tone for step in self.steps if value >= step.at]
        return (said or passed or [self.base])[-1]


class Snapshot(Record, file="dashboards.jsonl"):
    """A panel as its own queries drew it over a run; no series: they found nothing."""

    dashboard: str
    row: str
    panel: Panel
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Row:
    """Panels side by side under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A page of rows; the uid names its file and its address in Grafana."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[tuple[Row, Panel]]:
        """Return every panel with its row, in order."""
        return ((row, panel) for row in self.rows for panel in row.panels)
