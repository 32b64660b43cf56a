"""The contents of a run directory: the records that suites write and the report reads.

Instants are seconds on the machine's monotonic clock, which every process of one machine shares;
clock.json anchors it to wall-clock time. Durations are seconds unless the name has a unit.
"""

from pgdrill.records.alerts import AlertLife, AlertPath, Detection, Seen
from pgdrill.records.base import Record
from pgdrill.records.load import (
    BOUNDS_MS,
    Bench,
    Commits,
    EarlierLoad,
    LoadWorker,
    LoadWorkers,
    MachineSecond,
    Published,
    ScriptResult,
    Seed,
    Slice,
    SloComparison,
    TableSeed,
    WaitLook,
)
from pgdrill.records.recovery import BackupTaken, NearbyWrite, Rebuild, Recovery
from pgdrill.records.runs import Clock, Collected, Event, Fingerprint, RunEnd, Series, TestEnd
from pgdrill.records.scaling import PoolerPod, ScalePoint, Scaling, Surge
from pgdrill.records.store import append, read, read_lines, write
from pgdrill.records.trials import (
    Inside,
    Kept,
    LaneResult,
    LedgerCount,
    Part,
    ProberPod,
    Service,
    Trial,
    is_routed,
    views,
)
from pgdrill.records.verdicts import SHARE, About, Budget, Outcome, Term, Verdict, total
from pgdrill.records.watch import Handover, Pause, Reads, Server, Watch, step

__all__ = [
    "BOUNDS_MS",
    "SHARE",
    "About",
    "AlertLife",
    "AlertPath",
    "BackupTaken",
    "Bench",
    "Budget",
    "Clock",
    "Collected",
    "Commits",
    "Detection",
    "EarlierLoad",
    "Event",
    "Fingerprint",
    "Handover",
    "Inside",
    "Kept",
    "LaneResult",
    "LedgerCount",
    "LoadWorker",
    "LoadWorkers",
    "MachineSecond",
    "NearbyWrite",
    "Outcome",
    "Part",
    "Pause",
    "PoolerPod",
    "ProberPod",
    "Published",
    "Reads",
    "Rebuild",
    "Record",
    "Recovery",
    "RunEnd",
    "ScalePoint",
    "Scaling",
    "ScriptResult",
    "Seed",
    "Seen",
    "Series",
    "Server",
    "Service",
    "Slice",
    "SloComparison",
    "Surge",
    "TableSeed",
    "Term",
    "TestEnd",
    "Trial",
    "Verdict",
    "WaitLook",
    "Watch",
    "append",
    "is_routed",
    "read",
    "read_lines",
    "step",
    "total",
    "views",
    "write",
]
