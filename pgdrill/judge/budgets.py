"""Every number that the suite promises, each with its arithmetic or source."""

import math

from pgdrill.records import Budget, EarlierLoad, Fingerprint, total

# With fewer the nodes of a cluster on Kubernetes, their members and clients wait for each other.
PROCESSORS = 4


def processors_of(run: Fingerprint | None) -> int:
    """Return the processors of the machine of a run; enough of them where it has no record."""
    return int(run.machine.get("cores", PROCESSORS)) if run else PROCESSORS


# smoke

WEAK_SETTINGS = Budget(
    key="durability.weak-settings",
    name="settings under which an acknowledged write may be lost",
    limit=0,
    unit="settings",
    better="lower",
    because="fsync, full_page_writes, wal_level, synchronous_commit of every role and database",
)

# perf

P99 = Budget(
    name="p99 latency",
    limit=200,
    unit="ms",
    better="lower",
    because="the service-level objective, from the scheduled start of each transaction",
)
BAD_TRANSACTIONS = Budget(
    name="bad transactions",
    limit=0.1,
    unit="%",
    better="lower",
    because="the service-level objective: late, skipped and failed ones, of all that were due",
)
DELIVERED_LOAD = Budget(
    name="answered load",
    limit=95,
    unit="%",
    better="higher",
    because="below this the percentiles are those of a smaller load",
)
CAPACITY = Budget(
    key="capacity",
    name="transactions/s that calibration reached",
    limit=-math.inf,
    unit="/s",
    better="higher",
    because="the load is a share of it and falls with it; without a floor it is shown only",
)
# The pace of one machine was seen to differ by half between runs (docs/measured.md), and a margin.
OF_EARLIER = 0.4


def capacity(earlier: EarlierLoad | None) -> Budget:
    """Return the floor of the calibration, in transactions/s: a share of that of an earlier run."""
    if earlier is None:
        return CAPACITY
    because = (
        f"{OF_EARLIER:.0%} of the {earlier.capacity_tps:.0f}/s of {earlier.run}, the last green run"
        " like this one: a machine's pace differs by half"
    )
    return CAPACITY.model_copy(
        update={"limit": round(OF_EARLIER * earlier.capacity_tps, 1), "because": because}
    )


ABORTED_CLIENTS = Budget(
    name="aborted clients",
    limit=0,
    unit="clients",
    better="lower",
    because="an aborted client sends no more transactions, which makes the others faster",
)
LOAD_EXIT_STATUS = Budget(
    name="pgbench exit status",
    limit=0,
    unit="",
    better="lower",
    because="1: it could not start, 2: errors during the run (pgbench manual, Exit Status)",
)

# the load, counted twice: by its client's log and by Prometheus

SAME_TOTAL = Budget(
    name="difference of totals",
    limit=0,
    unit="transactions",
    better="lower",
    because="final counters, from zero on, are read exactly, not sampled or extrapolated",
)
SAME_ERROR_SHARE = Budget(
    name="difference of error shares",
    limit=0,
    unit="%",
    better="lower",
    because="both divide the same two whole numbers",
)
PUBLISHER_COST = Budget(
    name="CPU of the publisher",
    limit=1,
    unit="% of a core",
    better="lower",
    because="the load and the cluster share the machine: 1 % of a core does not disturb them",
)


UNCOUNTED_COMMITS = Budget(
    name="told commits that the server does not count",
    limit=0,
    unit="commits",
    better="lower",
    because="sessions, autovacuum and observers add to the server's count, and nothing reduces it",
)


def same_p99(bucket_ms: float) -> Budget:
    """Return the budget for two 99th percentiles, one of them from a bucket of this width."""
    return Budget(
        name="difference of 99th percentiles",
        limit=bucket_ms,
        unit="ms",
        better="lower",
        because=f"a histogram's resolution is the width of its bucket, {bucket_ms:g} ms",
    )


def same_commits(clients: int, seconds: float, observers: float) -> Budget:
    """Return the budget for acknowledged commits and the server's, without its observers'."""
    sessions = 2 * clients
    return Budget(
        name="difference of commits",
        limit=math.ceil(2 * sessions + seconds + observers),
        unit="commits",
        better="lower",
        because=f"one for the start of each of {sessions} sessions, warm-up included; as many for"
        " preparations; one a second for autovacuum; the monitoring's"
        f" {observers:.0f}, which are subtracted, are an estimate from the standbys' counts",
    )


# seed

SEED_ROWS_PER_SECOND = 50_000
SEED_LEAST_SECONDS = 5.0


def seed_time(rows: int) -> Budget:
    """Time to load that many rows: 20 s for a million, proportional above 250 000."""
    return Budget(
        name="seed time",
        limit=max(SEED_LEAST_SECONDS, rows / SEED_ROWS_PER_SECOND),
        unit="s",
        better="lower",
        because=f"{SEED_ROWS_PER_SECOND} rows/s with keys, indexes and checksums, twelve tables,"
        f" at least {SEED_LEAST_SECONDS:g} s",
    )


# scale

GROWTH = total(
    "time to a second pooler",
    {
        "kubelet's interval": 15,
        "two scrapes of metrics-server": 30,
        "autoscaler": 15,
        "pod scheduled, started and ready": 30,
    },
)
FAIR_SHARE = Budget(
    name="load of the idlest pooler",
    limit=50,
    unit="% of a fair share",
    better="higher",
    because="new connections go to random pods: of thousands, each pod gets nearly the same number",
)


def shrinkage(window: float) -> Budget:
    """Return the budget to scale the pooler down; window: the autoscaler's, in seconds."""
    return total(
        "time to a small pooler",
        {
            "last sample under load: kubelet": 15,
            "metrics-server": 15,
            "autoscaler": 15,
            "autoscaler's window": window,
            "autoscaler's next evaluation": 15,
            "pod stops": 10,
        },
    )


# prober

SCHEDULE_ERROR = Budget(
    name="prober schedule error p99",
    limit=20,
    unit="ms",
    better="lower",
    because="late attempts are the error of every gap; a tenth of the p99 objective",
)
PROBER_MEMORY = Budget(
    name="prober memory for 1M attempts",
    limit=300,
    unit="MB",
    better="lower",
    because="an hour at 280 attempts/s must fit beside the cluster on a laptop of 8 GB",
)
