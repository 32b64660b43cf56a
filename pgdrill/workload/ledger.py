"""The outcome of every write: the prober's attempts compared with the rows in the table."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.sql import SQL, Composed, Identifier

from pgdrill.attempt_log import Outcome, Rows
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.records import LedgerCount, NearbyWrite
from pgdrill.workload.attempts import NS, Attempts
from pgdrill.workload.dataset.sessions import Sessions
from pgdrill.workload.probe_loop import SLOTS, counters_of, parts_of

Ids = NDArray[np.int64]

# No key and no unique index, on purpose: a write that was applied twice must be visible.
CREATE = SQL(
    "CREATE TABLE {} (id bigint NOT NULL, lane text NOT NULL,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
# The second table of the same transactions: PARTS rows for each row of the first.
CREATE_PARTS = SQL("CREATE TABLE {} (id bigint NOT NULL, part integer NOT NULL)")
PARTS = 2
TORN = SQL(
    "SELECT count(*) FROM (SELECT DISTINCT id FROM {}) whole"
    " FULL JOIN (SELECT id, count(*) AS rows FROM {} GROUP BY id) parts USING (id)"
    " WHERE whole.id IS NULL OR parts.rows IS DISTINCT FROM {}"
)
# The third one: each transaction adds one to a counter, and its id to the end of a list.
CREATE_COUNTERS = SQL(
    "CREATE TABLE {} (slot integer PRIMARY KEY, value bigint NOT NULL,"
    " items bigint[] NOT NULL DEFAULT '{{}}') WITH (fillfactor = 50)"
)
FILL_COUNTERS = SQL("INSERT INTO {} SELECT slot, 0 FROM generate_series(0, {} - 1) AS slot")
LOST_UPDATES = SQL(
    "SELECT coalesce(sum(abs(coalesce(counted.rows, 0) - coalesce(value, 0))), 0) FROM {} counters"
    " FULL JOIN (SELECT id % {} AS slot, count(*) AS rows FROM {} GROUP BY 1) counted USING (slot)"
)
LISTED = SQL("SELECT id, position FROM {}, unnest(items) WITH ORDINALITY AS item (id, position)")
# COPY's binary format: 11 bytes of signature, flags, length of an extension; then a row is its
# number of columns, and each value after its length; a trailer of two bytes (manual, COPY).
_HEADER, _TRAILER = 19, 2
_ROW = np.dtype([("columns", ">i2"), ("length", ">i4"), ("id", ">i8")])


class StrangerError(AssertionError):
    """The ledger's table holds rows that no attempt wrote: nothing in it can be judged."""


@dataclass(frozen=True)
class Holding:
    """What one member holds of a ledger: equal holdings hold the same rows, in any order."""

    rows: int
    checksum: str


@dataclass(frozen=True)
class AsOf:
    """The ledger of a database as of some point, compared with what it must and may not hold."""

    wanted: int  # acknowledged before the point
    absent: int  # of them, not there
    late: int  # begun after the point
    surplus: int  # of them, there
    refused: int  # refused, whenever, and there
    duplicate: int  # rows beyond the first of an id
    uncertain: int  # open at the point, or never answered: may be there or not


@dataclass(frozen=True)
class Suspect:
    """A write that broke its promise; instants are seconds on the run's clock."""

    id: int
    lane: str
    due: float
    ended: float
    reason: str
    server: str  # the one that acknowledged it
    timeline: int


def named(table: str) -> Identifier:
    """Return a table's name for a statement; a dot separates it from its schema, if it has one."""
    return Identifier(*table.split("."))


def create_table(
    conninfo: str, name: str, *, within: float = 30.0, with_parts: bool = False
) -> None:
    """Make an empty ledger of that name; one of an earlier trial is dropped.

    with_parts: with the two other tables that transactions write to.

    Raises:
        BrokenEnvironmentError: the database does not finish within so many seconds.
    """
    table = named(name)
    with Sessions(within) as sessions:
        sessions.doing = f"creating ledger {name}"
        with sessions.open(conninfo) as connection, connection.transaction():
            # The ledger itself comes last, so that it is the newest table.
            counters = named(counters_of(name))
            others = [(named(parts_of(name)), CREATE_PARTS), (counters, CREATE_COUNTERS)]
            for made, create in (*(others if with_parts else ()), (table, CREATE)):
                connection.execute(SQL("DROP TABLE IF EXISTS {}").format(made))
                connection.execute(create.format(made))
            if with_parts:
                connection.execute(FILL_COUNTERS.format(counters, SLOTS))


