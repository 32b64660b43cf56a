"""The promises for a watched database: no loss; any other only if its owner sets a limit."""

import math

from pgdrill.judge.promises import Limits
from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import About, Budget, LaneResult, Watch
from pgdrill.rundir import Records

NOTHING_PROMISED = "shown only; judged if you set a limit, because the right one depends on its use"


def _yours(key: str, name: str, unit: str) -> Budget:
    return Budget(
        key=f"watch.{key}",
        name=name,
        limit=math.inf,
        unit=unit,
        better="lower",
        because=NOTHING_PROMISED,
    )


LOST = Budget(
    key="watch.acked-lost",
    name="acknowledged writes lost",
    limit=0,
    unit="rows",
    better="lower",
    because="the server had acknowledged them as durable",
)
GAP = _yours("write-gap", "write gap", "s")
PHANTOM = _yours("refused-present", "refused writes present", "rows")
DUPLICATE = _yours("duplicate", "duplicate rows", "rows")
TWO_WRITERS = _yours("two-writers", "time with two writable members", "s")
STALE = _yours("stale-read", "staleness of reads", "ms")


def judge(watch: Watch, verdicts: Verdicts, limits: Limits) -> None:
    """Judge loss, and every promise that the user has set a limit for.

    Raises:
        BrokenBudgetError: a promise is broken, or there is no evidence that it was kept.
    """
    ledger = watch.ledger
    acked = sum(lane.acked for lane in watch.lanes.values())
    proven = ledger is not None and acked > 0
    note = f"of {acked} acked" if ledger else f"of {acked} acked: {watch.unread}"
    subject = "watch"
    with verdicts.together():
        verdicts.check(LOST, ledger.acked_lost if proven and ledger else None, subject, note)
        for name, lane in watch.lanes.items():
            if GAP.id in limits.own:
                gap, open_ = longest(lane, limits.own[GAP.id])
                unended = "the gap had not ended" if open_ else ""
                verdicts.check(GAP, gap, f"{subject}, {name}", unended, About(lane=name))
        for budget, seen in (
            (PHANTOM, ledger.refused_present if proven and ledger else None),
            (DUPLICATE, ledger.duplicate if proven and ledger else None),
            (TWO_WRITERS, watch.two_writers if acked else None),
            (STALE, watch.reads.most_ms if watch.reads else None),
        ):
            if budget.id in limits.own:
                verdicts.check(budget, seen, subject)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge a watch again, by the limits that its user sets today."""
    watch = records.one(Watch)
    if watch:
        judge(watch, verdicts, verdicts.limits)


def longest(lane: LaneResult, limit: float) -> tuple[float | None, bool]:
    """Return a lane's longest gap and whether it was still open.

    An open gap counts once it is above the limit. Below it, the final length is not known.
    """
    if lane.gap is not None or lane.silence is None:
        return lane.gap, False
    return (lane.silence if lane.silence > limit else None), True
