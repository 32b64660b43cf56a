"""Judging a run anew from its records: by today's limits, or by the user's."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pgdrill.judge.promises import Limits
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import About, Verdict
from pgdrill.rundir import Records

Judge = Callable[[Records, Verdicts], None]


@dataclass(frozen=True)
class Rejudged:
    """The verdicts of a run as they are today."""

    verdicts: tuple[Verdict, ...]
    kept: tuple[Verdict, ...]  # of them, observed live, without a record: as the run wrote them
    changed: tuple[tuple[Verdict, Verdict], ...]  # of before and of today, where they differ
    own: tuple[str, ...]  # the user's limits
    on: str  # the date


def rejudge(
    records: Records, judges: Mapping[str, Iterable[Judge]], limits: Limits, on: str
) -> Rejudged:
    """Judge everything that the records of a run hold.

    A verdict on a live observation has no record, so it stays as the run wrote it, except that the
    user's limit replaces its own. A control's verdict stays as it is: its set-up was different.

    judges: by the suite whose records they judge.
    """
    fresh: dict[tuple[str, str | About], list[Verdict]] = defaultdict(list)
    for suite, own_judges in judges.items():
        today = Verdicts(None, f"tests/{suite}/", limits=limits)
        for judge in own_judges:
            with suppress(BrokenBudgetError), today.together():
                judge(records, today)
        for verdict in today.given:
            fresh[_promise(verdict)].append(verdict)
    verdicts, kept, changed = list[Verdict](), list[Verdict](), list[tuple[Verdict, Verdict]]()
    for before in records.all(Verdict):
        again = fresh[_promise(before)] if before.expected == "met" else []
        if again:
            now = again.pop(0).model_copy(update={"test": before.test})
        else:
            now = _limited(before, limits)
            kept.append(now)
        verdicts.append(now)
        if now.outcome != before.outcome:
            changed.append((before, now))
    verdicts += (verdict for left in fresh.values() for verdict in left)
    own = tuple(f"{key}={limit:g}" for key, limit in limits.own.items())
    return Rejudged(tuple(verdicts), tuple(kept), tuple(changed), own, on)


def _promise(verdict: Verdict) -> tuple[str, str | About]:
    """Return what two verdicts on the same promise have in common, whatever their wording."""
    about = verdict.about
    return verdict.budget.kind, about if about.fault or about.alert else verdict.subject


def _limited(verdict: Verdict, limits: Limits) -> Verdict:
    """Return a verdict by the user's limit, if there is one for what was observed."""
    budget = limits.apply(verdict.budget)
    if budget == verdict.budget or verdict.observed is None or verdict.expected != "met":
        return verdict
    outcome = "met" if budget.allows(verdict.observed) else "broken"
    return verdict.model_copy(update={"budget": budget, "outcome": outcome})
