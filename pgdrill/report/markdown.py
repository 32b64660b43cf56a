"""Tables for performance-report.md: generated from a run, between two markers in prose by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median_low

from pgdrill.errors import BadUsageError
from pgdrill.judge import scaling as judged
from pgdrill.report.facts import drilled_ledger
from pgdrill.report.material import Material, coverage, read_run
from pgdrill.report.plots import alert_bound
from pgdrill.report.words import allowed, number, observed, seconds

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"


def update(document: Path, run: Path) -> None:
    """Replace what stands between the document's markers by the tables of a run.

    Raises:
        BadUsageError: no run in the directory, or a document without both markers.
    """
    text = document.read_text() if document.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BadUsageError(f"{document} has no place for tables: put {BEGIN} and {END} into it")
    document.write_text(f"{before}{BEGIN}\n{tables(run)}\n{END}{after}")


def tables(run: Path) -> str:
    """Return all tables of a run as markdown; what it did not measure is left out.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    m = read_run(run)
    parts = (_origin(m), _load(m), _failover(m), _ledger(m), _scaling(m), _alerts(m), _seed(m))
    return "\n\n".join(part for part in parts if part)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first columns hold words, the others numbers."""
    lines = [heads, [":--"] * words + ["--:"] * (len(heads) - words), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _origin(m: Material) -> str:
    found = [v.outcome for v in m.promises]
    judged = f"{found.count('met')} of {len(found)} promises kept" if found else "nothing judged"
    if not m.fingerprint:
        return f"Run `{m.path.name}`: {judged}."
    f = m.fingerprint
    machine = ", ".join(f"{name} {value}" for name, value in f.machine.items())
    return (
        f"Run `{m.path.name}` on {f.platform} with {f.engine} ({_cell(machine)}): {judged}."
        f" Again: `{f.command}`"
    )


def _load(m: Material) -> str:
    if not m.bench:
        return ""
    heads = ["load", "tx/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "late", "skipped", "failed"]
    rows = [
        [
            s.script,
            *(number(value) for value in (s.tps, s.p50_ms, s.p95_ms, s.p99_ms, s.p999_ms)),
            *(f"{value:,}" for value in (s.late, s.skipped, s.failed)),
        ]
        for s in m.bench.scripts
    ]
    slo = "; ".join(
        f"{v.budget.name} {observed(v)} (promised {allowed(v.budget)}): **{v.outcome}**"
        for v in m.objectives
    )
    offered = (
        f"Offered {number(m.bench.rate)} tx/s for {seconds(m.bench.duration)}, calibrated"
        f" {number(m.bench.calibration_tps)} tx/s"
        + (f", by {_cell(m.bench.pgbench)}." if m.bench.pgbench else ".")
    )
    return _table(heads, rows) + f"\n\n{offered} {f'SLO: {slo}.' if slo else ''}".rstrip()


def _failover(m: Material) -> str:
    rows = []
    for group in m.drills:
        for lane in group.lanes:
            values = lane.values
            shown = [values[0], median_low(values), values[-1]] if values else [None] * 3
            limit = "-" if lane.limit is None else f"≤ {number(lane.limit)} s"
            rows.append(
                [group.experiment, group.tuning, lane.lane, f"{len(values)}/{len(group.trials)}"]
                + [seconds(value) for value in shown]
                + [limit, f"{coverage(len(values))} %" if lane.longest is not None else "-"]
            )
    heads = ["write gap", "tuning", "lane", "trials", "min", "p50", "max", "promised", "covers*"]
    note = "\\* of such fail-overs at least this share stays below the maximum, 95 % confident."
    return _table(heads, rows, 3) + f"\n\n{note}" if rows else ""


def _ledger(m: Material) -> str:
    if not m.drills:
        return ""
    sums = drilled_ledger(m)
    heads = ["ledger", "acked", "acked-lost", "no answer", "refused", "phantom", "duplicate"]
    values = (
        sums.acked,
        sums.acked_lost,
        sums.indeterminate_present + sums.indeterminate_absent,
        sums.refused_absent + sums.refused_present,
        sums.refused_present,
        sums.duplicate,
    )
    trials = sum(len(group.trials) for group in m.drills)
    return _table(heads, [[f"writes in {trials} trials", *(f"{value:,}" for value in values)]])


def _scaling(m: Material) -> str:
    rows = []
    for s in m.scalings:
        share = judged.fair_share(judged.carried(s))
        rows.append(
            [
                f"{number(s.surge.rate)} connections/s for {seconds(s.surge.seconds)}",
                f"{s.least} to {judged.most_ready(s)}",
                seconds(judged.grown_after(s)),
                seconds(judged.shrunk_after(s)),
                "-" if share is None else f"{number(share)} %",
                f"{s.ledger.acked:,}",
                f"{s.ledger.acked_lost:,}",
            ]
        )
    heads = [
        "pooler under",
        "pods",
        "second after",
        "small after",
        "idlest*",
        "acked",
        "acked-lost",
    ]
    note = "\\* what the idlest pod carried, of a fair share."
    return _table(heads, rows) + f"\n\n{note}" if rows else ""


def _alerts(m: Material) -> str:
    rows = []
    for life in m.alerts:
        zero = life.condition
        instants = (life.firing, life.alertmanager, life.paged, life.resolved)
        after = [None if at is None or zero is None else at - zero for at in instants]
        rows.append([life.alert, *map(seconds, after), f"≤ {seconds(alert_bound(life))}"])
    heads = [
        "alert, after its condition",
        "firing",
        "Alertmanager",
        "paged",
        "resolved",
        "page due",
    ]
    return _table(heads, rows) if rows else ""


def _seed(m: Material) -> str:
    if not m.seed:
        return ""
    took = "reused" if m.seed.reused else f"loaded in {seconds(m.seed.seconds)}"
    return (
        f"Dataset: {m.seed.rows:,} rows in {len(m.seed.tables)} tables (seed {m.seed.seed}),"
        f" {took}; {len(m.seed.agreeing_members)} members agree on every checksum."
    )
