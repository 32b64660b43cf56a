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
    """Compare what was due, the share that was bad, and p99; published None: no data, and why."""
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
    clients: int, told: int, counted: Commits | None, note: str = ""
) -> SloComparison:
    """Compare what clients were told of with what the server counted; None: no data, and why."""
    seconds = observers = 0.0
    if counted:
        seconds, observers = counted.until - counted.since, counted.observers
        note = f"{counted.member} counted {counted.total:.0f} in {seconds:.0f} s, warm-up included"
    return SloComparison(
        quantity="commits by PostgreSQL's count",
        unit="",
        client=told,
        prometheus=counted and round(counted.total - observers),
        budget=budgets.same_commits(clients, seconds, observers),
        note=note,
    )


def as_histogram(script: ScriptResult) -> float:
    """Return p99 as far as a histogram knows it: beyond its last bucket it only says: beyond.

    That is also where it has what was never answered, which a Bench gives the length of the run.
    """
    unanswered = script.transactions < -(-99 * due(script) // 100)
    return float(BOUNDS_MS[-1]) if unanswered else min(script.p99_ms, BOUNDS_MS[-1])


def bucket_ms(latency_ms: float) -> float:
    """Width of the histogram bucket that holds a latency."""
    upper = min(bisect_left(BOUNDS_MS, latency_ms), len(BOUNDS_MS) - 1)
    return BOUNDS_MS[upper] - (BOUNDS_MS[upper - 1] if upper else 0)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge every comparison of a run again, by the bound that it was made with."""
    judge(records.all(SloComparison), verdicts)


def judge(found: Iterable[SloComparison], verdicts: Verdicts) -> None:
    """Judge the difference of each comparison, and commits that one side alone knows of."""
    with verdicts.together():
        for one in found:
            verdicts.check(one.budget, one.difference, SUBJECT, one.note)
            if one.budget.kind == COMMITS.kind:
                uncounted = None if one.prometheus is None else max(0, one.client - one.prometheus)
                verdicts.check(budgets.UNCOUNTED_COMMITS, uncounted, SUBJECT, one.note)
