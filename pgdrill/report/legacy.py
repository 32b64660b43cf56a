"""Runs of an older version, in which only its sentence has the subject of a verdict."""

import re
from collections.abc import Iterable

from pgdrill.records import About, AlertLife, Trial, Verdict


def with_facts(
    verdicts: Iterable[Verdict], trials: Iterable[Trial], lives: Iterable[AlertLife]
) -> tuple[Verdict, ...]:
    """Return verdicts of version 1 with the fault, timing, lane and alert that their subjects name.

    trials and lives: of the same run; the sentence may name their experiments and alerts.
    """
    faults = {trial.experiment for trial in trials}
    alerts = {life.alert for life in lives}
    return tuple(v.model_copy(update={"about": _about(v, faults, alerts)}) for v in verdicts)


def with_controls(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return trials of version 1, marked as controls where experiment or timing is named so."""
    return tuple(
        trial.model_copy(update={"control": "control" in f"{trial.experiment} {trial.tuning}"})
        for trial in trials
    )


def _about(verdict: Verdict, faults: set[str], alerts: set[str]) -> About:
    words = re.split(r"[^\w-]+", verdict.subject)

    def named(names: Iterable[str]) -> str:
        return next((word for word in words if word in names), "")

    fault, timing = named(faults), re.search(r" on (\S+) timing\b", verdict.subject)
    return About(
        fault=fault,
        timing=timing[1] if timing else "tuned" if fault else "",
        lane=named(("fresh", "held")),
        alert=named(alerts),
    )
