"""What holds of a load's objectives, and of two ways to count them, whatever was counted."""

from bisect import bisect_left
from contextlib import suppress
from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pgdrill.judge import bench as judged
from pgdrill.judge import budgets, catalogue, slos
from pgdrill.judge.promises import Limits
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import BOUNDS_MS, Bench, Commits, EarlierLoad, Published, ScriptResult
from tests.unit import fake_run

counts = st.integers(0, 10**6)
latencies = st.floats(0.1, 60_000)


@st.composite
def results(draw: st.DrawFn) -> ScriptResult:
    """Return a script's transactions: at least one was due, and late ones are answered ones."""
    answered, skipped, failed = draw(st.tuples(counts, counts, counts).filter(any))
    return ScriptResult(
        script="all",
        transactions=answered,
        tps=answered / 60,
        mean_ms=1,
        p50_ms=1,
        p95_ms=1,
        p99_ms=draw(latencies),
        p999_ms=1,
        late=draw(st.integers(0, answered)),
        skipped=skipped,
        failed=failed,
    )


def load(every: ScriptResult, *, exit_status: int = 0, aborted: int = 0) -> Bench:
    """Return a load of 60 s."""
    return Bench(
        started_at=0,
        duration=60,
        clients=8,
        scale=1,
        rate=100,
        calibration_tps=250,
        latency_limit_ms=200,
        scripts=(every,),
        aborted_clients=aborted,
        exit_status=exit_status,
        slices=(),
    )


@given(results())
def test_what_was_due_is_answered_or_not_and_bad_is_part_of_it(every: ScriptResult) -> None:
    """The share of bad ones and of answered ones are of the same whole, and cannot exceed it."""
    bad, answered = judged.bad_percent(every), judged.reality(load(every))[2].observed
    assert judged.due(every) == every.transactions + every.skipped + every.failed
    assert 0 <= bad <= 100
    assert answered is not None
    assert answered + bad >= 100 - 1e-9
    assert bad * judged.due(every) == pytest.approx(
        100 * (every.late + every.skipped + every.failed)
    )


@given(results(), st.integers(-15, 3), st.integers(0, 3))
def test_a_load_that_broke_off_has_no_p99_and_says_why(
    every: ScriptResult, status: int, aborted: int
) -> None:
    """However fast it was; its other claims stand on what was counted."""
    bench = load(every, exit_status=status, aborted=aborted)
    latency, bad = judged.objectives(bench)
    assert (latency.budget, bad.budget) == (budgets.P99, budgets.BAD_TRANSACTIONS)
    if status or aborted:
        assert latency.observed is None
        assert f"exit status {status}, {aborted} clients" in latency.note
    else:
        assert (latency.observed, latency.note) == (every.p99_ms, "")
    exited, clients, _ = judged.reality(bench)
    assert exited.observed is not None
    assert exited.budget.allows(exited.observed) == (status == 0)
    assert clients.observed == aborted


@given(latencies)
def test_a_bucket_is_as_wide_as_the_bounds_around_a_latency(latency: float) -> None:
    """Two values of one bucket never differ by more; beyond the last bound it is the last one."""
    width = slos.bucket_ms(latency)
    upper = next((bound for bound in BOUNDS_MS if bound >= latency), BOUNDS_MS[-1])
    lower = max(bound for bound in (0, *BOUNDS_MS) if bound < upper)
    assert width == upper - lower
    if latency <= BOUNDS_MS[-1]:
        assert upper - latency <= width


@given(results())
def test_two_ways_that_saw_the_same_agree_and_one_transaction_more_is_a_difference(
    every: ScriptResult,
) -> None:
    """Totals and shares must be equal, a percentile within its bucket; no data is no agreement."""
    bench = load(every)
    bound = BOUNDS_MS[min(bisect_left(BOUNDS_MS, slos.as_histogram(every)), len(BOUNDS_MS) - 1)]
    same = Published(
        due=judged.due(every), bad_percent=judged.bad_percent(every), p99_ms=float(bound)
    )
    assert {one.outcome for one in slos.compare_objectives(bench, same)} == {"met"}
    more = replace(same, due=same.due + 1)
    total, share, latency = slos.compare_objectives(bench, more)
    assert (total.outcome, share.outcome, latency.outcome) == ("broken", "met", "met")
    worse = replace(same, bad_percent=same.bad_percent + 0.001)
    assert [one.outcome for one in slos.compare_objectives(bench, worse)][1] == "broken"
    slower = replace(same, p99_ms=bound + slos.bucket_ms(bound) + 1)
    assert [one.outcome for one in slos.compare_objectives(bench, slower)][2] == "broken"
    unseen = slos.compare_objectives(bench, None, "why not")
    assert {(one.outcome, one.note) for one in unseen} == {("invalid", "why not")}


