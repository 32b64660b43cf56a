"""One trial of a fault: its effect on clients, and the fate of every write."""

from pydantic import Field

from pgdrill.records.base import Record


class LaneResult(Record):
    """The observations of one kind of client during one trial."""

    attempts: int
    acked: int
    refused: int
    indeterminate: int
    gap: float | None  # longest time between consecutive acks around the fault; None: too few acks
    last_ack_before: float | None
    first_ack_after: float | None
    p50_ms: float | None
    p99_ms: float | None
    errors: dict[str, int] = Field(default_factory=dict)  # SQLSTATE or reason -> count
    silence: float | None = None  # seconds without an ack at the end: of a gap that did not end


class LedgerCount(Record):
    """The fate of every write of a trial, by class, as read from the primary."""

    acked_present: int
    acked_lost: int
    indeterminate_present: int
    indeterminate_absent: int
    refused_absent: int
    refused_present: int
    duplicate: int

    @property
    def acked(self) -> int:
        """Writes that were acknowledged to a client, there or lost."""
        return self.acked_present + self.acked_lost


class Service(Record):
    """How many of the clients' attempts were acknowledged in time, second by second after a fault.

    An attempt counts in the second in which it was due; direct lanes are no clients.
    """

    limit_ms: float  # what in time means, from when an attempt was due
    window: float  # seconds for which 99 % have to be in time before the service is steady
    shares: tuple[float | None, ...]  # % of each whole second; None: no attempt was due in it


class ProberPod(Record):
    """Where a prober inside of the cluster ran, and its clock against this machine's."""

    pod: str
    node: str
    clock_ahead_ms: float
    clock_bound_ms: float  # how much that may be wrong, either way, from start to end


class Inside(Record):
    """What clients beside the database saw during a trial, and the fate of their own writes."""

    where: ProberPod
    lanes: dict[str, LaneResult]
    ledger: LedgerCount
    torn: int
    lost_updates: int
    displaced: int
    two_writers: float
    schedule_error_p99_ms: float
    attempts_file: str


class Part(Record):
    """A named step of a failover, in seconds after the fault."""

    name: str
    after: float


class Trial(Record, file="trials.jsonl"):
    """One fault, once: what was hit, what clients saw, what was lost, when all was well again."""

    experiment: str
    control: bool = False  # a set-up that is bad on purpose: no result about the cluster
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
    torn: int | None = None  # transactions that are there in part; None: the run is older
    lost_updates: int | None = None  # counters less or more than their rows; None: the run is older
    displaced: int | None = None  # acked appends not at their place; None: the run is older
    diverged: tuple[str, ...] = ()  # members that hold other rows than the primary
    redundancy: float | None  # fault to all members streaming again
    steady: float | None  # fault to 99 % of attempts back inside their SLO, for a window
    service: Service | None = None  # None: the run is older, and steady was not waited for
    two_writers: float  # seconds in which two members both acknowledged writes
    unseen_overlap: float | None = None  # shorter ones may go unseen; None: the run is older
    parts: tuple[Part, ...]
    schedule_error_p99_ms: float
    attempts_file: str
    inside: Inside | None = None  # None: no prober ran inside of the cluster

    @property
    def wrote_straight(self) -> bool:
        """Whether clients wrote to members by their own addresses (lanes such as held@pg-1).

        Otherwise two members that both accept writes would not be seen.
        """
        return not all(map(is_routed, self.lanes))


def is_routed(lane: str) -> bool:
    """Whether a lane goes through the load balancer, as users do.

    A direct one (held@pg-1) may reach a standby; its purpose is to find two writers.
    """
    return "@" not in lane


def views(trial: Trial) -> tuple[Trial | Inside, ...]:
    """Return what each of a trial's probers saw: this machine's, and one inside where it ran."""
    return (trial, trial.inside) if trial.inside else (trial,)


class Kept(Record, file="kept.json"):
    """The second reading after the last fault: every ledger on the primary, and the dataset."""

    trials: int  # whose ledgers were read
    acked: int  # acknowledged writes of all of them
    lost: int  # those that are gone
    first_lost: str = ""  # the trial whose ledger lacks rows
    differing: tuple[str, ...] | None  # of the dataset's tables, by member; None: none was loaded
