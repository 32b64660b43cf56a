"""The wait events of busy sessions, explained in plain words."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pgdrill.judge.waits import Strain, Strains, Waits
from pgdrill.report.number_format import count, number

TOP = 5  # events with a colour and a row of their own
OTHERS = "all others"
TOLD = 3  # kinds of waiting that a sentence names
LEAST = 1.0  # % of the time; it names no kind below that
WAL_FLUSH = "waiting for the WAL flush"
ROW = "waiting for a row that another transaction holds"
# PostgreSQL 17 writes some of them in another case.
MEANINGS: Mapping[str, str] = {
    "cpu": "on or waiting for a CPU",
    "ipc:syncrep": "waiting for a standby (SyncRep)",
    "io:walsync": WAL_FLUSH,
    "io:walwrite": WAL_FLUSH,
    "lwlock:walwrite": WAL_FLUSH,  # which one session does for all that wait for this lock
    "io:walinitwrite": "waiting for a new WAL file",
    "io:walinitsync": "waiting for a new WAL file",
    "lwlock:walinsert": "waiting for room in the WAL's buffers",
    "lock:transactionid": ROW,
    "lock:tuple": ROW,
    "io:datafileread": "waiting for a table page to be read",
    "client:clientread": "waiting for the client",
    "client:clientwrite": "waiting for the client",
}
KINDS: Mapping[str, str] = {
    "lock": "waiting for a lock",
    "lwlock": "waiting for a lock inside the server",
    "bufferpin": "waiting for a page that another session uses",
    "io": "waiting for a file",
    "ipc": "waiting for another process",
    "client": "waiting for the client",
    "timeout": "in a pause",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: an event, or all others together."""

    event: str
    meaning: str
    overall: float  # % of the time of busy sessions
    late: float | None
    otherwise: float | None


def meaning(event: str) -> str:
    """Return the meaning of an event, in words."""
    known = MEANINGS.get(event.casefold())
    if known:
        return known
    kind, _, name = event.partition(":")
    return f"{KINDS.get(kind.casefold(), 'waiting')} ({name or kind})"


def rows(waits: Waits) -> list[Row]:
    """Return a line for each event with a colour of its own, and one for the others, if any."""
    top = waits.top(TOP)
    of = {share.event: share for share in waits.shares}
    found = [
        Row(name, meaning(name), of[name].overall, of[name].late, of[name].otherwise)
        for name in top
    ]
    rest = [share for share in waits.shares if share.event not in top]
    if rest:
        more = f" and {len(rest) - TOP} more" if len(rest) > TOP else ""
        found.append(
            Row(
                OTHERS,
                ", ".join(share.event for share in rest[:TOP]) + more,
                sum(share.overall for share in rest),
                _sum([share.late for share in rest]),
                _sum([share.otherwise for share in rest]),
            )
        )
    return found


def sentences(waits: Waits | None, strains: Strains | None) -> list[str]:
    """Return the largest wait events of busy sessions, overall and where transactions came late."""
    shares = waits.shares if waits else ()
    told = ["No session was busy at any look."] if waits and not shares else []
    if shares:
        parts = _parts([(share.event, share.overall) for share in shares])
        spent = parts.replace(" %", " % was spent", 1)
        told.append(f"Of the time that sessions were busy, {spent}.")
    told += _pressures(strains, lambda strain: strain.during)
    late = [(share.event, share.late) for share in shares if share.late is not None]
    if waits and late:
        seconds = count(waits.late_seconds, "second")
        told.append(f"In the {seconds} with late transactions: {_parts(late)}.")
        told += _pressures(strains, lambda strain: strain.late)
    return told


def _parts(shares: Sequence[tuple[str, float]]) -> str:
    """Name what took most; events that mean the same are one."""
    sums: dict[str, float] = defaultdict(float)
    for event, share in shares:
        sums[meaning(event)] += share
    most = sorted(sums.items(), key=lambda part: -part[1])[:TOLD]
    return ", ".join(f"{number(share, 2)} % {words}" for words, share in most if share >= LEAST)


def _pressures(strains: Strains | None, of: Callable[[Strain], float | None]) -> list[str]:
    if strains is None:
        return []
    known = (("CPU", strains.cpu), ("I/O", strains.io), ("memory", strains.memory))
    told = [(name, of(strain)) for name, strain in known if strain]
    said = ", ".join(
        f"{name} pressure {number(value, 2)} %"
        for name, value in told
        if value is not None and (value >= LEAST or name == "CPU")
    )
    return [f"{said}."] if said else []


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
