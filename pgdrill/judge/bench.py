"""What a benchmark proves: each claim with its evidence, and a table for people."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pgdrill.judge import budgets
from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import Bench, Budget, EarlierLoad, ScriptResult, Seed
from pgdrill.rundir import Records

SUBJECT = "pgbench at the read-write address"


@dataclass(frozen=True)
class Claim:
    """A budget and what a benchmark observed of it; observed None: no evidence."""

    budget: Budget
    observed: float | None
    note: str = ""


def p99(bench: Bench) -> Claim:
    """Latency of all transactions; a run that broke off is no evidence, however fast it was."""
    broke = _broke(bench)
    return Claim(budgets.P99, None if broke else bench.scripts[0].p99_ms, broke)


def bad_transactions(bench: Bench) -> Claim:
    """Share of late, skipped and failed among all that were due, those after an abort included."""
    every = bench.scripts[0]
    note = f"{every.late} late, {every.skipped} skipped, {every.failed} failed of {due(every)}"
    return Claim(budgets.BAD_TRANSACTIONS, bad_percent(every), note)


def objectives(bench: Bench) -> tuple[Claim, ...]:
    """The two service-level objectives."""
    return p99(bench), bad_transactions(bench)


def reality(bench: Bench) -> tuple[Claim, ...]:
    """Conditions without which the objectives mean nothing: the load was real, to its end."""
    every = bench.scripts[0]
    return (
        Claim(budgets.LOAD_EXIT_STATUS, abs(bench.exit_status)),
        Claim(budgets.ABORTED_CLIENTS, bench.aborted_clients),
        Claim(
            budgets.DELIVERED_LOAD,
            100 * every.transactions / due(every),
            f"{every.tps:.1f} answered of {bench.rate:g} offered each second",
        ),
    )


def judge_capacity(bench: Bench, earlier: EarlierLoad | None, verdicts: Verdicts) -> None:
    """Judge the transactions/s of the calibration by the user's floor, or by an earlier run.

    The load is a share of the calibration, so a database that is slow as a whole still meets
    every objective. With neither there is no floor, and no verdict.
    """
    if earlier or budgets.CAPACITY.id in verdicts.limits.own:
        verdicts.check(budgets.capacity(earlier), bench.calibration_tps, SUBJECT)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge the load again, and the time that its dataset took."""
    bench, seed = records.one(Bench), records.one(Seed)
    if bench is None:
        return
    check((*reality(bench), *objectives(bench)), SUBJECT, verdicts)
    judge_capacity(bench, records.one(EarlierLoad), verdicts)
    if seed:
        seeded(seed, verdicts)


def check(claims: Iterable[Claim], subject: str, verdicts: Verdicts) -> None:
    """Judge claims together."""
    with verdicts.together():
        for claim in claims:
            verdicts.check(claim.budget, claim.observed, subject, claim.note)


def seeded(seed: Seed, verdicts: Verdicts) -> None:
    """Judge how fast the dataset was loaded."""
    when = ", when it was loaded by an earlier run" if seed.reused else ""
    verdicts.check(
        budgets.seed_time(seed.rows),
        seed.seconds,
        f"{seed.rows:,} rows",
        f"{seed.rows / seed.seconds:,.0f} rows/s{when}",
    )


def _broke(bench: Bench) -> str:
    if bench.exit_status == 0 and bench.aborted_clients == 0:
        return ""
    return f"pgbench exit status {bench.exit_status}, {bench.aborted_clients} clients aborted"


def due(script: ScriptResult) -> int:
    """Count all transactions that were due, sent or not."""
    return script.transactions + script.skipped + script.failed


def bad_percent(script: ScriptResult) -> float:
    """Return the share of all that were due that was late, skipped or failed."""
    return 100 * (script.late + script.skipped + script.failed) / due(script)


def summary(bench: Bench) -> Group:
    """Return a compact table of a benchmark and its objectives, for a terminal (rich)."""
    table = Table(
        title=f"pgbench: {bench.clients} clients, {bench.rate:g} offered/s for"
        f" {bench.duration:.0f} s, scale {bench.scale};"
        f" calibration {bench.calibration_tps:.0f}/s; latencies in ms",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("script", no_wrap=True)
    for heading in ("TPS", "mean", "p50", "p95", "p99", "p99.9", "late", "skipped", "failed"):
        table.add_column(heading, justify="right")
    for one in bench.scripts:
        times = (one.mean_ms, one.p50_ms, one.p95_ms, one.p99_ms, one.p999_ms)
        table.add_row(
            one.script,
            f"{one.tps:.1f}",
            *(f"{milliseconds:.1f}" for milliseconds in times),
            *(str(count) for count in (one.late, one.skipped, one.failed)),
        )
    return Group(table, *(_line(claim) for claim in (*objectives(bench), *reality(bench))))


def _line(claim: Claim) -> Text:
    budget, seen = claim.budget, claim.observed
    word = "invalid" if seen is None else "met" if budget.allows(seen) else "broken"
    sign = "<=" if budget.better == "lower" else ">="
    value = "no evidence" if seen is None else f"{seen:.4g} {budget.unit}".rstrip()
    text = Text(f"{word:>7}", style="green" if word == "met" else "bold red")
    allowed = f"{sign} {budget.limit:g} {budget.unit}".rstrip()
    note = f"; {claim.note}" if claim.note else ""
    return text.append(f"  {budget.name} {value} ({allowed}){note}", style="default")
