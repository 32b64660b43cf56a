"""The records of one run for its report; they are read once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pgdrill import __version__
from pgdrill.judge.rejudge import Rejudged
from pgdrill.records import (
    Clock,
    Collected,
    Event,
    Fingerprint,
    Record,
    RunEnd,
    Verdict,
)
from pgdrill.report.number_format import count
from pgdrill.report.results import PytestResult
from pgdrill.rundir import Records

R = TypeVar("R", bound=Record)
ORDER = {"broken": 0, "invalid": 1, "met": 2}


@dataclass(frozen=True)
class RunData:
    """Everything that one run recorded, and which of its files are damaged."""

    path: Path
    records: Records
    results: tuple[PytestResult, ...]
    rejudged: Rejudged | None = None  # None: the verdicts are those of the run

    def all(self, kind: type[R]) -> tuple[R, ...]:
        """Return every record of a kind."""
        return self.records.all(kind)

    def one(self, kind: type[R]) -> R | None:
        """Return the record of a kind that a run has one of."""
        return self.records.one(kind)

    @property
    def start(self) -> float:
        """When the run began, on its own clock."""
        clock = self.one(Clock)
        return clock.monotonic if clock else 0.0

    @property
    def wall(self) -> str:
        """When the run began, ISO 8601 in UTC; '' if that was not recorded."""
        clock = self.one(Clock)
        return clock.wall if clock else ""

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The origin of the numbers."""
        return self.one(Fingerprint)

    @property
    def collected(self) -> Collected | None:
        """The plan of the run; None: the run is older than this record."""
        return self.one(Collected)

    @property
    def ended(self) -> RunEnd | None:
        """The end of the run; None: it was killed, or is older than this record."""
        return self.one(RunEnd)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every verdict, in the order in which they were given."""
        return self.all(Verdict)

    @property
    def events(self) -> list[Event]:
        """The events, in order of time."""
        return sorted(self.all(Event), key=lambda event: event.at)

    @property
    def complaints(self) -> tuple[str, ...]:
        """The damaged files."""
        return tuple(self.records.complaints)

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
        """Tests that failed without a verdict as the reason: they crashed before they judged."""
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
        """The reason why the run ended early, '' where it did not."""
        if self.collected is None or (self.ended and not self.ended.reason and not self.unended):
            return ""
        return (self.ended.reason if self.ended else "killed") or "ended early"


def wrong_controls(m: RunData) -> list[Verdict]:
    """Return the controls that did not come out as they must."""
    return [verdict for verdict in m.controls if verdict.outcome != verdict.expected]


def done_of(m: RunData) -> str:
    """Return how many of the planned tests have ended."""
    tests = m.collected.tests if m.collected else ()
    return f"{len(tests) - len(m.unended)} of {count(len(tests), 'test')}"


def rejudged_lines(m: RunData) -> list[str]:
    """Return when and by which limits the verdicts were judged, if not in the run itself."""
    rejudged = m.rejudged
    if rejudged is None:
        return []
    own = f" and yours, {', '.join(rejudged.own)}" if rejudged.own else ""
    live = dict.fromkeys(v.budget.name for v in rejudged.kept if v.expected == "met")
    controls = any(v.expected != "met" for v in rejudged.kept)
    kept = [*live, *(["all controls"] if controls else [])]
    said = [
        f"judged again on {rejudged.on} from the run's records, with the limits of pgdrill"
        f" {__version__}{own}: {len(rejudged.verdicts) - len(rejudged.kept)} of"
        f" {count(len(rejudged.verdicts), 'verdict')}"
    ]
    if kept:
        said.append(
            f"kept from the run, because no record holds the observation: {', '.join(kept)}"
        )
    said += [
        f"{now.subject}, {now.budget.name}: {before.outcome} in the run, {now.outcome} today"
        for before, now in rejudged.changed
    ]
    return said