def read_ids(conninfo: str, table: str, *, within: float = 60.0, user_owned: bool = False) -> Ids:
    """Read the id of every row, in no order; a ledger that is gone has none: all are lost.

    user_owned: the database is not ours. A pooler may be in between (see Sessions). A standby is an
    error, because it may lack rows of the primary.

    Raises:
        BrokenEnvironmentError: the database does not deliver within so many seconds.
    """
    copy: Composed = SQL("COPY (SELECT id FROM {}) TO STDOUT (FORMAT binary)").format(named(table))
    try:
        with Sessions(within, pooled=user_owned) as sessions:
            sessions.doing = f"reading ledger {table}"
            with (
                sessions.open(conninfo) as connection,
                connection.transaction(),  # one server for both statements, also behind a pooler
                connection.cursor() as cursor,
            ):
                if user_owned and cursor.execute("SELECT pg_is_in_recovery()").fetchone() != (
                    False,
                ):
                    raise BrokenEnvironmentError(f"a standby answers while {sessions.doing}")
                with cursor.copy(copy) as answer:
                    data = b"".join(answer)
    except BrokenEnvironmentError as error:
        if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            return np.empty(0, np.int64)
        raise
    return np.frombuffer(data[_HEADER:-_TRAILER], _ROW)["id"].astype(np.int64)


def newest(table: str, n: int) -> Composed:
    """Return SQL for the n largest ids of a ledger, the largest first; it should have an index."""
    return SQL("ARRAY(SELECT id FROM {} ORDER BY id DESC LIMIT {})").format(named(table), n)


def rows_on(conninfo: str, table: str, *, within: float = 60.0) -> Holding:
    """Read what one member holds, to compare it with the others.

    Raises:
        BrokenEnvironmentError: the database does not deliver within so many seconds.
    """
    ids = np.sort(read_ids(conninfo, table, within=within)).astype("<i8")
    return Holding(ids.size, hashlib.sha256(ids.tobytes()).hexdigest()[:16])


def reconcile(attempts: Attempts, ids: Ids) -> LedgerCount:
    """Put every attempt into its class; ids are those of the primary's rows.

    The first six classes add up to the attempts; duplicate counts rows beyond the first of an id.

    Raises:
        StrangerError: an id that no attempt has, so this is not the attempts' table.
        ValueError: two attempts have the same id, so these are not one prober's attempts.
    """
    _demand_attempts(attempts, ids)
    distinct = np.unique(ids)
    present = np.isin(attempts.rows["id"], distinct)
    there, absent = (
        {outcome: int(np.count_nonzero(found["outcome"] == outcome)) for outcome in Outcome}
        for found in (attempts.rows[present], attempts.rows[~present])
    )
    return LedgerCount(
        acked_present=there[Outcome.ACKED],
        acked_lost=absent[Outcome.ACKED],
        indeterminate_present=there[Outcome.INDETERMINATE],
        indeterminate_absent=absent[Outcome.INDETERMINATE],
        refused_absent=absent[Outcome.REFUSED],
        refused_present=there[Outcome.REFUSED],
        duplicate=ids.size - distinct.size,
    )


def torn(conninfo: str, table: str, *, within: float = 60.0) -> int:
    """Count the transactions that are there in part: a row without its two others, or these alone.

    Both tables are read as of one moment: an attempt without an answer may be committed late.

    Raises:
        BrokenEnvironmentError: the database does not deliver within so many seconds.
    """
    second = parts_of(table)
    query = TORN.format(named(table), named(second), PARTS)
    found = _counted(conninfo, f"comparing ledger {table} with its parts", query, within)
    if found is not None:
        return found
    # One table is gone: what is left in the other one is there in part.
    left = (read_ids(conninfo, name, within=within) for name in (table, second))
    return int(np.unique(np.concatenate(list(left))).size)


def lost_updates(conninfo: str, table: str, *, within: float = 60.0) -> int:
    """Count by how much the counters differ from the number of rows that each has counted.

    One that is too small has lost an update, though the transaction's row is there.

    Raises:
        BrokenEnvironmentError: the database does not deliver within so many seconds.
    """
    query = LOST_UPDATES.format(named(counters_of(table)), SLOTS, named(table))
    found = _counted(conninfo, f"comparing ledger {table} with its counters", query, within)
    return read_ids(conninfo, table, within=within).size if found is None else found


def displaced(conninfo: str, table: str, attempts: Attempts, *, within: float = 60.0) -> int:
    """Count the acknowledged appends that are not where their answer said: lists only grow.

    Two that were told the same place, one that is gone, and one that moved are each counted.

    Raises:
        BrokenEnvironmentError: the database does not deliver within so many seconds.
    """
    query = LISTED.format(named(counters_of(table)))
    found = _rows(conninfo, f"reading the lists of ledger {table}", query, within)
    places = {int(one): int(position) for one, position in found or ()}
    acked = attempts.of(Outcome.ACKED)
    return sum(
        places.get(int(row["id"])) != int(row["position"]) for row in acked[["id", "position"]]
    )


def _counted(conninfo: str, doing: str, query: Composed, within: float) -> int | None:
    """Return what a query counts; None where a table of it is gone."""
    found = _rows(conninfo, doing, query, within)
    return None if found is None else int(found[0][0])