@given(st.integers(1, 64), counts, st.floats(1, 600), st.floats(0, 50))
def test_commits_differ_by_what_sessions_and_observers_add_and_no_more(
    clients: int, told: int, seconds: float, observers: float
) -> None:
    """The observers' are taken off; one beyond the limit on either side is too many."""
    limit = budgets.same_commits(clients, seconds, observers).limit
    assert limit >= 4 * clients + seconds + observers

    def outcome(total: float) -> str:
        counted = Commits(
            member="pg-1", since=100.0, until=100.0 + seconds, total=total, observers=observers
        )
        return slos.compare_commits(clients, told, counted).outcome

    assert outcome(told + observers) == "met"
    assert outcome(told + observers + limit + 1) == "broken"
    assert outcome(max(0, told + observers) - limit - 1) == "broken"


@given(st.integers(1, 64), counts, counts)
def test_a_commit_that_clients_were_told_of_and_nobody_counts_is_one_too_many(
    clients: int, told: int, total: int
) -> None:
    """Within what sessions and observers may add there is no room for one that is missing."""
    counted = Commits(member="pg-1", since=0.0, until=60.0, total=total, observers=0)
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        slos.judge([slos.compare_commits(clients, told, counted)], verdicts)
    _, uncounted = verdicts.given
    assert uncounted.budget == budgets.UNCOUNTED_COMMITS
    assert uncounted.observed == max(0, told - total)
    assert (uncounted.outcome == "met") == (told <= total)


def test_commits_that_nobody_could_count_are_no_evidence() -> None:
    """Zero of an unknown number proves nothing; other comparisons know no commits."""
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        slos.judge([slos.compare_commits(4, 2000, None, "why")], verdicts)
    assert [v.outcome for v in verdicts.given] == ["invalid", "invalid"]
    others = Verdicts(None)
    with suppress(BrokenBudgetError):
        slos.judge(fake_run.slos(), others)
    assert budgets.UNCOUNTED_COMMITS not in [v.budget for v in others.given]


@given(st.floats(1, 5000))
def test_capacity_is_judged_by_the_last_green_run(before: float) -> None:
    """Less than 40 % of what it reached is more than the noise of a machine."""
    bench, verdicts = fake_run.bench(), Verdicts(None)
    with suppress(BrokenBudgetError):
        judged.judge_capacity(bench, EarlierLoad(run="before", capacity_tps=before), verdicts)
    (verdict,) = verdicts.given
    assert verdict.budget.key == budgets.CAPACITY.key
    assert "of before, the last green run" in verdict.budget.because
    if abs(bench.calibration_tps - 0.4 * before) > 0.1:
        assert (verdict.outcome == "met") == (bench.calibration_tps > 0.4 * before)


@given(st.floats(1, 5000))
def test_capacity_is_judged_where_its_user_sets_a_floor(floor: float) -> None:
    """A database that is slow as a whole keeps every share of what it reached, and not this."""
    bench = fake_run.bench()
    free = Verdicts(None)
    judged.judge_capacity(bench, None, free)
    assert free.given == []
    own = Limits.of({"capacity": floor}, catalogue.known())
    bound = Verdicts(None, limits=own)
    with suppress(BrokenBudgetError):
        judged.judge_capacity(bench, None, bound)
    (verdict,) = bound.given
    assert verdict.budget.because == "set by you"
    assert (verdict.outcome == "met") == (bench.calibration_tps >= floor)
    beside = Verdicts(None, limits=own)
    with suppress(BrokenBudgetError):
        judged.judge_capacity(bench, EarlierLoad(run="before", capacity_tps=1), beside)
    assert beside.given[0].outcome == verdict.outcome, "an earlier run replaces the user's floor"


@given(st.integers(1, 10**8), st.integers(1, 10**8))
def test_more_rows_may_take_longer_and_few_take_no_less_than_some_seconds(
    rows: int, more: int
) -> None:
    """In proportion where they are many."""
    assert budgets.seed_time(rows).limit <= budgets.seed_time(rows + more).limit
    assert budgets.seed_time(rows).limit >= budgets.SEED_LEAST_SECONDS
    assert budgets.seed_time(1_000_000).limit == 20


