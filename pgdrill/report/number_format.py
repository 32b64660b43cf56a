"""Numbers for readers: a few digits, a unit, and no rounding in favour of the result."""

import math
from datetime import datetime, timedelta

from pgdrill.records import Budget, Verdict


def number(value: float | None, digits: int = 3) -> str:
    """Return so many significant digits, thousands apart, no needless zeros; '-' for None."""
    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float | None) -> str:
    """Return a duration with its unit: 42 ms, 3.1 s, 2 min 5 s."""
    if value is None:
        return "-"
    if abs(value) >= 120:
        whole = round(abs(value))
        sign = "-" if value < 0 else ""
        rest = f" {whole % 60} s" if whole % 60 else ""
        return f"{sign}{whole // 60} min{rest}"
    if 0 < abs(value) < 0.0995:
        return f"{number(value * 1000, 2)} ms"
    return f"{round(value, 2 if abs(value) < 9.995 else 1):,g} s"


def at_most(value: float) -> str:
    """Return a duration rounded up, for sentences that promise an upper bound."""
    if value < 0.1:
        return f"{math.ceil(round(value * 1000, 6))} ms"
    return f"{math.ceil(round(value * 10, 6)) / 10:g} s"


def observed(verdict: Verdict) -> str:
    """Return an observation, with enough digits that it cannot look like the limit."""
    # JSON has no infinity: a duration that never ended is read as broken, without a number.
    if verdict.observed in (None, math.inf) and verdict.outcome == "broken":
        return "never"
    if verdict.observed is None:
        return "no evidence"
    for digits in (3, 4, 6, 9, 15):
        text = number(verdict.observed, digits)
        near = float(text.replace(",", ""))
        if verdict.budget.allows(near) == verdict.budget.allows(verdict.observed) and (
            near == verdict.budget.limit
        ) == (verdict.observed == verdict.budget.limit):
            break
    return with_unit(text, verdict.budget.unit)


def allowed(budget: Budget) -> str:
    """Return the limit with its direction and unit."""
    sign = "≤" if budget.better == "lower" else "≥"
    return f"{sign} {with_unit(number(budget.limit, 6), budget.unit)}"


def with_unit(text: str, unit: str) -> str:
    """Join a number and its unit."""
    return f"{text} {unit}".strip()


def measured(value: float | None, unit: str) -> str:
    """Return a value to six digits, so that two that differ a little look different."""
    return with_unit(number(value, 6), unit)


def count(amount: int, noun: str) -> str:
    """Return '1 trial', '9 trials'."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def clock_time(wall: str, offset: float) -> str:
    """Return the UTC time of day so many seconds after an ISO 8601 instant."""
    try:
        return (datetime.fromisoformat(wall) + timedelta(seconds=offset)).strftime("%H:%M:%S")
    except ValueError:
        return f"+{offset:.0f} s"
