"""What a run directory holds: the records that suites write and the report reads.

Instants are seconds on the machine's monotonic clock, which every process of one machine shares;
clock.json anchors it to wall-clock time. Durations are seconds unless the name says otherwise.
"""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Outcome = Literal["met", "broken", "invalid"]


class Record(BaseModel):
    """An immutable record that survives a round trip through JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Term(Record):
    """One part of a promise in seconds."""

    name: str
    seconds: float


class Budget(Record):
    """A promise: one number, its direction, and the arithmetic or source behind it."""

    name: str
    limit: float
    unit: str
    better: Literal["lower", "higher"]
    because: str
    key: str = ""  # what a user calls it, where the name alone is that of several
    terms: tuple[Term, ...] = ()  # what the limit is the sum of, where it is one

    @property
    def id(self) -> str:
        """What a user calls it: `--budget primary_kill.write-gap=5`."""
        return self.key or re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def allows(self, observed: float) -> bool:
        """Whether the observed value keeps the promise; NaN never does."""
        return observed <= self.limit if self.better == "lower" else observed >= self.limit


class Verdict(Record):
    """A budget, what was observed, and the outcome; invalid means: no evidence it was real."""

    budget: Budget
    subject: str
    observed: float | None
    outcome: Outcome
    note: str = ""
    test: str = ""
    expected: Outcome = "met"  # a control is right when its verdict is broken

    def line(self) -> str:
        """One line a stranger can read: subject, observed, allowed, why."""
        sign = "<=" if self.budget.better == "lower" else ">="
        if self.observed is None or self.observed == float("inf"):
            # JSON knows no infinity: what never came is broken, without a number.
            seen = "never" if self.outcome == "broken" else "no evidence"
        else:
            seen = f"{self.observed:.5g} {self.budget.unit}"
        text = (
            f"{self.subject}: {self.budget.name} {seen},"
            f" budget {sign} {self.budget.limit:g} {self.budget.unit} ({self.budget.because})"
        )
        return f"{text}: {self.note}" if self.note else text


class Collected(Record):
    """What a run set out to do: the ids of its tests, and of those that its profile leaves out."""

    tests: tuple[str, ...]
    left_out: tuple[str, ...]


class TestEnd(Record):
    """How a test ended, or its set-up or teardown; written at once, whatever ends the run."""

    __test__ = False  # pytest would collect it by its name

    test: str
    outcome: Literal["passed", "failed", "error", "skipped"]
    reason: str = ""  # of one that was skipped


class RunEnd(Record):
    """How a run ended; there is none where it was killed."""

    exit_status: int
    reason: str = ""  # what cut it off, where something did


class Event(Record):
    """Something that happened, on the one clock of the run."""

    at: float
    source: str  # fault, cluster, load, alert, test
    what: str
    subject: str = ""


class LaneResult(Record):
    """What one kind of client saw during one trial."""

    attempts: int
    acked: int
    refused: int
    indeterminate: int
    gap: float | None  # longest time between consecutive acks around the fault; None: too few acks
    last_ack_before: float | None
    first_ack_after: float | None
    p50_ms: float | None
    p99_ms: float | None
    errors: dict[str, int] = {}  # SQLSTATE or reason -> count
    silence: float | None = None  # seconds without an ack at the end: of a gap that did not end


class LedgerCount(Record):
    """What became of every write of a trial, by class, as read from the primary."""

    acked_present: int
    acked_lost: int
    indeterminate_present: int
    indeterminate_absent: int
    refused_absent: int
    refused_present: int
    duplicate: int


class Part(Record):
    """A named step of a fail-over, in seconds after the fault."""

    name: str
    after: float


class Trial(Record):
    """One fault, once: what was hit, what clients saw, what was lost, when all was well again."""

    experiment: str
    fault: str
    tuning: str
    number: int
    seed: int
    phase: float  # seconds waited, at random, before the fault
    target: str
    incarnation: str
    injected_at: float
    healed_at: float | None
    verified: bool
    evidence: str
    timeline_before: int
    timeline_after: int
    lanes: dict[str, LaneResult]
    ledger: LedgerCount
    members: dict[str, int]  # rows of this trial's ledger on each member
    diverged: tuple[str, ...] = ()  # members that hold other rows than the primary
    redundancy: float | None  # fault to all members streaming again
    steady: float | None  # fault to p99 back inside its SLO for the profile's window
    two_writers: float  # seconds in which two members both acknowledged writes
    parts: tuple[Part, ...]
    schedule_error_p99_ms: float
    attempts_file: str


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


class Bench(Record):
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


class MachineSecond(Record):
    """How the machine that carries the load fared in one second."""

    at: float
    busy: float  # % of all cores, since the look before
    stolen: float  # % of all cores that the hypervisor says it gave to others
    work_ms: float  # CPU time that a fixed piece of work took
    # % of the time since the look before in which somebody waited for it; None: the kernel does
    # not say, or the run is older than these.
    cpu_pressure: float | None = None
    io_pressure: float | None = None
    memory_pressure: float | None = None
    # Seconds that PostgreSQL's processes together waited for a CPU, in one second; None: as above.
    run_queue: float | None = None


class WaitLook(Record):
    """What the load's sessions on the primary did at one moment."""

    at: float
    sessions: dict[str, int]  # active ones by event: 'IPC:SyncRep'; 'CPU' where there is none
    trouble: str = ""  # why nobody could look; sessions is empty then


