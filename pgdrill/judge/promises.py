"""Promises by their keys, and the limits that a user sets instead."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pgdrill.errors import BadUsageError
from pgdrill.records import Budget

MATCHES = 6  # promises that the error on an unknown key lists


@dataclass(frozen=True)
class Limits:
    """Limits of the user's own, by key of the promise."""

    own: Mapping[str, float]

    @classmethod
    def of(cls, own: Mapping[str, float], known: Mapping[str, Budget]) -> "Limits":
        """Check that there is a promise for each key.

        Raises:
            BadUsageError: there is none for one of them; similar keys are listed.
        """
        for key in own:
            if key not in known:
                word = re.split(r"[.-]", key)[-1]
                alike = sorted(k for k in known if word in k) or sorted(known)
                near = difflib.get_close_matches(key, known, MATCHES) or alike
                raise BadUsageError(
                    f"--budget {key}: there is no such promise; try {', '.join(near[:MATCHES])}"
                    " (`python -m pgdrill budgets` lists all)"
                )
        return cls(own)

    def apply(self, budget: Budget) -> Budget:
        """Return a promise with the user's limit and its origin, if there is one."""
        limit = self.own.get(budget.id)
        if limit is None:
            return budget
        promised = f"; pgdrill promises {budget.limit:g}: {budget.because}"
        because = f"set by you{promised if math.isfinite(budget.limit) else ''}"
        return budget.model_copy(update={"limit": limit, "because": because, "terms": ()})


def by_key(*budgets: Budget) -> dict[str, Budget]:
    """Return promises by their keys, sorted; the strictest of those with the same key."""
    found: dict[str, Budget] = {}
    for budget in sorted(budgets, key=lambda b: (b.id, b.limit)):
        found.setdefault(budget.id, budget)
    return found


def budgets_in(values: Mapping[str, object]) -> Iterator[Budget]:
    """Return every promise among a module's values, in tables too."""
    for value in values.values():
        if isinstance(value, Budget):
            yield value
        elif isinstance(value, dict):
            yield from budgets_in({str(key): inner for key, inner in value.items()})
