"""The plan of a run, its end, and its place and time."""

import time
from datetime import UTC, datetime
from typing import Literal

from pgdrill.records.base import Record


class Collected(Record, file="collected.json"):
    """The plan of a run: the ids of its tests, and of those that its profile leaves out."""

    tests: tuple[str, ...]
    left_out: tuple[str, ...]


class TestEnd(Record, file="outcomes.jsonl"):
    """The end of a test, or of its set-up or teardown; written at once, whatever ends the run."""

    __test__ = False  # pytest would collect it by its name

    test: str
    outcome: Literal["passed", "failed", "error", "skipped"]
    reason: str = ""  # of one that was skipped


class RunEnd(Record, file="ended.json"):
    """The end of a run; a killed run has none."""

    exit_status: int
    reason: str = ""  # what cut it off, where something did


class Event(Record, file="events.jsonl"):
    """Something that happened, on the one clock of the run."""

    at: float
    source: str  # fault, cluster, load, alert, test
    what: str
    subject: str = ""


class Series(Record):
    """A metric of one member over the run: (instant on the run's clock, value)."""

    metric: str
    unit: str
    member: str  # or another label of the metric: a node, a percentile
    points: tuple[tuple[float, float], ...]


class Fingerprint(Record, file="fingerprint.json"):
    """The origin of the numbers: everything that is not a default belongs here."""

    command: str
    platform: str
    why_platform: str
    engine: str
    edition: str = ""  # selects the promises (Where in the catalogue); '' in older runs
    settings: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str]
    tuning: dict[str, str]


VERSION = 2


class Clock(Record, file="clock.json"):
    """Anchor of the monotonic clock in wall-clock time."""

    monotonic: float
    wall: str  # ISO 8601, UTC
    # Of the records beside it: since 2 a verdict carries what it is about, a trial whether it is a
    # control.
    version: int = 1

    @classmethod
    def now(cls) -> "Clock":
        """Read both clocks at once, for a run whose records are of today's version."""
        wall = datetime.now(UTC).isoformat()
        return cls(monotonic=time.monotonic(), wall=wall, version=VERSION)