def test_a_load_is_summed_up_in_a_table_with_its_verdicts_below() -> None:
    """One row a script, one line a claim: met, broken, or without evidence."""
    cut = fake_run.bench().model_copy(update={"exit_status": 2})
    console = Console(width=160, file=StringIO(), color_system=None)
    with console.capture() as got:
        console.print(judged.summary(cut))
    told = [line.rstrip() for line in got.get().splitlines()]
    place = next(n for n, line in enumerate(told) if line.startswith("script"))
    header, *lines = told[place:]
    assert " ".join(told[:place]) == (
        "pgbench: 16 clients, 420 offered/s for 300 s, scale 20; calibration 912/s; latencies in ms"
    )
    assert header.split() == [
        *("script", "TPS", "mean", "p50", "p95", "p99", "p99.9", "late", "skipped", "failed")
    ]
    numbers = ["7.9", "6.2", "19.4", "41.7", "188.2", "3", "0", "0"]
    assert [line.split() for line in lines[:3]] == [
        ["all", "420.0", *numbers],
        ["checkout.sql", "253.3", *numbers],
        ["browse.sql", "166.7", *numbers],
    ]
    assert lines[3:] == [
        "invalid  p99 latency no evidence (<= 200 ms); pgbench exit status 2, 0 clients aborted",
        "    met  bad transactions 0.002381 % (<= 0.1 %); 3 late, 0 skipped, 0 failed of 126000",
        " broken  pgbench exit status 2 (<= 0)",
        "    met  aborted clients 0 clients (<= 0 clients)",
        "    met  answered load 100 % (>= 95 %); 420.0 answered of 420 offered each second",
    ]


def test_what_a_limit_is_made_of_is_told_with_it() -> None:
    """Each budget that depends on a size says by how much, and why."""
    commits = budgets.same_commits(4, 60.0, 7.4)
    assert commits.limit == 84  # 2 x 8 sessions, 60 s and 7.4, up
    assert commits.because == (
        "one for the start of each of 8 sessions, warm-up included; as many for preparations; one"
        " a second for autovacuum; the monitoring's 7, which are subtracted, are an estimate from"
        " the standbys' counts"
    )
    bucket = budgets.same_p99(2.5)
    assert (bucket.limit, bucket.unit, bucket.better) == (2.5, "ms", "lower")
    assert bucket.because == "a histogram's resolution is the width of its bucket, 2.5 ms"
    seed = budgets.seed_time(1_000_000)
    assert (seed.unit, seed.better) == ("s", "lower")
    assert "50000 rows/s with keys" in seed.because
    assert seed.because.endswith("at least 5 s")
    assert budgets.seed_time(250_000).limit == budgets.SEED_LEAST_SECONDS
    assert budgets.shrinkage(60).because == (
        "last sample under load: kubelet 15 + metrics-server 15 + autoscaler 15 + autoscaler's"
        " window 60 + autoscaler's next evaluation 15 + pod stops 10"
    )
    floor = budgets.capacity(EarlierLoad(run="r", capacity_tps=1000.3))
    assert (floor.limit, floor.better, floor.unit) == (400.1, "higher", "/s")
    assert floor.because.startswith("40% of the 1000/s of r, the last green run like this one")


def test_commits_are_counted_without_those_of_the_observers() -> None:
    """The note says who counted how many, for how long; without a count it is the reason."""
    counted = Commits(member="pg-1", since=100.0, until=160.0, total=1000.4, observers=10.0)
    found = slos.compare_commits(4, 980, counted, "not this")
    assert (found.client, found.prometheus, found.difference) == (980, 990, 10)
    assert found.note == "pg-1 counted 1000 in 60 s, warm-up included"
    assert found.budget == budgets.same_commits(4, 60.0, 10.0)
    none = slos.compare_commits(4, 980, None, "nobody did")
    assert (none.prometheus, none.note) == (None, "nobody did")
    assert none.budget == budgets.same_commits(4, 0, 0)
    assert slos.compare_commits(4, 980, None).note == ""
    assert {one.note for one in slos.compare_objectives(fake_run.bench(), None)} == {""}


def test_p99_of_a_histogram_ends_at_its_last_bound() -> None:
    """So does one that falls among transactions without an answer, which has no latency."""
    whole = (
        fake_run.bench()
        .scripts[0]
        .model_copy(
            update={"transactions": 99, "late": 0, "skipped": 1, "failed": 0, "p99_ms": 12.5}
        )
    )
    last = BOUNDS_MS[-1]
    assert slos.as_histogram(whole) == 12.5
    assert slos.as_histogram(whole.model_copy(update={"skipped": 2})) == last
    assert slos.as_histogram(whole.model_copy(update={"failed": 1})) == last
    assert slos.as_histogram(whole.model_copy(update={"p99_ms": last + 1.0})) == last
    assert slos.bucket_ms(0.5) == BOUNDS_MS[0]
    assert slos.bucket_ms(last + 1) == last - BOUNDS_MS[-2]
