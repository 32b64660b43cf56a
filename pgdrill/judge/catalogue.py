"""Every promise of pgdrill, by its key in `--budget`."""

from pgdrill.judge import alerting, budgets, failover, recheck, recovery, scaling, watching
from pgdrill.judge.promises import Limits, budgets_in, by_key
from pgdrill.records import Budget
from pgdrill.settings import Settings

ROWS, WINDOW = 1_000_000, 60.0  # the values for which dependent promises are listed


def known() -> dict[str, Budget]:
    """Return every promise; where engines, timings or sizes differ, the strictest."""
    return by_key(
        *(
            budget
            for module in (recheck, alerting, budgets, failover, recovery, scaling, watching)
            for budget in budgets_in(vars(module))
        ),
        *failover.promised(),
        *failover.steadied(),
        *alerting.nominal(),
        budgets.seed_time(ROWS),
        budgets.shrinkage(WINDOW),
        budgets.same_p99(1.0),
        budgets.same_commits(1, 0, 0),
        recovery.loss(recovery.LOSS),
    )


def limits(settings: Settings) -> Limits:
    """Return the limits that the user has set.

    Raises:
        BadUsageError: there is no promise for one of them.
    """
    return Limits.of(dict(settings.budget.own), known())
