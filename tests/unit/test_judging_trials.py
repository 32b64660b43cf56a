"""A trial is judged for what was measured in it, also where something never came."""

from contextlib import suppress
from pathlib import Path

import pytest

from pgdrill.faults.catalogue import FAULTS, LOCAL
from pgdrill.judge import failover
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import Trial
from tests.unit.fake_run import trial

pytestmark = pytest.mark.unit


def outcomes(tmp_path: Path, found: Trial, name: str = "primary_kill") -> dict[str, str]:
    """Judge a trial, and return the outcome of each promise by subject and name."""
    verdicts = Verdicts(tmp_path / "verdicts.jsonl")
    with suppress(BrokenBudgetError):
        failover.judge([found], FAULTS[name], LOCAL, verdicts)
    return {f"{v.subject}: {v.budget.name}": v.outcome for v in verdicts.given}


def with_fresh(found: Trial, **changes: object) -> Trial:
    """Return a trial whose fresh lane is another."""
    lanes = found.lanes | {"fresh": found.lanes["fresh"].model_copy(update=changes)}
    return found.model_copy(update={"lanes": lanes})


@pytest.fixture
def good() -> Trial:
    """A trial that keeps every promise."""
    return trial("primary_kill", 1, 3.2, 1000.0).model_copy(update={"fault": "primary_kill"})


def test_redundancy_that_was_never_seen_is_broken(tmp_path: Path, good: Trial) -> None:
    """It was looked for far longer than promised: that is no lack of evidence."""
    never = outcomes(tmp_path, good.model_copy(update={"redundancy": None}))
    assert never["primary_kill: time to full redundancy"] == "broken"
    assert outcomes(tmp_path, good)["primary_kill: time to full redundancy"] == "met"


@pytest.mark.parametrize(
    ("silence", "outcome"),
    [
        pytest.param(31.0, "broken", id="longer-than-promised"),
        pytest.param(4.0, "invalid", id="perhaps-shorter"),
        pytest.param(None, "invalid", id="no-acks-at-all"),
    ],
)
def test_a_gap_that_did_not_end_counts_for_as_long_as_it_was_seen(
    tmp_path: Path, good: Trial, silence: float | None, outcome: str
) -> None:
    """One that is longer than promised already breaks it; a shorter one may have gone on."""
    cut = with_fresh(good, gap=None, first_ack_after=None, silence=silence)
    assert outcomes(tmp_path, cut)["primary_kill, fresh: write gap"] == outcome


def test_members_that_nobody_could_look_at_are_not_judged(tmp_path: Path, good: Trial) -> None:
    """Without lanes straight to members nothing is known of two writers: it is left out, not met.

    With such lanes and nothing read of a member it stays a claim.
    """
    lanes = {name: good.lanes[name] for name in failover.CLIENT_LANES}
    afar = good.model_copy(update={"members": {}, "diverged": (), "lanes": lanes})
    names = {failover.DIVERGED.name, failover.TWO_WRITERS.name}
    assert not names & {key.partition(": ")[2] for key in outcomes(tmp_path, afar)}
    seen = good.model_copy(update={"members": {}, "lanes": lanes | {"fresh@pg-1": lanes["fresh"]}})
    assert names <= {key.partition(": ")[2] for key in outcomes(tmp_path, seen)}
