"""A trial is judged for what was measured in it, also where something never came."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgdrill.faults.catalogue import (
    EVERYWHERE,
    FAULTS,
    KIND,
    KIND_DEFAULT,
    LOCAL,
    TUNED,
    Cost,
    Where,
)
from pgdrill.judge import failover
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import Budget, Service, Trial
from pgdrill.rundir import Records, RunDir
from tests.unit.fake_run import fingerprint, trial, with_inside

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


@pytest.mark.parametrize(
    ("engine", "edition", "versions", "here"),
    [
        pytest.param("patroni", "", {}, LOCAL, id="engine-alone"),
        pytest.param("cnpg", "", {"cloudnative-pg": "1.30.0"}, KIND, id="of-its-operators-version"),
        pytest.param("x", "cnpg 1.30.0", {"cloudnative-pg": "9"}, KIND, id="as-it-was-recorded"),
        pytest.param("cnpg", "", {"cloudnative-pg": "0.1"}, None, id="nothing-promised-there"),
    ],
)
def test_trials_are_found_by_fault_and_place(
    tmp_path: Path, engine: str, edition: str, versions: dict[str, str], here: Where | None
) -> None:
    """In the order of the run; what was bad on purpose, hit nothing or is unknown is left out."""
    run = RunDir.create(tmp_path / "run")
    assert failover.drilled(Records(run)) == []
    where = {"engine": engine, "edition": edition, "versions": versions}
    place = here or KIND
    run.keep(fingerprint().model_copy(update=where | {"platform": place.platform}))
    kept = [
        trial(name, n, 2.0, 10.0 * n) for n in (1, 2) for name in ("switchover", "primary_kill")
    ]
    away = kept[0].model_copy(update={"tuning": "default"})
    for one in (
        *kept,
        away,
        kept[0].model_copy(update={"control": True}),
        kept[0].model_copy(update={"verified": False}),
        kept[0].model_copy(update={"experiment": "another"}),
        kept[0].model_copy(update={"tuning": "another"}),
    ):
        run.keep(one)
    found = failover.drilled(Records(run))
    if here is None:
        assert found == []
        return
    switches, kills = kept[::2], kept[1::2]
    expected = [(FAULTS["switchover"], here, switches), (FAULTS["primary_kill"], here, kills)]
    other = here._replace(timing="default")
    if other in FAULTS["switchover"].cost:
        expected.append((FAULTS["switchover"], other, [away]))
    assert found == expected


def test_redundancy_waits_for_gap_and_fault_where_the_member_comes_back_only_then() -> None:
    """Also where the gap alone is longer; the recovery is waited for longer than either."""
    for spec in FAULTS.values():
        for where in spec.cost:
            found = failover.budgets(where, spec)
            gap = spec.gap(where).limit
            late = spec.returns_late or gap > failover.REDUNDANCY.limit
            before = max(gap, spec.lasts) if late else 0
            whole = failover.REDUNDANCY.limit + before
            assert (found.gap.limit, found.redundancy.limit) == (gap, whole)
            assert found.redundancy.name == failover.REDUNDANCY.name
            first = "write gap, at most" if gap >= spec.lasts else "the fault lasts"
            assert found.redundancy.because.startswith(first) == late
            assert found.redundancy.because.endswith(" + margin 10")
    for where in EVERYWHERE:
        gaps = [spec.gap(where).limit for spec in FAULTS.values() if where in spec.cost]
        assert failover.longest_gap(where) == max(gaps)
        assert failover.patience(where) == max(failover.RECOVER, 1.5 * max(gaps))
    with pytest.raises(KeyError):
        failover.budgets(Where("nowhere", "", TUNED), FAULTS["primary_kill"])
    as_long = Cost({"all of it": failover.REDUNDANCY.limit})
    soon = replace(FAULTS["standby_kill"], cost={LOCAL: as_long}, returns_late=False)
    assert failover.budgets(LOCAL, soon).redundancy == failover.REDUNDANCY


def test_a_fault_is_named_with_its_timing_where_that_is_not_the_suites_own() -> None:
    """Its own timing needs no words."""
    assert failover.named("switchover", LOCAL) == "switchover"
    assert failover.named("switchover", KIND_DEFAULT) == "switchover on default timing"
    assert (failover.other_timing(TUNED), failover.other_timing("own")) == ("", "own")


def test_what_was_seen_of_a_trial_that_left_something_open_is_in_its_notes(good: Trial) -> None:
    """A gap that had not ended, service without evidence, a timeline that was not read."""
    lanes = {name: one.model_copy(update={"gap": None}) for name, one in good.lanes.items()}
    lanes["fresh"] = lanes["fresh"].model_copy(update={"silence": 31.0})
    service = Service(limit_ms=200, window=5, shares=(None, None))
    bad = good.model_copy(
        update={"lanes": lanes, "service": service, "steady": 3.0, "timeline_before": 0}
    )
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        failover.judge([bad], FAULTS["primary_kill"], LOCAL, verdicts)
    fresh, held, steady, _, moved, *_ = verdicts.given
    assert (fresh.observed, fresh.note) == (31, "the gap had not ended")
    assert (held.observed, held.note) == (None, "")
    assert (steady.observed, steady.note) == (None, "")
    assert (moved.observed, moved.note) == (None, "timelines 0 to 2")
    late = good.model_copy(
        update={
            "service": service.model_copy(update={"shares": (99.0, None, 61.4)}),
            "steady": 7.0,
        }
    )
    soon = good.model_copy(
        update={"service": service.model_copy(update={"shares": (1.0,)}), "steady": 2.0}
    )
    verdicts = Verdicts(None)
    failover.judge([soon, late], FAULTS["primary_kill"], LOCAL, verdicts)
    (said,) = (v for v in verdicts.given if v.budget.kind == failover.STEADY)
    assert (said.observed, said.note) == (7, "61 % in time in its worst second")


def test_a_fault_whose_fate_is_open_is_not_judged_by_its_timeline(good: Trial) -> None:
    """Whether a new primary came proves nothing there."""
    open_ended = [
        (spec, where)
        for spec in FAULTS.values()
        for where in spec.cost
        if spec.fate(where) == "either"
    ]
    assert open_ended
    names = {failover.NO_FAILOVER.name, failover.NEEDLESS_FAILOVER.name}
    for spec, where in open_ended:
        verdicts = Verdicts(None)
        with suppress(BrokenBudgetError):
            failover.judge([good], spec, where, verdicts)
        assert not names & {v.budget.name for v in verdicts.given}


def test_members_that_differ_are_counted_over_all_trials(good: Trial) -> None:
    """Each of them, in each trial; the slowest schedule decides."""
    split = good.model_copy(update={"diverged": ("a", "b"), "schedule_error_p99_ms": 7.5})
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        failover.judge([split, good, split], FAULTS["primary_kill"], LOCAL, verdicts)
    given = {v.budget.name: v for v in verdicts.given}
    acked = 3 * good.ledger.acked
    diverged = given[failover.DIVERGED.name]
    assert (diverged.observed, diverged.note) == (4, f"of {acked} acked")
    assert given["prober schedule error p99"].observed == 7.5
    assert given[failover.REDUNDANCY.name].note == ""


def test_a_loss_that_only_clients_inside_saw_is_a_loss(tmp_path: Path, good: Trial) -> None:
    """Their ledger is judged with the other one, for each way in which a write can go wrong."""
    both = with_inside(good, 0.5)
    assert set(outcomes(tmp_path, both).values()) <= {"met", "invalid"}
    assert both.inside
    counts: dict[str, dict[str, Any]] = {
        "acknowledged writes lost": {"ledger": good.ledger.model_copy(update={"acked_lost": 1})},
        "refused writes present": {"ledger": good.ledger.model_copy(update={"refused_present": 1})},
        "duplicate rows": {"ledger": good.ledger.model_copy(update={"duplicate": 1})},
        "transactions that are there in part": {"torn": 1},
        "updates lost or made up": {"lost_updates": 1},
        "appends out of place": {"displaced": 1},
        "time with two writable members": {"two_writers": 0.1},
    }
    for name, changed in counts.items():
        worse = both.model_copy(update={"inside": both.inside.model_copy(update=changed)})
        assert outcomes(tmp_path, worse)[f"primary_kill: {name}"] == "broken"


def test_clients_inside_that_wrote_nothing_prove_nothing(tmp_path: Path, good: Trial) -> None:
    """A ledger without an acknowledged write lost none of them."""
    both = with_inside(good, 0.5)
    assert both.inside
    none = good.ledger.model_copy(update={"acked_present": 0})
    silent = both.model_copy(update={"inside": both.inside.model_copy(update={"ledger": none})})
    assert outcomes(tmp_path, silent)["primary_kill: acknowledged writes lost"] == "invalid"


def test_no_client_inside_may_wait_longer_than_promised(tmp_path: Path, good: Trial) -> None:
    """The promise of clients outside holds for them; without a gap there is no evidence."""
    name = "primary_kill, fresh inside: write gap"
    assert outcomes(tmp_path, with_inside(good, 0.5))[name] == "met"
    assert outcomes(tmp_path, with_inside(good, -100))[name] == "broken"
    assert name not in outcomes(tmp_path, good)
