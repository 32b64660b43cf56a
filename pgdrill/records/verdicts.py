"""A promise, and whether it was kept."""

import re
from collections.abc import Mapping
from typing import Literal

from pgdrill.records.base import Record

Outcome = Literal["met", "broken", "invalid"]


class Term(Record):
    """One part of a promise in seconds."""

    name: str
    seconds: float


class Budget(Record):
    """A promise: one number, its direction, and the arithmetic or source behind it."""

    name: str
    limit: float
    unit: str
    better: Literal["lower", "higher"]
    because: str
    key: str = ""  # what a user calls it, where the name alone is that of several
    terms: tuple[Term, ...] = ()  # what the limit is the sum of, where it is one

    @property
    def id(self) -> str:
        """Its name for a user: `--budget primary_kill.write-gap=5`."""
        return self.key or re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def kind(self) -> str:
        """The kind of promise, without its fault: `write-gap` of `primary_kill.write-gap`."""
        return self.id.rpartition(".")[2]

    def allows(self, observed: float) -> bool:
        """Whether the observed value keeps the promise; NaN never does."""
        return observed <= self.limit if self.better == "lower" else observed >= self.limit


SHARE = 0.25  # a margin above this share of the sum needs a reason


def total(
    name: str,
    terms: Mapping[str, float],
    *,
    key: str = "",
    margin: float = 0.0,
    why: str = "",
) -> Budget:
    """Return a promise of at most so many seconds; the printed parts are the ones added up.

    why: the reason of a margin that is large.

    Raises:
        ValueError: a large margin has none.
    """
    if margin > SHARE * sum(terms.values()) and not why:
        raise ValueError(f"{key} {name}: a margin of {margin:g} s needs a reason")
    parts = {term: seconds for term, seconds in terms.items() if seconds}
    if margin:
        parts[f"margin ({why})" if why else "margin"] = margin
    return Budget(
        key=key,
        name=name,
        limit=sum(parts.values()),
        unit="s",
        better="lower",
        because=" + ".join(f"{term} {seconds:g}" for term, seconds in parts.items()),
        terms=tuple(Term(name=term, seconds=seconds) for term, seconds in parts.items()),
    )


class About(Record):
    """The subject of a verdict, as fields where they apply; its text is the same for people."""

    fault: str = ""  # the name of the experiment
    timing: str = ""
    lane: str = ""
    alert: str = ""
    member: str = ""


class Verdict(Record, file="verdicts.jsonl"):
    """A budget, what was observed, and the outcome; invalid means: no evidence it was real."""

    budget: Budget
    subject: str
    about: About = About()
    observed: float | None
    outcome: Outcome
    note: str = ""
    test: str = ""
    expected: Outcome = "met"  # a control is right when its verdict is broken

    def line(self) -> str:
        """One line that needs no context: subject, observed, allowed, why."""
        sign = "<=" if self.budget.better == "lower" else ">="
        if self.observed is None or self.observed == float("inf"):
            # JSON has no infinity: an event that never came is broken, without a number.
            seen = "never" if self.outcome == "broken" else "no evidence"
        else:
            seen = f"{self.observed:.5g} {self.budget.unit}"
        text = (
            f"{self.subject}: {self.budget.name} {seen},"
            f" budget {sign} {self.budget.limit:g} {self.budget.unit} ({self.budget.because})"
        )
        return f"{text}: {self.note}" if self.note else text
