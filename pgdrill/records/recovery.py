"""A backup, a cluster that was restored from it, a member that was rebuilt."""

from pgdrill.records.base import Record
from pgdrill.records.trials import Part


class BackupTaken(Record):
    """One backup of the drill, and its effect on the clients."""

    label: str
    began: float
    seconds: float
    size: int  # bytes of the cluster
    stored: int  # bytes that are kept of it
    p99_ms: float | None  # of the prober's clients while it ran; None: too few of their writes
    load_p99_ms: float | None = None  # of the shop's load while it ran; None: there was none


class NearbyWrite(Record):
    """One attempt to write near the point of a restore: seconds from the point, and what came."""

    began: float
    ended: float
    outcome: str  # acked, refused or indeterminate
    there: bool  # in the restored database


class Recovery(Record, file="recoveries.jsonl"):
    """One restore: what was destroyed, the target, and what came back, row by row."""

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
    checked: dict[str, int]  # checks of the restored database, with the number of objects
    complaints: tuple[str, ...]  # what is wrong with it
    diverged: tuple[str, ...]  # restored members that hold other rows than the primary
    attempts_file: str
    # Of a cluster that was lost as a whole: seconds from the first row that is absent to the end,
    # and rows that are absent though later ones are there.
    lost_seconds: float | None = None
    holes: int = 0
    neighbours: tuple[NearbyWrite, ...] = ()  # attempts within a second of the point

    def step(self, name: str) -> float | None:
        """Seconds from the beginning of the restore until a step was over; None: never."""
        return next((part.after for part in self.steps if part.name == name), None)


class Rebuild(Record, file="rebuilds.jsonl"):
    """One standby that lost its volume and came back, from the archive or from the primary."""

    number: int
    member: str
    method: str  # what it was made from, as Patroni logged it
    began: float
    seconds: float  # until it streamed again
    p99_ms: float | None  # of the prober's clients meanwhile
    attempts_file: str