def _rows(
    conninfo: str, doing: str, query: Composed, within: float
) -> list[tuple[Any, ...]] | None:
    """Return the rows of a query; None where a table of it is gone."""
    try:
        with Sessions(within) as sessions:
            sessions.doing = doing
            with sessions.open(conninfo) as connection:
                return connection.execute(query).fetchall()
    except BrokenEnvironmentError as error:
        if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
            return None
        raise


def as_of(attempts: Attempts, ids: Ids, point: tuple[float, float]) -> AsOf:
    """Compare rows with what was written before and after a point in time.

    point: instants, in seconds on the run's clock, between which the server returned the point.
    What was acknowledged before the first is older than it, what began after the second is younger.

    Raises:
        StrangerError: an id that no attempt has, so this is not the attempts' table.
    """
    _demand_attempts(attempts, ids)
    before, after = (int(instant * NS) for instant in point)
    rows = attempts.rows
    there = np.isin(rows["id"], ids)
    wanted = (rows["outcome"] == Outcome.ACKED) & (rows["ended"] <= before)
    late = rows["started"] > after
    refused = (rows["outcome"] == Outcome.REFUSED) & ~late

    def count(mask: NDArray[np.bool_]) -> int:
        return int(np.count_nonzero(mask))

    return AsOf(
        wanted=count(wanted),
        absent=count(wanted & ~there),
        late=count(late),
        surplus=count(late & there),
        refused=count(refused & there),
        duplicate=ids.size - np.unique(ids).size,
        uncertain=count(~wanted & ~late & ~refused),
    )


def near(attempts: Attempts, ids: Ids, at: float, seconds: float) -> tuple[NearbyWrite, ...]:
    """Return the attempts that were under way within so many seconds of an instant, in order."""
    rows = attempts.rows
    middle, reach = int(at * NS), int(seconds * NS)
    close = rows[(rows["ended"] >= middle - reach) & (rows["started"] <= middle + reach)]
    close = close[np.argsort(close["started"])]
    return tuple(
        NearbyWrite(
            began=(int(row["started"]) - middle) / NS,
            ended=(int(row["ended"]) - middle) / NS,
            outcome=Outcome(row["outcome"]).name.lower(),
            there=bool(there),
        )
        for row, there in zip(close, np.isin(close["id"], ids), strict=True)
    )


@dataclass(frozen=True)
class Loss:
    """What is missing of a ledger whose database was lost as a whole at some instant."""

    wanted: int  # acknowledged before
    absent: int  # of them, not there
    seconds: float  # from the first of those to the instant; 0: none is absent
    holes: int  # absent, and acknowledged before a row began that is there


def loss(attempts: Attempts, ids: Ids, at: float) -> Loss:
    """Count what is missing of all that was acknowledged before an instant (run's clock, seconds).

    Raises:
        StrangerError: an id that no attempt has, so this is not the attempts' table.
    """
    _demand_attempts(attempts, ids)
    acked = attempts.of(Outcome.ACKED)
    acked = acked[acked["ended"] <= int(at * NS)]
    there = np.isin(acked["id"], ids)
    absent = acked[~there]
    last = int(acked["started"][there].max(initial=0))
    return Loss(
        wanted=acked.size,
        absent=absent.size,
        seconds=at - int(absent["ended"].min()) / NS if absent.size else 0.0,
        holes=int(np.count_nonzero(absent["ended"] < last)),
    )


def lost(attempts: Attempts, ids: Ids) -> list[Suspect]:
    """Acknowledged writes that are not there."""
    acked = attempts.of(Outcome.ACKED)
    return _suspects(attempts, acked[~np.isin(acked["id"], ids)])


def phantoms(attempts: Attempts, ids: Ids) -> list[Suspect]:
    """Refused writes that are there."""
    refused = attempts.of(Outcome.REFUSED)
    return _suspects(attempts, refused[np.isin(refused["id"], ids)])


def _demand_attempts(attempts: Attempts, ids: Ids) -> None:
    known = np.unique(attempts.rows["id"])
    if known.size != attempts.rows.size:
        raise ValueError(f"{attempts.rows.size} attempts, but {known.size} ids")
    strangers = np.setdiff1d(ids, known)
    if strangers.size:
        examples = ", ".join(map(str, strangers[:5]))
        raise StrangerError(f"{strangers.size} ids in the ledger are no attempt's: {examples}")


def _suspects(attempts: Attempts, rows: Rows) -> list[Suspect]:
    return [
        Suspect(
            id=int(row["id"]),
            lane=attempts.lanes[row["lane"]],
            due=int(row["due"]) / NS,
            ended=int(row["ended"]) / NS,
            reason=attempts.reasons[row["reason"]],
            server=attempts.servers[row["server"]],
            timeline=int(row["timeline"]),
        )
        for row in rows
    ]
