"""What the records add up to: the facts that page, terminal and tables share."""

from pgdrill.records import LedgerCount, Trial, Verdict
from pgdrill.report.material import Group, LaneGaps, Material, total
from pgdrill.report.words import count


def wrong_controls(m: Material) -> list[Verdict]:
    """Return the controls that did not come out as they must."""
    return [verdict for verdict in m.controls if verdict.outcome != verdict.expected]


def done_of(m: Material) -> str:
    """Say how many of the tests that were to be run have ended."""
    tests = m.collected.tests if m.collected else ()
    return f"{len(tests) - len(m.unended)} of {count(len(tests), 'test')}"


def worst_fresh(m: Material) -> tuple[Group, LaneGaps] | None:
    """Return where a new connection waited longest; None unless every verified trial could say."""
    lanes = [(g, lane) for g in m.own_drills for lane in g.lanes if lane.lane.startswith("fresh")]
    known = [(g, lane) for g, lane in lanes if lane.gaps]
    if not known or any(lane.unknown for _, lane in lanes):
        return None
    return max(known, key=lambda pair: pair[1].values[-1])


def drilled_ledger(m: Material) -> LedgerCount:
    """Sum the ledger over all trials that are no controls."""
    return total([trial.ledger for group in m.drills for trial in group.trials])


def proven(m: Material) -> list[Trial]:
    """Return the trials that count: no control, and the fault left evidence."""
    return [trial for group in m.drills for trial in group.verified]


def proven_acks(m: Material) -> int:
    """Count acknowledged writes of the trials that count: only these say anything about loss."""
    return total([trial.ledger for trial in proven(m)]).acked


def all_trials(m: Material) -> list[Trial]:
    """Return all trials that are no controls, whether their faults left evidence or not."""
    return [trial for group in m.drills for trial in group.trials]
