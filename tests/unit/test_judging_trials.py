"""A trial is judged for what was measured in it, also where something never came."""

from contextlib import suppress
from pathlib import Path

import pytest

from pgdrill.faults.catalogue import FAULTS, LOCAL
from pgdrill.judge import failover
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import Budget, Service, Trial
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
    ("steady", "shares", "outcome"),
    [
        pytest.param(15.0, (0.0, 50.0, 100.0), "met", id="in-time"),
        pytest.param(15.1, (0.0, 50.0, 100.0), "broken", id="late"),
        pytest.param(None, (5.0,) * 100, "broken", id="one-write-of-twenty-to-the-end"),
        pytest.param(None, (None, None), "invalid", id="nothing-was-due"),
        pytest.param(None, (), "invalid", id="not-looked-at"),
    ],
)
def test_service_that_is_not_steady_is_broken(
    tmp_path: Path,
    good: Trial,
    steady: float | None,
    shares: tuple[float | None, ...],
    outcome: str,
) -> None:
    """Whatever the gaps are: one acknowledged write ends a gap and is no service."""
    service = Service(limit_ms=200, window=5, shares=shares)
    found = outcomes(tmp_path, good.model_copy(update={"steady": steady, "service": service}))
    assert found.pop("primary_kill: time to steady service") == outcome
    assert set(found.values()) == {"met"}


def test_service_says_how_long_it_was_looked_for(tmp_path: Path, good: Trial) -> None:
    """And what share was in time, of the trial that decides."""
    service = Service(limit_ms=200, window=5, shares=(5.0,) * 70)
    bad = good.model_copy(update={"steady": None, "service": service})
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        failover.judge([good, bad], FAULTS["primary_kill"], LOCAL, verdicts)
    (said,) = (v for v in verdicts.given if v.budget.kind == failover.STEADY)
    assert said.note == "not within 70 s, 5 % in time in its worst second"


def test_trials_of_older_runs_are_not_judged_for_service(tmp_path: Path, good: Trial) -> None:
    """They ended before it was steady; all else of them is judged."""
    older = outcomes(tmp_path, good.model_copy(update={"steady": None, "service": None}))
    assert older == {k: v for k, v in outcomes(tmp_path, good).items() if "steady" not in k}


@pytest.mark.parametrize(
    ("field", "promise"),
    [
        ("torn", failover.TORN),
        ("lost_updates", failover.LOST_UPDATES),
        ("displaced", failover.DISPLACED),
    ],
)
def test_a_transaction_that_is_there_in_part_is_broken(
    tmp_path: Path, good: Trial, field: str, promise: Budget
) -> None:
    """Runs of when an attempt was one row have none, and nobody judges it."""
    key = f"primary_kill: {promise.name}"
    assert outcomes(tmp_path, good)[key] == "met"
    assert outcomes(tmp_path, good.model_copy(update={field: 1}))[key] == "broken"
    assert key not in outcomes(tmp_path, good.model_copy(update={field: None}))
    nothing = good.ledger.model_copy(update={"acked_present": 0})
    assert outcomes(tmp_path, good.model_copy(update={"ledger": nothing}))[key] == "invalid"


@pytest.mark.parametrize(("platform", "few"), [("local", 0), ("kind", 25)])
def test_only_nodes_that_share_few_processors_get_longer_to_be_steady(
    platform: str, few: float
) -> None:
    """Pods start there; members on `local` are processes."""
    spec = FAULTS["standby_kill"]
    here = next(where for where in spec.cost if where.platform == platform)
    two, four = (failover.budgets(here, spec, n).steady.limit for n in (2, 4))
    assert two - four == few


def test_two_writers_are_judged_by_what_could_be_seen(tmp_path: Path, good: Trial) -> None:
    """The verdict has the overlap that may not be detected; without an ack it is invalid."""
    key = "primary_kill: time with two writable members"
    verdicts = Verdicts(None)
    two = [good.model_copy(update={"unseen_overlap": seconds}) for seconds in (0.11, 0.13)]
    failover.judge(two, FAULTS["primary_kill"], LOCAL, verdicts)
    (said,) = (v for v in verdicts.given if v.budget == failover.TWO_WRITERS)
    assert said.note == "an overlap below 0.13 s may not be detected"
    direct = good.lanes["held@pg-1"].model_copy(update={"acked": 0})
    silent = good.model_copy(update={"lanes": good.lanes | {"held@pg-1": direct}})
    assert outcomes(tmp_path, good)[key] == "met"
    assert outcomes(tmp_path, silent)[key] == "invalid"
    assert outcomes(tmp_path, silent.model_copy(update={"two_writers": 0.2}))[key] == "broken"


def test_service_may_take_as_long_as_its_parts() -> None:
    """The gap's own limit, what sessions and attempts need after it, and a pod's start."""
    for where in FAULTS["primary_kill"].cost:
        found = failover.budgets(where, FAULTS["primary_kill"])
        pod = 5 if where.platform in ("kind", "kube") else 0
        assert found.steady.limit == found.gap.limit + 5 + pod
        assert found.steady.id == "primary_kill.steady-service"


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
    seen = good.model_copy(update={"members": {}, "lanes": lanes | {"held@pg-1": lanes["fresh"]}})
    assert names <= {key.partition(": ")[2] for key in outcomes(tmp_path, seen)}