class SloComparison(Record):
    """One quantity of a load as its client's log has it and as Prometheus has it."""

    quantity: str
    unit: str
    client: float
    prometheus: float | None  # None: Prometheus has none
    budget: Budget  # of the difference
    note: str = ""

    @property
    def difference(self) -> float | None:
        """How far the two are apart, without a sign; None: there is nothing to compare."""
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


class Seed(Record):
    """The dataset: what was loaded, how fast, and that every member holds the same."""

    rows: int
    seed: int
    seconds: float
    reused: bool
    tables: tuple[TableSeed, ...]
    agreeing_members: tuple[str, ...]


class AlertLife(Record):
    """One alert's life, each stage an instant on the run's clock (None: never seen)."""

    alert: str
    severity: str
    scenario: str
    scrape: float
    evaluation: float
    hold: float  # the rule's `for`
    group_wait: float
    quiet_from: float
    condition: float | None
    pending: float | None
    firing: float | None
    alertmanager: float | None
    paged: float | None
    healed: float | None
    resolved: float | None


class PoolerPod(Record):
    """One pod of the pooler at one moment."""

    ready: bool
    cpu: float | None  # cores, as metrics-server has them; None: not measured yet
    transactions: int | None  # carried since it started; None: it did not say


class ScalePoint(Record):
    """What the pooler's autoscaler saw and wanted at one moment, and what was there."""

    at: float
    desired: int
    current: int  # pods that the autoscaler counts
    utilisation: float | None  # CPU, % of what the pods request; None: the autoscaler has no metric
    trouble: str = ""  # why the autoscaler cannot work, in its own words
    pods: dict[str, PoolerPod]

    @property
    def ready(self) -> int:
        """Pods that take connections."""
        return sum(pod.ready for pod in self.pods.values())


class Surge(Record):
    """A load of clients that connect anew for each transaction."""

    started_at: float
    ended_at: float
    clients: int
    rate: float  # transactions/s at most
    transactions: int
    aborted_clients: int
    exit_status: int
    pgbench: str = ""  # as a Bench has it

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended_at - self.started_at


class Scaling(Record):
    """One rise and fall of the pooler: the load, the pods, and what became of every write."""

    least: int
    most: int
    target: float  # CPU, % of what the pods request, that the autoscaler aims at
    window: float  # seconds that the load must have been less before pods go
    surge: Surge
    points: tuple[ScalePoint, ...]
    lanes: dict[str, LaneResult]
    ledger: LedgerCount
    attempts_file: str


class BackupTaken(Record):
    """One backup of the drill's own, and what it cost the clients meanwhile."""

    label: str
    began: float
    seconds: float
    size: int  # bytes of the cluster
    stored: int  # bytes that are kept of it
    p99_ms: float | None  # of the prober's clients while it ran; None: too few of their writes
    load_p99_ms: float | None = None  # of the shop's load while it ran; None: there was none


class Neighbour(Record):
    """One attempt to write near the point of a restore: seconds from the point, and what came."""

    began: float
    ended: float
    outcome: str  # acked, refused or indeterminate
    there: bool  # in the restored database


