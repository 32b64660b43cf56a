"""The objectives computed twice, from the client's log and from Prometheus, and compared."""

from bisect import bisect_left
from collections.abc import Iterable

from pgdrill.judge import budgets
from pgdrill.judge.bench import bad_percent, due
from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import BOUNDS_MS, Bench, Commits, Published, ScriptResult, SloComparison
from pgdrill.rundir import Records

SUBJECT = "client's log and Prometheus"
COMMITS = budgets.same_commits(1, 0, 0)  # its limit depends on the load


def compare_objectives(
    bench: Bench, published: Published | None, note: str = ""
) -> tuple[SloComparison, ...]:
    """Compare what was due, the bad share, and p99; None: no data, note has the reason."""
    every = bench.scripts[0]
    p99_ms = as_histogram(every)
    return (
        SloComparison(
            quantity="transactions due",
            unit="",
            client=due(every),
            prometheus=published and published.due,
            budget=budgets.SAME_TOTAL,
            note=note,
        ),
        SloComparison(
            quantity="bad transactions",
            unit="%",
            client=bad_percent(every),
            prometheus=published and published.bad_percent,
            budget=budgets.SAME_ERROR_SHARE,
            note=note,
        ),
        SloComparison(
            quantity="p99 latency",
            unit="ms",
            client=p99_ms,
            prometheus=published and published.p99_ms,
            budget=budgets.same_p99(bucket_ms(p99_ms)),
            note=note,
        ),
    )


def compare_commits(
    clients: int, acknowledged: int, counted: Commits | None, note: str = ""
) -> SloComparison:
    """Compare acknowledged commits with the server's count; None: no data, note has the reason."""
    seconds = observers = 0.0
    if counted:
        seconds, observers = counted.until - counted.since, counted.observers
        note = f"{counted.member} counted {counted.total:.0f} in {seconds:.0f} s, warm-up included"
    return SloComparison(
        quantity="commits by PostgreSQL's count",
        unit="",
        client=acknowledged,
        prometheus=counted and round(counted.total - observers),
        budget=budgets.same_commits(clients, seconds, observers),
        note=note,
    )


def as_histogram(script: ScriptResult) -> float:
    """Return p99 as a histogram has it: at most the bound of its last bucket.

    If p99 falls among transactions without an answer, it is that bound, too. A Bench has the
    length of the run instead.
    """
    unanswered = script.transactions < -(-99 * due(script) // 100)
    return float(BOUNDS_MS[-1]) if unanswered else min(script.p99_ms, BOUNDS_MS[-1])


def bucket_ms(latency_ms: float) -> float:
    """Width of the histogram bucket that holds a latency."""
    upper = min(bisect_left(BOUNDS_MS, latency_ms), len(BOUNDS_MS) - 1)
    return BOUNDS_MS[upper] - (BOUNDS_MS[upper - 1] if upper else 0)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge every comparison of a run again, by the budget that was recorded with it."""
    judge(records.all(SloComparison), verdicts)


def judge(found: Iterable[SloComparison], verdicts: Verdicts) -> None:
    """Judge the difference of each comparison, and the commits that the server did not count."""
    with verdicts.together():
        for one in found:
            verdicts.check(one.budget, one.difference, SUBJECT, one.note)
            if one.budget.kind == COMMITS.kind:
                uncounted = None if one.prometheus is None else max(0, one.client - one.prometheus)
                verdicts.check(budgets.UNCOUNTED_COMMITS, uncounted, SUBJECT, one.note)
