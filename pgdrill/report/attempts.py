"""Single attempts of a trial, if the run kept them, in the form that the plots use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgdrill.attempt_log import Outcome, load
from pgdrill.records import Trial

NANOSECONDS = 1e-9
NAMES = {outcome.value: outcome.name.lower() for outcome in Outcome}


@dataclass(frozen=True)
class Trace:
    """Answers that one lane got, in order: seconds after the fault, outcome, latency."""

    lane: str
    at: Sequence[float]
    outcome: Sequence[str]  # acked, refused, indeterminate
    latency_ms: Sequence[float]  # from the instant at which the attempt was due


def traces(run: Path, trial: Trial) -> list[Trace]:
    """Return the answers of a trial by routed lane; nothing where the run did not keep them."""
    return answers(run / trial.attempts_file, trial.lanes, trial.injected_at)


def answers(
    file: Path, lanes: Collection[str], zero: float, span: tuple[float, float] | None = None
) -> list[Trace]:
    """Return the answers by routed lane after an instant; nothing where the file is not there.

    span: seconds after the instant, all others are left out. An attempt is drawn where its answer
    came, so a silent database is a hole in the plot.
    """
    try:
        rows, meta = load(file)
    except ValueError:
        return []
    rows = rows[rows["ended"] > 0]
    if span:
        after = rows["ended"] * NANOSECONDS - zero
        rows = rows[(after >= span[0]) & (after <= span[1])]
    rows = rows[rows["ended"].argsort(kind="stable")]
    found = []
    for number, lane in enumerate(meta["lanes"]):
        own = rows[rows["lane"] == number]
        if lane["direct"] or not len(own) or lane["name"] not in lanes:
            continue
        found.append(
            Trace(
                lane=lane["name"],
                at=(own["ended"] * NANOSECONDS - zero).tolist(),
                outcome=[NAMES[value] for value in own["outcome"].tolist()],
                latency_ms=((own["ended"] - own["due"]) * (NANOSECONDS * 1000)).tolist(),
            )
        )
    return found
