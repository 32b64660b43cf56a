"""The steady load against its service-level objectives, and the dataset below it."""

from pgdrill.judge import bench, budgets, machine, slos
from pgdrill.judge import waits as judged_waits
from pgdrill.records import (
    Bench,
    Budget,
    EarlierLoad,
    MachineSecond,
    Seed,
    SloComparison,
    Verdict,
    WaitLook,
)
from pgdrill.report import loadplots, waits
from pgdrill.report.number_format import allowed, count, number, observed, seconds
from pgdrill.report.pages import render
from pgdrill.report.run_data import RunData
from pgdrill.report.suites import Question, Section, Suite
from pgdrill.report.tables import cell, table
from pgdrill.report.tiles import Tile, state_of, unmeasured


def budget_p99(m: RunData) -> Budget | None:
    """Return the promise about the 99th percentile of transactions, in ms."""
    return next((v.budget for v in m.promises if v.budget.kind == budgets.P99.kind), None)


def objectives(m: RunData) -> list[Verdict]:
    """Return the verdicts on the load's promises: its p99, and the share that was bad."""
    kinds = (budgets.P99.kind, budgets.BAD_TRANSACTIONS.kind)
    return [v for v in m.promises if v.budget.kind in kinds]


def _load(m: RunData) -> str:
    return render(
        "load.html.j2",
        m=m,
        b=m.one(Bench),
        seconds=m.all(MachineSecond),
        looks=m.all(WaitLook),
        slos=m.all(SloComparison),
        budget_p99=budget_p99(m),
        loadplots=loadplots,
        judged_waits=judged_waits,
        waits=waits,
        machine=machine,
    )


def _dataset(m: RunData) -> str:
    return render("dataset.html.j2", seed=m.one(Seed))


def _tiles(m: RunData) -> list[Tile]:
    name, bench = "p99 under load", m.one(Bench)
    if not bench or not bench.scripts:
        return [unmeasured(name)]
    budget = budget_p99(m)
    limit = f"promised {allowed(budget)}" if budget else "no promise judged"
    detail = f"{limit}, at {number(bench.rate)} transactions/s"
    p99 = f"{number(bench.scripts[0].p99_ms)} ms"
    return [Tile(name, p99, detail, state_of(m, budgets.P99.kind))]


def _done(m: RunData) -> list[str]:
    said, seed, bench = [], m.one(Seed), m.one(Bench)
    if seed:
        said.append(f"{seed.rows:,} rows seeded in {count(len(seed.tables), 'table')}.")
    if bench:
        said.append(
            f"{seconds(bench.duration)} of load at {number(bench.rate)} transactions/s"
            f" from {count(bench.clients, 'client')}."
        )
    return said


def _tables(m: RunData) -> list[str]:
    return [_load_table(m), _seed_table(m)]


