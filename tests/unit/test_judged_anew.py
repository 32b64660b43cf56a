"""What each kind of record is judged for, in the words that a person reads, from its file alone."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pgdrill.faults.catalogue import KIND, LOCAL
from pgdrill.judge import bench, failover, recheck, recovery, scaling, slos, watching
from pgdrill.judge.budgets import P99, PROCESSORS, processors_of
from pgdrill.judge.promises import Limits
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import Bench, EarlierLoad, Kept, Part, Record, Seed, Verdict
from pgdrill.rundir import Records, RunDir
from tests.unit import fake_run

pytestmark = pytest.mark.unit

FREE = Limits({})
Said = tuple[str, str, float | None, str]
Judge = Callable[[Records, Verdicts], None]


def anew(tmp_path: Path, judge: Judge, *kept: Record, limits: Limits = FREE) -> list[Verdict]:
    """Judge a run that holds these records alone."""
    run = RunDir.create(tmp_path / "run")
    for record in kept:
        run.keep(record)
    verdicts = Verdicts(None, limits=limits)
    with suppress(BrokenBudgetError), verdicts.together():
        judge(Records(run), verdicts)
    return verdicts.given


def said(found: list[Verdict]) -> list[Said]:
    """Return the promise, subject, number and note of each."""
    return [(v.budget.id, v.subject, v.observed, v.note) for v in found]


@pytest.mark.parametrize(
    "judge",
    [m.rejudge for m in (bench, failover, recheck, recovery, scaling, slos, watching)],
    ids=lambda judge: judge.__module__.rpartition(".")[2],
)
def test_a_run_that_recorded_nothing_is_judged_for_nothing(tmp_path: Path, judge: Judge) -> None:
    """Neither with a fingerprint alone, nor without one."""
    assert anew(tmp_path / "bare", judge) == []
    assert anew(tmp_path / "where", judge, fake_run.fingerprint()) == []


def test_the_last_look_names_the_first_losses(tmp_path: Path) -> None:
    """Of many tables that differ three are told, and the trial whose rows went first."""
    differing = tuple(f"pg{n}: orders" for n in range(1, 5))
    kept = Kept(trials=4, acked=3000, lost=2, first_lost="switchover 1", differing=differing)
    assert said(anew(tmp_path, recheck.rejudge, kept)) == [
        ("afterwards.rows-lost", "after 4 trials", 2, "of 3000 acked; first switchover 1"),
        (
            "afterwards.tables-changed",
            "after 4 trials",
            4,
            "pg1: orders; pg2: orders; pg3: orders",
        ),
    ]


def test_restores_are_judged_by_the_machine_and_engine_of_their_run(tmp_path: Path) -> None:
    """The notes have the spread of all, what was counted, and what was looked through."""
    where = fake_run.fingerprint().model_copy(update={"machine": {"cores": "2"}})
    gone = fake_run.recovery(1, scenario="everything gone", late=0, absent=300, lost_seconds=62.0)
    again = gone.model_copy(update={"lost_seconds": 64.04, "complaints": ("a role is gone",)})
    after = fake_run.recovery(3, scenario="failover", differing=("shop.item", "shop.orders"))
    other = fake_run.recovery(4, scenario="of another version", absent=9)
    copied = fake_run.rebuild().model_copy(update={"method": "", "seconds": 70.25})
    found = anew(
        tmp_path,
        recovery.rejudge,
        *(where, fake_run.recovery(1), fake_run.recovery(2), gone, again, after, other),
        *(fake_run.rebuild(), copied),
    )
    looked = "19 references, 2 sequences, 30 indexes, 19 tables, 5 roles"
    clients = "clients while the backup ran: the shop's load, and the ledger's"
    rows = "of 4,200 before the points and 2,800 after them"
    alone = "of 2,100 before the points and 1,400 after them"
    assert said(found) == [
        ("rows-absent", "oops", 0, rows),
        ("rows-too-many", "oops", 0, rows),
        ("duplicate-rows", "oops", 0, ""),
        ("tables-that-differ", "oops", 0, ""),
        ("defects", "oops", 0, looked),
        ("members-that-differ", "oops", 0, ""),
        ("time-to-back-up", "oops", 4.1, "min 4.1, p50 4.1 of 2 restores"),
        ("p99-latency", "oops", 44, clients),
        ("time-to-first-accepted-write", "oops", 16.9, "min 15.9, p50 15.9 of 2 restores"),
        (
            "restored.time-to-full-redundancy",
            "oops",
            24.2,
            "min 23.2, p50 23.2 of 2 restores",
        ),
        ("rows-absent", "oops after a failover", 0, alone),
        ("rows-too-many", "oops after a failover", 0, alone),
        ("duplicate-rows", "oops after a failover", 0, ""),
        ("tables-that-differ", "oops after a failover", 2, "shop.item"),
        ("defects", "oops after a failover", 0, looked),
        ("members-that-differ", "oops after a failover", 0, ""),
        ("time-to-back-up", "oops after a failover", 4.1, ""),
        ("p99-latency", "oops after a failover", 44, clients),
        ("time-to-first-accepted-write", "oops after a failover", 17.9, ""),
        ("restored.time-to-full-redundancy", "oops after a failover", 25.2, ""),
        (
            "writes-lost-with-every-volume",
            "everything gone",
            64.04,
            "600 of 4,200 rows; min 62.0, p50 62.0 of 2 restores",
        ),
        ("rows-absent-before-later-ones", "everything gone", 0, "of 4,200 rows"),
        ("rows-too-many", "everything gone", 0, "of 4,200 rows"),
        ("duplicate-rows", "everything gone", 0, ""),
        ("tables-that-differ", "everything gone", 0, ""),
        ("defects", "everything gone", 1, "a role is gone"),
        ("members-that-differ", "everything gone", 0, ""),
        ("time-to-back-up", "everything gone", 4.1, "min 4.1, p50 4.1 of 2 restores"),
        ("p99-latency", "everything gone", 44, clients),
        (
            "time-to-first-accepted-write",
            "everything gone",
            15.9,
            "min 15.9, p50 15.9 of 2 restores",
        ),
        (
            "restored.time-to-full-redundancy",
            "everything gone",
            23.2,
            "min 23.2, p50 23.2 of 2 restores",
        ),
        ("standbys-made-from-the-primary", "new member", 1, "unknown"),
        ("time-to-stream-again", "new member", 70.25, "min 8.9, p50 8.9 of 2 restores"),
        ("p99-latency", "new member", 41, "clients of the prober meanwhile"),
    ]
    (promised,) = (v.budget for v in found if v.budget.id == "writes-lost-with-every-volume")
    assert promised.limit == recovery.LOSS
    assert promised.because == "archive_timeout 60 + to store the file 10"


@pytest.mark.parametrize(
    ("machine", "crowded"),
    [({"cores": "3"}, True), ({"cores": "4"}, False), ({}, False)],
    ids=["three", "four", "not-recorded"],
)
def test_only_an_operators_members_that_share_few_processors_may_be_slow(
    tmp_path: Path, machine: dict[str, str], crowded: bool
) -> None:
    """Where the number is not known, the service level holds as everywhere else."""
    where = fake_run.fingerprint().model_copy(update={"machine": machine})
    cnpg = where.model_copy(update={"engine": "cnpg"})
    restored = fake_run.recovery(1)
    gone = fake_run.recovery(1, scenario="everything gone", lost_seconds=0.0)
    for number, (place, slow) in enumerate(((where, False), (cnpg, crowded))):
        found = anew(
            tmp_path / str(number), recovery.rejudge, place, restored, gone, fake_run.rebuild()
        )
        (latency,) = (v.budget for v in found if v.budget.unit == "ms" and v.subject == "oops")
        assert latency == (recovery.P99_CROWDED if slow else P99)
        (lost,) = (v.budget for v in found if v.budget.unit == "ms" and v.subject.endswith("gone"))
        assert lost == latency
        assert ("new member" in {v.subject for v in found}) == (place is where)
    unknown = where.model_copy(update={"engine": "another"})
    assert anew(tmp_path / "unknown", recovery.rejudge, unknown, restored) == []


@pytest.mark.parametrize(("machine", "limit"), [({"cores": "3"}, 30), ({"cores": "4"}, 5), ({}, 5)])
def test_a_trial_is_judged_by_the_machine_of_its_run(
    tmp_path: Path, machine: dict[str, str], limit: float
) -> None:
    """Pods that start share its processors, not those of the machine that judges."""
    where = fake_run.fingerprint().model_copy(
        update={"machine": machine, "platform": "kind", "edition": KIND.edition}
    )
    found = anew(tmp_path, failover.rejudge, where, fake_run.trial("standby_kill", 1, 0.1, 100.0))
    (steady,) = (v.budget for v in found if v.budget.kind == failover.STEADY)
    parts = {term.name: term.seconds for term in steady.terms}
    assert parts["a pod that starts on the same processors"] == limit


def test_processors_of_no_run_are_enough() -> None:
    """A run that kept no fingerprint is judged without an excuse."""
    assert processors_of(None) == PROCESSORS


def test_one_lost_cluster_has_no_spread_and_nothing_left_is_no_evidence(tmp_path: Path) -> None:
    """All rows absent is a number only where something came back."""
    one = fake_run.recovery(1, scenario="everything gone", absent=2100, lost_seconds=9.0, holes=0)
    found = anew(tmp_path, recovery.rejudge, fake_run.fingerprint(), one)
    assert said(found)[:3] == [
        ("writes-lost-with-every-volume", "everything gone", None, "2,100 of 2,100 rows"),
        ("rows-absent-before-later-ones", "everything gone", None, "of 2,100 rows"),
        ("rows-too-many", "everything gone", None, "of 2,100 rows"),
    ]


def test_a_load_is_judged_by_its_log_its_earlier_run_and_its_dataset(tmp_path: Path) -> None:
    """With what was late, offered and loaded; the first script is all of them."""
    load = fake_run.bench()
    seed = Seed(rows=500_000, seed=1, seconds=8.0, reused=True, tables=(), agreeing_members=())
    earlier = EarlierLoad(run="20261122", capacity_tps=1000.4)
    found = anew(tmp_path / "all", bench.rejudge, load, seed, earlier)
    assert said(found) == [
        ("pgbench-exit-status", bench.SUBJECT, 0, ""),
        ("aborted-clients", bench.SUBJECT, 0, ""),
        (
            "answered-load",
            bench.SUBJECT,
            100,
            "420.0 answered of 420 offered each second",
        ),
        ("p99-latency", bench.SUBJECT, 41.7, ""),
        (
            "bad-transactions",
            bench.SUBJECT,
            100 * 3 / 126_000,
            "3 late, 0 skipped, 0 failed of 126000",
        ),
        ("capacity", bench.SUBJECT, 912, ""),
        (
            "seed-time",
            "500,000 rows",
            8,
            "62,500 rows/s, when it was loaded by an earlier run",
        ),
    ]
    assert found[5].budget.limit == 400.2
    alone = anew(tmp_path / "alone", bench.rejudge, load)
    assert [v.budget.id for v in alone] == [v.budget.id for v in found[:5]]
    fresh = anew(tmp_path / "fresh", bench.rejudge, load, seed.model_copy(update={"reused": False}))
    assert fresh[-1].note == "62,500 rows/s"
    assert anew(tmp_path / "seed", bench.rejudge, seed) == []


def test_a_load_that_broke_off_says_how(tmp_path: Path) -> None:
    """A negative exit status is a signal, and no better than zero."""
    cut: Bench = fake_run.bench().model_copy(update={"exit_status": -9, "aborted_clients": 2})
    found = said(anew(tmp_path, bench.rejudge, cut))
    assert found[0][2] == 9
    assert found[3][2:] == (None, "pgbench exit status -9, 2 clients aborted")


def test_two_counts_are_compared_by_the_budget_that_was_kept_with_them(tmp_path: Path) -> None:
    """Their note is that of the comparison; only of commits it is asked what nobody counts."""
    load = fake_run.bench()
    kept = [
        *slos.compare_objectives(load, None, "why not"),
        slos.compare_commits(16, 126_000, None, "nobody counted"),
    ]
    subject = "client's log and Prometheus"
    assert said(anew(tmp_path, slos.rejudge, *kept)) == [
        ("difference-of-totals", subject, None, "why not"),
        ("difference-of-error-shares", subject, None, "why not"),
        ("difference-of-99th-percentiles", subject, None, "why not"),
        ("difference-of-commits", subject, None, "nobody counted"),
        ("told-commits-that-the-server-does-not-count", subject, None, "nobody counted"),
    ]
    seen = anew(tmp_path / "seen", slos.rejudge, *fake_run.slos())
    assert [v.observed for v in seen] == [0, 44.25 - 41.7]
    assert [(one.quantity, one.unit, one.client) for one in kept] == [
        ("transactions due", "", 126_000),
        ("bad transactions", "%", 100 * 3 / 126_000),
        ("p99 latency", "ms", 41.7),
        ("commits by PostgreSQL's count", "", 126_000),
    ]


def test_a_pooler_is_judged_with_what_it_did(tmp_path: Path) -> None:
    """How far it grew and shrank, what each pod carried, and who was served."""
    found = anew(tmp_path, scaling.rejudge, fake_run.scaling())
    height = "3 of at most 3 pods, CPU up to 110 % of what they request, target 60 %"
    assert said(found) == [
        ("time-to-a-second-pooler", "pooler", 24, height),
        ("time-to-a-small-pooler", "pooler", 80, "down to 1"),
        (
            "load-of-the-idlest-pooler",
            "pooler",
            100,
            "transactions by pod: 5,586, 5,586, 5,586",
        ),
        ("aborted-clients", "pooler", 0, "24,000 transactions of 8 clients"),
        ("acknowledged-writes-lost", "pooler", 0, "of 4870 acked"),
        ("refused-writes-present", "pooler", 0, "of 4870 acked"),
        ("duplicate-rows", "pooler", 0, "of 4870 acked"),
    ]


def test_every_trial_of_a_fault_is_judged_as_one(tmp_path: Path) -> None:
    """With the lane that it is about, and what was acknowledged in all trials together."""
    trials = [fake_run.trial("primary_kill", n, 2.0 + n, 1000.0 * n) for n in (1, 2)]
    late = trials[1].model_copy(
        update={"redundancy": None, "unseen_overlap": None, "timeline_after": 2}
    )
    found = anew(tmp_path, failover.rejudge, fake_run.fingerprint(), trials[0], late)
    kill = "primary_kill"
    acked = "of 10803 acked"
    gaps = [trial.lanes["held"].gap or 0 for trial in trials]
    held = f"min {min(gaps):.2f}, p50 {min(gaps):.2f} of 2 trials"
    assert said(found) == [
        ("primary_kill.write-gap", f"{kill}, fresh", 4, "min 3.00, p50 3.00 of 2 trials"),
        ("primary_kill.write-gap", f"{kill}, held", max(gaps), held),
        (
            "primary_kill.steady-service",
            kill,
            max(t.steady or 0 for t in trials),
            "0 % in time in its worst second",
        ),
        (
            "time-to-full-redundancy",
            kill,
            float("inf"),
            f"not within {failover.patience(LOCAL):.0f} s",
        ),
        ("trials-without-a-failover", kill, 1, "timelines 1 to 2, 2 to 2"),
        ("acknowledged-writes-lost", kill, 0, acked),
        ("refused-writes-present", kill, 0, acked),
        ("duplicate-rows", kill, 0, acked),
        ("members-that-differ", kill, 0, acked),
        ("transactions-that-are-there-in-part", kill, 0, acked),
        ("updates-lost-or-made-up", kill, 0, acked),
        ("appends-out-of-place", kill, 0, acked),
        ("time-with-two-writable-members", kill, 0, ""),
        ("prober-schedule-error-p99", kill, 3.2, ""),
    ]
    assert {v.about.fault for v in found} == {kill}
    assert {v.about.timing for v in found} == {LOCAL.timing}
    assert [v.about.lane for v in found] == ["fresh", "held"] + [""] * 12


def test_a_member_hides_nothing_of_a_step_that_never_came(tmp_path: Path) -> None:
    """A restore without its first write has no time, however fast the others were."""
    none = fake_run.recovery(1, steps=(Part(name="redundancy", after=9.0),))
    found = anew(
        tmp_path,
        recovery.rejudge,
        fake_run.fingerprint(),
        none,
        fake_run.recovery(2),
        fake_run.recovery(3),
    )
    (write,) = (v for v in found if v.budget.id == "time-to-first-accepted-write")
    assert (write.observed, write.note) == (None, "min 16.9, p50 16.9 of 2 restores")