class Recovery(Record):
    """One restore: what was destroyed, what was asked for, and what came back, row by row."""

    scenario: str
    number: int
    kind: str  # how the point was named: time, lsn, name, latest
    target: str
    backup: BackupTaken
    point: float  # when the point was read from the server
    destroyed_at: float
    destruction: str
    began: float  # of the restore
    steps: tuple[Part, ...]  # seconds from there until each step was over
    wanted: int  # rows acknowledged before the point
    absent: int  # of them, not there
    late: int  # rows sent after the point
    surplus: int  # of them, there
    refused: int  # rows that were refused before the point and are there
    duplicate: int
    uncertain: int  # rows on their way at the point: there or not, both are right
    differing: tuple[str, ...]  # tables of the dataset that are not as they were
    checked: dict[str, int]  # what the restored database was asked about, and of how many
    complaints: tuple[str, ...]  # what it is not in order
    diverged: tuple[str, ...]  # restored members that hold other rows than the primary
    attempts_file: str
    # Of a cluster that was lost as a whole: seconds from the first row that is absent to the end,
    # and rows that are absent though later ones are there.
    lost_seconds: float | None = None
    holes: int = 0
    neighbours: tuple[Neighbour, ...] = ()  # attempts within a second of the point

    def step(self, name: str) -> float | None:
        """Seconds from the beginning of the restore until a step was over; None: never."""
        return next((part.after for part in self.steps if part.name == name), None)


class Rebuild(Record):
    """One standby that lost its volume and came back, from the archive or from the primary."""

    number: int
    member: str
    method: str  # what it was made from, by Patroni's own word
    began: float
    seconds: float  # until it streamed again
    p99_ms: float | None  # of the prober's clients meanwhile
    attempts_file: str


class Seen(Record):
    """One alert after a fault: seconds from it to each stage (None: never reached)."""

    alert: str
    member: str  # '' where the alert is of the whole cluster
    severity: str
    pending: float | None
    firing: float | None
    alertmanager: float | None


class Detection(Record):
    """What monitoring made of one fault: every alert that came after it, expected or not."""

    suite: Literal["chaos", "alerts"]
    fault: str  # its name in the chaos suite, the scenario's words in the alerts suite
    trial: int
    target: str
    at: float  # what the seconds count from: the injection, or (alerts) the condition
    expected: tuple[str, ...]
    excused: str  # why no alert need see it; '' where one must
    before: tuple[str, ...]  # raised when the fault came: their silence says nothing
    seen: tuple[Seen, ...]

    def arrived(self, alert: str) -> float | None:
        """Seconds until an alert about this target reached Alertmanager; None: never."""
        about = [s for s in self.seen if s.alert == alert and s.member in ("", self.target)]
        return min((s.alertmanager for s in about if s.alertmanager is not None), default=None)

    def was_raised(self, alert: str) -> bool:
        """Whether an alert of that name was raised already when the fault came."""
        return any(name.partition("(")[0] == alert for name in self.before)


class Series(Record):
    """A metric of one member over the run: (instant on the run's clock, value)."""

    metric: str
    unit: str
    member: str  # or what else the metric is told apart by: a node, a percentile
    points: tuple[tuple[float, float], ...]


class Fingerprint(Record):
    """Where the numbers come from: everything that is not a default belongs here."""

    command: str
    platform: str
    why_platform: str
    engine: str
    settings: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, str]
    tuning: dict[str, str]


class Clock(Record):
    """Anchor of the monotonic clock in wall-clock time."""

    monotonic: float
    wall: str  # ISO 8601, UTC

    @classmethod
    def now(cls) -> "Clock":
        """Read both clocks at once."""
        return cls(monotonic=time.monotonic(), wall=datetime.now(UTC).isoformat())


R = TypeVar("R", bound=Record)


def write(path: Path, record: Record) -> None:
    """Write one record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".part")
    draft.write_text(record.model_dump_json(indent=1) + "\n")
    draft.replace(path)


def append(path: Path, record: Record) -> None:
    """Add one record as a line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(record.model_dump_json() + "\n")


def read(path: Path, kind: type[R]) -> R | None:
    """Read one record; None where the run did not write it.

    Raises:
        ValueError: the file is not such a record.
    """
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_text())
    except ValidationError as error:
        raise ValueError(f"{path} is no {kind.__name__}: {error}") from None


def read_lines(path: Path, kind: type[R]) -> Iterator[R]:
    """Read a file of one record a line; nothing where the run did not write it.

    Raises:
        ValueError: a line is not such a record.
    """
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            yield kind.model_validate(json.loads(line))
        except (ValidationError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}:{number} is no {kind.__name__}: {error}") from None