def _load_table(m: RunData) -> str:
    bench = m.one(Bench)
    if not bench:
        return ""
    heads = ["load", "tx/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "late", "skipped", "failed"]
    rows = [
        [
            s.script,
            *(number(value) for value in (s.tps, s.p50_ms, s.p95_ms, s.p99_ms, s.p999_ms)),
            *(f"{value:,}" for value in (s.late, s.skipped, s.failed)),
        ]
        for s in bench.scripts
    ]
    slo = "; ".join(
        f"{v.budget.name} {observed(v)} (promised {allowed(v.budget)}): **{v.outcome}**"
        for v in objectives(m)
    )
    offered = (
        f"Offered {number(bench.rate)} tx/s for {seconds(bench.duration)}, calibrated"
        f" {number(bench.calibration_tps)} tx/s"
        + (f", by {cell(bench.pgbench)}." if bench.pgbench else ".")
    )
    text = table(heads, rows) + f"\n\n{offered} {f'SLO: {slo}.' if slo else ''}".rstrip()
    return text + (f"\n\n{_workers_table(bench)}" if bench.workers else "")


def _workers_table(bench: Bench) -> str:
    heads = ["pod", "node", "clients", "transactions", "clock ms", "began late by ms", "lag p99 ms"]
    rows = [
        [
            w.pod,
            w.node,
            str(w.clients),
            f"{w.transactions:,}",
            f"{number(w.clock_ahead_ms)} ± {number(w.clock_bound_ms)}",
            number(w.late_ms),
            "-" if w.lag_p99_ms is None else number(w.lag_p99_ms),
        ]
        for w in bench.workers
    ]
    return table(heads, rows)


def _seed_table(m: RunData) -> str:
    seed = m.one(Seed)
    if not seed:
        return ""
    took = "reused" if seed.reused else f"loaded in {seconds(seed.seconds)}"
    return (
        f"Dataset: {seed.rows:,} rows in {len(seed.tables)} tables (seed {seed.seed}),"
        f" {took}; {len(seed.agreeing_members)} members agree on every checksum."
    )


def _lines(m: RunData) -> list[str]:
    bench = m.one(Bench)
    if not bench:
        return []
    lines = [
        f"load: {number(all_.tps)} tx/s of {number(bench.rate)} offered,"
        f" mean {number(all_.mean_ms)} ms, p50 {number(all_.p50_ms)}, p95 {number(all_.p95_ms)},"
        f" p99 {number(all_.p99_ms)}, p99.9 {number(all_.p999_ms)} ms,"
        f" {all_.late + all_.skipped + all_.failed:,} bad of {all_.transactions:,}"
        + (f"; {bench.pgbench}" if bench.pgbench else "")
        for all_ in bench.scripts[:1]
    ]
    told = [f"SLO {v.outcome}: {v.line()}" for v in objectives(m)]
    return (
        lines
        + _workers_lines(bench)
        + told
        + _waits_line(m, bench)
        + _machine_line(m, bench)
        + _twice_line(m)
    )


def _workers_lines(bench: Bench) -> list[str]:
    return [
        f"{w.pod} on {w.node}: {w.transactions:,} transactions of {count(w.clients, 'client')},"
        f" began {number(w.late_ms)} ms late, clock {number(w.clock_ahead_ms)}"
        f" ± {number(w.clock_bound_ms)} ms"
        + ("" if w.lag_p99_ms is None else f", lag p99 {number(w.lag_p99_ms)} ms")
        for w in bench.workers
    ]


def _waits_line(m: RunData, bench: Bench) -> list[str]:
    seen = judged_waits.waits(bench, m.all(WaitLook))
    told = waits.sentences(seen, judged_waits.strains(bench, m.all(MachineSecond)))
    gap = f" No look succeeded in {count(seen.unseen, 'second')}." if seen and seen.unseen else ""
    return [f"waits: {' '.join(told)}{gap}"] if told else []


def _machine_line(m: RunData, bench: Bench) -> list[str]:
    pace = machine.pace(bench, m.all(MachineSecond))
    if pace is None:
        return []
    parts = [
        f"pace of the machine, in % of its best: {number(pace.during)} under the load,"
        f" {number(pace.slowest)} in the slowest {machine.SPELL} s",
        *([f"{number(pace.before)} before the load"] if pace.before is not None else []),
        *([f"{number(pace.late)} where transactions came late"] if pace.late is not None else []),
    ]
    return [f"{', '.join(parts)}; CPUs {number(pace.busy)} % in use"]


def _twice_line(m: RunData) -> list[str]:
    told = [
        f"{s.quantity} {number(s.client, 6)} and {number(s.prometheus, 6)} {s.unit}".rstrip()
        + f" ({s.outcome})"
        for s in m.all(SloComparison)
    ]
    return [f"computed twice, client and Prometheus: {', '.join(told)}"] if told else []


SUITE = Suite(
    name="perf",
    order=30,
    marker="steady load against the service-level objectives",
    records=(Bench, EarlierLoad, MachineSecond, WaitLook, SloComparison, Seed),
    judges=(bench.rejudge, slos.rejudge),
    place=20,
    questions=(
        Question(
            "Does it hold its service level?",
            (
                budgets.P99.kind,
                budgets.BAD_TRANSACTIONS.kind,
                budgets.CAPACITY.kind,
                budgets.seed_time(1).kind,
            ),
        ),
        Question(
            "Was the measuring itself sound?",
            (
                budgets.LOAD_EXIT_STATUS.kind,
                budgets.ABORTED_CLIENTS.kind,
                budgets.DELIVERED_LOAD.kind,
                budgets.SAME_TOTAL.kind,
                budgets.SAME_ERROR_SHARE.kind,
                budgets.same_p99(1).kind,
                budgets.same_commits(1, 0, 0).kind,
                budgets.UNCOUNTED_COMMITS.kind,
                budgets.PUBLISHER_COST.kind,
                budgets.SCHEDULE_ERROR.kind,
                budgets.PROBER_MEMORY.kind,
            ),
        ),
    ),
    sections=(Section("load", "Load", _load), Section("dataset", "Dataset", _dataset)),
    tiles=_tiles,
    done=_done,
    tables=_tables,
    lines=_lines,
)
