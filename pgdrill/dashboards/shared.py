"""Constructors of panels, and the panels that more than one dashboard shows."""

from pgdrill.dashboards.panels import Only, Panel, Query, Step, Tone, Word
from pgdrill.judge.budgets import P99

LIMIT_LAG = 5.0  # seconds, as in infra/alerts/rules/replication.yaml
LIMIT_DISK = 0.80  # share, as in infra/alerts/rules/storage.yaml
LIMIT_WAITING = 256 * 1024 * 1024  # bytes, as in infra/alerts/rules/backup.yaml
MEMBERS = 3  # every platform brings up so many

# What each member uses: name -> (PromQL, unit), one series per label `member`, which the recording
# file of a platform gives (infra/alerts/recording.*.yaml).
METRICS: dict[str, tuple[str, str]] = {
    "cpu": ("pgdrill:cpu_cores", "cores"),
    "memory": ("pgdrill:memory_bytes", "bytes"),
    "disk read": ("pgdrill:disk_read_bytes_per_second", "bytes/s"),
    "disk write": ("pgdrill:disk_written_bytes_per_second", "bytes/s"),
    "replication lag": ("pgdrill:replication_lag_seconds", "s"),
    "connections": ("pgdrill:connections", "sessions"),
    "transactions": ("pgdrill:transactions_per_second", "tx/s"),
}
LAG = METRICS["replication lag"][0]
FIRING = 'ALERTS{alertstate="firing"}'
# Rates of the load: four scrapes where a scrape takes longest, 5 s.
LATENCY = "sum by (le) (rate(pgdrill_load_latency_seconds_bucket[20s]))"
OUTCOMES = "sum by (outcome) (rate(pgdrill_load_transactions_total[20s]))"


def rising(*pairs: tuple[float, Tone]) -> tuple[Step, ...]:
    """The meaning of a value from each of these on."""
    return tuple(Step(at=at, tone=tone) for at, tone in pairs)


LATE = rising((LIMIT_LAG, "bad"))
FULL = rising((0.7, "warn"), (LIMIT_DISK, "bad"))
BUSY = rising((0.8, "warn"), (0.95, "bad"))


def stat(
    title: str,
    expr: str,
    about: str,
    *,
    unit: str = "",
    base: Tone = "good",
    steps: tuple[Step, ...] = (),
    words: tuple[Word, ...] = (),
    only: Only = "",
) -> Panel:
    """One number; green below its first step unless base is given."""
    return Panel(
        title=title,
        kind="stat",
        queries=(Query(expr=expr, legend=title),),
        about=about,
        unit=unit,
        base=base,
        steps=steps,
        words=words,
        only=only,
    )


def lines(
    title: str, expr: str, about: str, unit: str, steps: tuple[Step, ...] = (), by: str = "member"
) -> Panel:
    """One curve for each value of a label."""
    query = Query(expr=expr, legend="{{" + by + "}}")
    return Panel(title=title, kind="lines", queries=(query,), about=about, unit=unit, steps=steps)


def metric(title: str, name: str, about: str, steps: tuple[Step, ...] = ()) -> Panel:
    """A resource of every member, as the table METRICS has it."""
    expr, unit = METRICS[name]
    return lines(title, expr, about, unit, steps)


def states(
    title: str, query: Query, about: str, *words: tuple[float, str, Tone], only: Only = ""
) -> Panel:
    """Stretches of time, each named by the word for its value."""
    return Panel(
        title=title,
        kind="states",
        queries=(query,),
        about=about,
        words=tuple(Word(value=value, text=text, tone=tone) for value, text, tone in words),
        only=only,
    )


PRIMARY = Panel(
    title="Primary",
    kind="names",
    queries=(Query(expr="pgdrill:is_primary == 1", legend="{{member}}"),),
    about="The member that accepts writes now. Empty: none does, and every write fails or waits.",
)
MEMBERS_UP = stat(
    "Members up",
    "sum(pgdrill:member_up)",
    "Members whose PostgreSQL runs. With one less than all, one more loss may stop writes.",
    base="bad",
    steps=rising((MEMBERS - 1, "warn"), (MEMBERS, "good")),
)
SYNCHRONOUS = stat(
    "Sync standbys",
    "max(pgdrill:synchronous_standbys)",
    "Standbys that a commit may rely on. With none, every commit waits.",
    base="bad",
    steps=rising((1, "good")),
)
ALERTS = stat(
    "Alerts firing",
    f"count({FIRING}) or vector(0)",
    "How many alerts fire now; which ones is in the failover drill.",
    steps=rising((1, "bad")),
)
FULLEST = stat(
    "Fullest volume",
    "max(pgdrill:disk_used_ratio)",
    "PostgreSQL stops when its volume is full.",
    unit="share",
    steps=FULL,
)
OPERATOR = (Word(value=0, text="down", tone="bad"), Word(value=1, text="works", tone="good"))
LOAD_LATENCY = Panel(
    title="Latency of the load",
    kind="lines",
    queries=(
        Query(expr=f"histogram_quantile(0.99, {LATENCY})", legend="p99"),
        Query(expr=f"histogram_quantile(0.5, {LATENCY})", legend="p50"),
    ),
    about="As the clients of the steady load measured it; the dashed line is the objective of p99.",
    unit="s",
    steps=rising((P99.limit / 1000, "bad")),
    only="load",
)
LOAD_OUTCOMES = Panel(
    title="Transactions of the load",
    kind="lines",
    queries=(Query(expr=OUTCOMES, legend="{{outcome}}"),),
    about="Good: answered in time. Bad: late, skipped or failed.",
    unit="tx/s",
    only="load",
)
TRANSACTIONS = metric(
    "Commits by member", "transactions", "On standbys these are read-only ones of their own."
)
REPLICATION_LAG = metric(
    "Replication lag",
    "replication lag",
    "Age of what a reader of this member sees; pages at 5 s.",
    LATE,
)
UNARCHIVED = Panel(
    title="WAL that waits for the archive",
    kind="lines",
    queries=(Query(expr="max(pgdrill:archive_waiting_bytes)", legend="waiting"),),
    about="What the archive does not have yet, and a lost cluster would lose; pages at 256 MiB.",
    unit="bytes",
    steps=rising((LIMIT_WAITING, "bad")),
    only="backup",
)
VOLUMES = lines(
    "Volume in use",
    "pgdrill:disk_used_ratio",
    "The file system of the data directory; pages at 80 %.",
    "share",
    FULL,
)
