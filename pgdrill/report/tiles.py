"""The key figures under the headline."""

from dataclasses import dataclass

from pgdrill.report.run_data import RunData


@dataclass(frozen=True)
class Tile:
    """One key figure; state is met, broken, invalid, or plain where nothing judges it."""

    name: str
    value: str
    detail: str
    state: str = "plain"


def unmeasured(name: str) -> Tile:
    """Return the figure that a run did not measure."""
    return Tile(name, "-", "not measured in this run")


def state_of(m: RunData, kind: str) -> str:
    """Return the worst outcome among promises of a kind; plain when none is."""
    about = [v.outcome for v in m.promises if v.budget.kind == kind]
    return next((o for o in ("broken", "invalid", "met") if o in about), "plain")
