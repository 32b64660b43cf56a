"""A surge through the connection pooler, and how its pods followed."""

from pgdrill.records.base import Record
from pgdrill.records.trials import LaneResult, LedgerCount


class PoolerPod(Record):
    """One pod of the pooler at one moment."""

    ready: bool
    cpu: float | None  # cores, as metrics-server has them; None: not measured yet
    transactions: int | None  # carried since it started; None: not reported


class ScalePoint(Record):
    """The pooler's autoscaler and pods at one moment: metrics, wanted size, present size."""

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
    """A load of clients that open a new connection for each transaction."""

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
        """Its duration."""
        return self.ended_at - self.started_at


class Scaling(Record, file="scaling.jsonl"):
    """One rise and fall of the pooler: the load, the pods, and the fate of every write."""

    least: int
    most: int
    target: float  # CPU, % of what the pods request, that the autoscaler aims at
    window: float  # seconds that the load must have been less before pods go
    surge: Surge
    points: tuple[ScalePoint, ...]
    lanes: dict[str, LaneResult]
    ledger: LedgerCount
    attempts_file: str
