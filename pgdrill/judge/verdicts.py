"""Recording verdicts: every one is in the report, whether met, broken or invalid."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pgdrill.judge.promises import Limits
from pgdrill.records import About, Budget, Outcome, Verdict, append

# The factor by which seconds may be above their limit on a machine that was declared slow. Of two
# shared cores, the slowest hour that was measured took 1.5 times as long as the fastest.
SLOW = 2.0
NONE = Limits({})
NOTHING = About()


class BrokenBudgetError(AssertionError):
    """At least one verdict was not met."""


class Verdicts:
    """Judges observations against budgets and records each verdict before it raises.

    slow: seconds above their limit, but below SLOW times that, are recorded as broken and do not
    fail the test. limits: those that the user sets instead of the suite's own.
    """

    def __init__(
        self,
        file: Path | None,
        test: str = "",
        expected: Outcome = "met",
        *,
        slow: bool = False,
        limits: Limits = NONE,
    ) -> None:
        self._slow = slow
        self.limits = limits
        self._file = file
        self._test = test
        self._expected: Outcome = expected
        self._held: list[Verdict] | None = None
        self.given: list[Verdict] = []

    def check(
        self,
        budget: Budget,
        observed: float | None,
        subject: str,
        note: str = "",
        about: About = NOTHING,
    ) -> Verdict:
        """Judge one observation; None means there was no evidence, which is never met.

        Raises:
            BrokenBudgetError: the budget is broken or the evidence missing (inside `together`
                only when the block ends).
        """
        budget = self.limits.apply(budget)
        if observed is None or observed != observed:
            outcome: Outcome = "invalid"
            observed = None
        else:
            outcome = "met" if budget.allows(observed) else "broken"
        excused = self._slow and outcome == "broken" and _nearly(budget, observed)
        if excused:
            excuse = f"does not fail the test below {SLOW:g} times the limit (--slow)"
            note = "; ".join(filter(None, [note, excuse]))
        verdict = Verdict(
            budget=budget,
            subject=subject,
            about=about,
            observed=observed,
            outcome=outcome,
            note=note,
            test=self._test,
            expected=self._expected,
        )
        self.given.append(verdict)
        if self._file:
            append(self._file, verdict)
        if excused:
            return verdict
        if self._held is not None:
            self._held.append(verdict)
        else:
            _demand([verdict])
        return verdict

    @contextmanager
    def together(self) -> Iterator[None]:
        """Judge several observations and fail once, naming all that are not met.

        In nested blocks, only the outer one fails.
        """
        if self._held is not None:
            yield
            return
        self._held = []
        try:
            yield
            held = self._held
        finally:
            self._held = None
        _demand(held)


def _nearly(budget: Budget, observed: float | None) -> bool:
    in_seconds = budget.unit == "s" and budget.better == "lower"
    return in_seconds and observed is not None and observed < SLOW * budget.limit


def _demand(verdicts: list[Verdict]) -> None:
    bad = [v for v in verdicts if v.outcome != "met"]
    if bad:
        raise BrokenBudgetError("\n".join(f"{v.outcome}: {v.line()}" for v in bad))


def worst(values: Sequence[float | None]) -> float | None:
    """Return the largest; None if one is missing, because the largest is then not known."""
    seen = [value for value in values if value is not None]
    return max(seen) if seen and len(seen) == len(values) else None
