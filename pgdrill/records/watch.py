"""A watch over a user's own database: what clients saw while its owner broke it."""

from datetime import UTC, datetime
from typing import Literal

from pgdrill.records.base import Record
from pgdrill.records.trials import LaneResult, LedgerCount


class Server(Record):
    """The server that acknowledged writes, as far as it identifies itself."""

    address: str  # its own, behind any load balancer; 'local': a Unix socket
    since: int = 0  # start of its postmaster, Unix time; 0: unknown
    timeline: int = 0  # 0: unknown

    def text(self) -> str:
        """Name it for people."""
        return f"{self.address}, timeline {self.timeline or 'unknown'}"

    def started(self) -> str:
        """Return when its postmaster started, UTC."""
        return f"{datetime.fromtimestamp(self.since, UTC):%H:%M:%S}" if self.since else "unknown"


def step(before: Server, after: Server) -> str:
    """Return in a few words what happened between two servers."""
    if (before.address, before.timeline) == (after.address, after.timeline):
        return f"restart of {after.text()}, at {after.started()}"
    return f"failover from {before.text()} to {after.text()}"


class Handover(Record):
    """Another server, another timeline or a start of the same one, and what that cost.

    last is the latest acknowledgement before its first, which came at `at`.
    """

    kind: Literal["failover", "restart"]
    before: Server
    after: Server
    last: float
    at: float
    gaps: dict[str, float | None]  # by lane; None: not over when the watch was
    lost: int | None  # of the writes that the server before had acknowledged; None: not read


class Pause(Record):
    """Two acknowledged writes of one lane that lie far apart."""

    lane: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How far."""
        return self.ended - self.began


class Reads(Record):
    """The reads through an address of their own, and their largest delay."""

    target: str
    answered: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    most_ms: float | None


class Watch(Record, file="watch.json"):
    """All that one watch saw; an instant is on the run's clock."""

    target: str  # the connection string without secrets
    server: str  # PostgreSQL's version
    began: float
    ended: float
    reason: str  # what ended it
    rate: float  # attempts a second, of all lanes
    deadline: float
    lanes: dict[str, LaneResult]  # the gap is the longest of the whole watch
    pauses: tuple[Pause, ...]  # the longest ones, in order of time
    handovers: tuple[Handover, ...]
    marks: tuple[float, ...]  # the user's own
    ledger: LedgerCount | None  # None: it could not be read
    unread: str = ""  # why
    lost_alone: int = 0  # acknowledged writes that are gone, and no server went with them
    two_writers: float
    schedule_error_p99_ms: float
    reads: Reads | None = None
    attempts_file: str
