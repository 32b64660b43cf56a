"""Verdicts under the questions that a reader has."""

from collections.abc import Sequence
from dataclasses import dataclass

from pgdrill.records import Verdict
from pgdrill.report.number_format import allowed, observed
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import on_paper

NOTICE = "Would this suite notice if all that were untrue?"
OTHER = "What else was promised?"


@dataclass(frozen=True)
class Asked:
    """One question, and the verdicts that answer it."""

    text: str
    verdicts: tuple[Verdict, ...]  # at least one

    @property
    def bad(self) -> list[Verdict]:
        """Those that are not as they must be, broken ones first."""
        bad = [v for v in self.verdicts if v.outcome != v.expected]
        return sorted(bad, key=lambda verdict: verdict.outcome)

    @property
    def good(self) -> list[Verdict]:
        """Those that are as they must be."""
        return [v for v in self.verdicts if v.outcome == v.expected]

    @property
    def state(self) -> str:
        """The worst outcome; a control that is not as it must be is a broken promise."""
        bad = self.bad
        return "met" if not bad else "broken" if bad[0].expected != "met" else bad[0].outcome

    @property
    def nearest(self) -> str:
        """Name the kept promise that came nearest to its limit; '' where none used any of it."""
        kept = [v for v in self.good if v.expected == "met"]
        one = max(kept, key=_share, default=None)
        if one is None or not _share(one):
            return ""
        return f"{one.subject}, {one.budget.name} {observed(one)} ({allowed(one.budget)})"


def asked(m: RunData) -> list[Asked]:
    """Return every question that a verdict answers, in the order of the report."""
    questions = [
        *dict.fromkeys(question.text for suite in on_paper() for question in suite.questions),
        *(OTHER, NOTICE),
    ]
    found: dict[str, list[Verdict]] = {text: [] for text in questions}
    for verdict in m.verdicts:
        found[question_of(verdict)].append(verdict)
    return [Asked(text, tuple(verdicts)) for text, verdicts in found.items() if verdicts]


def question_of(verdict: Verdict) -> str:
    """Return the question that a verdict answers: by the suite of its test, then by its kind."""
    if verdict.expected != "met":
        return NOTICE
    suites = on_paper()
    own = [s for s in suites if verdict.test.startswith(f"tests/{s.name}/")]
    for suite in (*own, *suites):
        for question in suite.questions:
            if verdict.budget.kind in question.kinds or (not question.kinds and suite in own):
                return question.text
    return OTHER


def _share(verdict: Verdict) -> float:
    """Return the used share of a kept promise's limit; 0 where there is no measure."""
    seen, limit = verdict.observed, verdict.budget.limit
    if not seen or not limit:
        return 0.0
    return seen / limit if verdict.budget.better == "lower" else limit / seen


def slow(verdicts: Sequence[Verdict]) -> list[str]:
    """Name broken promises that do not fail their tests, because the run is marked as slow."""
    return [f"{v.subject}: {v.budget.name}" for v in verdicts if "(--slow)" in v.note]
