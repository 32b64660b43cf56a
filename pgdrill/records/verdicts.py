"""A promise, and whether it was kept."""

import re
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
        """What a user calls it: `--budget primary_kill.write-gap=5`."""
        return self.key or re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def allows(self, observed: float) -> bool:
        """Whether the observed value keeps the promise; NaN never does."""
        return observed <= self.limit if self.better == "lower" else observed >= self.limit


class Verdict(Record):
    """A budget, what was observed, and the outcome; invalid means: no evidence it was real."""

    budget: Budget
    subject: str
    observed: float | None
    outcome: Outcome
    note: str = ""
    test: str = ""
    expected: Outcome = "met"  # a control is right when its verdict is broken

    def line(self) -> str:
        """One line a stranger can read: subject, observed, allowed, why."""
        sign = "<=" if self.budget.better == "lower" else ">="
        if self.observed is None or self.observed == float("inf"):
            # JSON knows no infinity: what never came is broken, without a number.
            seen = "never" if self.outcome == "broken" else "no evidence"
        else:
            seen = f"{self.observed:.5g} {self.budget.unit}"
        text = (
            f"{self.subject}: {self.budget.name} {seen},"
            f" budget {sign} {self.budget.limit:g} {self.budget.unit} ({self.budget.because})"
        )
        return f"{text}: {self.note}" if self.note else text
