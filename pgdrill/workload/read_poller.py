"""Which server answers at an address, and how stale it is: bounded reads at a fixed period."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import psycopg
from psycopg.sql import SQL, Composed

from pgdrill.attempt_log import Outcome
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.waiting import ticks
from pgdrill.workload import ledger
from pgdrill.workload.attempts import NS, Attempts
from pgdrill.workload.dataset.sessions import Sessions
from pgdrill.workload.server_identity import IDENTITY_SQL

WITHIN = 2.0  # seconds for one look
LEAVE_WITHIN = 6.0  # seconds for the last one to end: connection and query
NEWEST = 200  # rows that a look reads: several seconds of writes, so that holes in them show


@dataclass(frozen=True)
class Look:
    """The result of one look: the newest id (0: no row), and ids missing shortly before it."""

    ended: float
    newest: int
    holes: tuple[int, ...]


@dataclass
class ReadPoller:
    """Looks through a connection string from a thread of its own while the block lasts.

    table: a ledger of which the newest rows are read; without one, only the server is read.
    changed is called, from that thread, with each change of the server that answers.
    """

    conninfo: str
    every: float
    changed: Callable[[str], object]
    table: str = ""
    answers: str = ""  # the server that answered last, '' before the first answer
    looks: list[Look] = field(default_factory=list)
    failed: int = 0

    def __post_init__(self) -> None:
        self._over = False
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def __enter__(self) -> "ReadPoller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(LEAVE_WITHIN)

    def _run(self) -> None:
        for _ in ticks(self.every, lasting=float("inf")):
            if self._over:
                return
            try:
                seen = self._look()
            except BrokenEnvironmentError:
                self.failed += 1
                seen = "nobody"
            if seen != self.answers:
                self.answers = seen
                self.changed(seen)

    def _look(self) -> str:
        newest = ledger.newest(self.table, NEWEST) if self.table else SQL("ARRAY[]::bigint[]")
        try:
            ids, who = self._query(newest)
        except BrokenEnvironmentError as error:
            # The standby has not replayed the creation of the table.
            if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise
            ids, who = self._query(SQL("ARRAY[]::bigint[]"))
        if self.table:
            holes = sorted(set(range(ids[-1], ids[0])) - set(ids)) if ids else []
            self.looks.append(Look(time.monotonic(), ids[0] if ids else 0, tuple(holes)))
        return who

    def _query(self, newest: SQL | Composed) -> tuple[list[int], str]:
        with Sessions(WITHIN, pooled=True) as sessions:
            sessions.doing = "reading which server answers"
            with sessions.open(self.conninfo) as connection:
                row = connection.execute(
                    SQL("SELECT pg_is_in_recovery(), {}, {}").format(
                        IDENTITY_SQL["address"], newest
                    )
                ).fetchone()
        assert row is not None
        return row[2], f"{row[1]}, {'standby' if row[0] else 'primary'}"


def staleness(looks: list[Look], attempts: Attempts, ids: ledger.Ids) -> list[float]:
    """Return the upper bound of each look's staleness, seconds; 0: no write was missing.

    It is the time from the sending of the first missing write, which was committed later than that,
    to the end of the look. Lost writes count until another server replaced theirs.
    """
    rows = attempts.rows[np.argsort(attempts.rows["id"])]
    there = np.isin(rows["id"], ids)
    kept, lost = rows[there], rows[~there & (rows["outcome"] == Outcome.ACKED)]
    followed = np.array([int(c.at * NS) for c in attempts.changes()], np.int64)
    place = np.searchsorted(followed, lost["ended"])
    expires = np.append(followed, 0)[place]  # 0: lost without a failover, not because of a replica
    # For each row: the earliest sending of it and all later ones.
    earliest = np.minimum.accumulate(kept["sent"][::-1])[::-1]
    found = []
    for look in looks:
        ended = int(look.ended * NS)
        after = int(np.searchsorted(kept["id"], look.newest, side="right"))
        gone = lost[expires >= ended] if ended <= expires.max(initial=0) else lost[:0]
        gone = gone[(gone["id"] > look.newest) | np.isin(gone["id"], look.holes)]
        lacking = (
            *earliest[after : after + 1],
            *kept["sent"][np.isin(kept["id"], look.holes)],
            *gone["sent"],
        )
        found.append(max(0.0, (ended - int(min(lacking))) / NS) if lacking else 0.0)
    return found
