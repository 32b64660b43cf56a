"""The dataset, a load, and its machine and database during the load."""

from dataclasses import dataclass
from typing import Final

from pgdrill.records.base import Record
from pgdrill.records.verdicts import Budget, Outcome

# Upper bounds of the latency buckets in ms. Narrow around the objective of 200 ms, and wide enough
# at the end that a failover still falls inside: a percentile is known no better than its bucket.
BOUNDS_MS: Final = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 140, 160, 170, 180, 190),
    *(200, 210, 220, 230, 240, 260, 280, 300, 350, 400, 500, 750, 1000, 2000, 5000, 10_000, 30_000),
)


class Slice(Record):
    """One second of a benchmark, counted by scheduled start."""

    second: int
    transactions: int
    bad: int
    p50_ms: float | None
    p99_ms: float | None


class ScriptResult(Record):
    """Transactions of one pgbench script (or of all)."""

    script: str
    transactions: int
    tps: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    late: int
    skipped: int
    failed: int


class Bench(Record, file="bench.json"):
    """One pgbench run: calibration, offered rate, percentiles from the per-transaction log."""

    started_at: float
    duration: float
    clients: int
    scale: int
    rate: float
    calibration_tps: float
    latency_limit_ms: float
    scripts: tuple[ScriptResult, ...]  # the first is named "all"
    aborted_clients: int
    exit_status: int
    slices: tuple[Slice, ...]
    pgbench: str = ""  # version, place, and why there; '' in runs of before that was kept
    workers: tuple["LoadWorker", ...] = ()  # none where one pgbench of this machine carried it


class LoadWorker(Record):
    """One pod of a load; its clock is the one that its log is written with."""

    pod: str
    node: str
    clients: int
    clock_ahead_ms: float  # of the clock of the machine that followed it
    clock_bound_ms: float  # how much that may be wrong, either way
    late_ms: float  # begun so long after the common instant
    transactions: int = 0
    # p99 of the time from a transaction's scheduled start until pgbench sent it; None: none was.
    lag_p99_ms: float | None = None


class LoadWorkers(Record):
    """Every pod of a load, as the program that followed them writes it beside their logs."""

    workers: tuple[LoadWorker, ...]


class EarlierLoad(Record, file="earlier.json"):
    """The load of the last green run like this one, which its capacity is compared with."""

    run: str
    capacity_tps: float


class MachineSecond(Record, file="machine.jsonl"):
    """The pace of the load's machine in one second."""

    at: float
    busy: float  # % of all cores, since the look before
    stolen: float  # % of all cores that the hypervisor reports as stolen
    work_ms: float  # CPU time that a fixed piece of work took
    # % of the time since the look before in which some process waited for it; None: the kernel does
    # not report it, or the run is older than these.
    cpu_pressure: float | None = None
    io_pressure: float | None = None
    memory_pressure: float | None = None
    # Seconds that PostgreSQL's processes together waited for a CPU, in one second; None: as above.
    run_queue: float | None = None


class WaitLook(Record, file="waits.jsonl"):
    """The states of the load's sessions on the primary at one moment."""

    at: float
    sessions: dict[str, int]  # active ones by event: 'IPC:SyncRep'; 'CPU' where there is none
    trouble: str = ""  # why the look failed; sessions is empty then


class SloComparison(Record, file="slos.jsonl"):
    """One quantity of a load as its client's log has it and as Prometheus has it."""

    quantity: str
    unit: str
    client: float
    prometheus: float | None  # None: Prometheus has none
    budget: Budget  # of the difference
    note: str = ""

    @property
    def difference(self) -> float | None:
        """The absolute difference of the two; None: there is nothing to compare."""
        return None if self.prometheus is None else abs(self.client - self.prometheus)

    @property
    def outcome(self) -> Outcome:
        """As a verdict on the difference comes out."""
        if self.difference is None or self.difference != self.difference:
            return "invalid"
        return "met" if self.budget.allows(self.difference) else "broken"


class TableSeed(Record):
    """One seeded table."""

    table: str
    rows: int
    checksum: str


class Seed(Record, file="seed.json"):
    """The dataset: what was loaded, how fast, and that every member holds the same."""

    rows: int
    seed: int
    seconds: float
    reused: bool
    tables: tuple[TableSeed, ...]
    agreeing_members: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """The objectives as Prometheus computes them, from the final state of a run's counters.

    No increase(): it extrapolates to the ends of its window. Counters that begin at zero with the
    run are their own increase.
    """

    due: float
    bad_percent: float
    p99_ms: float


@dataclass(frozen=True)
class Commits:
    """The primary's commits between two scrapes, and the monitoring's part of them."""

    member: str
    since: float  # Unix time
    until: float
    total: float
    observers: float  # the same share of time on the busiest standby, where no client commits
