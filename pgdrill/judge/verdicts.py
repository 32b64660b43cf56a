"""Recording verdicts: every judgement reaches the report, whether kept, broken or invalid."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pgdrill.records import Budget, Outcome, Verdict, append


class BrokenBudgetError(AssertionError):
    """At least one verdict was not met."""


class Verdicts:
    """Judges observations against budgets and writes each verdict down before failing."""

    def __init__(self, file: Path | None, test: str = "", expected: Outcome = "met") -> None:
        self._file = file
        self._test = test
        self._expected: Outcome = expected
        self._held: list[Verdict] | None = None
        self.given: list[Verdict] = []

    def check(
        self, budget: Budget, observed: float | None, subject: str, note: str = ""
    ) -> Verdict:
        """Judge one observation; None means there was no evidence, which is never met.

        Raises:
            BrokenBudgetError: the budget is broken or the evidence missing (inside `together`
                only when the block ends).
        """
        if observed is None or observed != observed:
            outcome: Outcome = "invalid"
            observed = None
        else:
            outcome = "met" if budget.allows(observed) else "broken"
        verdict = Verdict(
            budget=budget,
            subject=subject,
            observed=observed,
            outcome=outcome,
            note=note,
            test=self._test,
            expected=self._expected,
        )
        self.given.append(verdict)
        if self._file:
            append(self._file, verdict)
        if self._held is not None:
            self._held.append(verdict)
        else:
            _demand([verdict])
        return verdict

    @contextmanager
    def together(self) -> Iterator[None]:
        """Judge several observations and fail once, naming all that are not met.

        A block inside a block leaves the demand to the outer one.
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


def _demand(verdicts: list[Verdict]) -> None:
    bad = [v for v in verdicts if v.outcome != "met"]
    if bad:
        raise BrokenBudgetError("\n".join(f"{v.outcome}: {v.line()}" for v in bad))


def worst(values: Sequence[float | None]) -> float | None:
    """Return the largest; None where one is missing, for then nobody knows."""
    seen = [value for value in values if value is not None]
    return max(seen) if seen and len(seen) == len(values) else None
