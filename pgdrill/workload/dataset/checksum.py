"""Counts and checksums of every table, computed where the rows are, compared over all members."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pgdrill.records import TableSeed
from pgdrill.waiting import eventually
from pgdrill.workload.dataset.schema import TABLES
from pgdrill.workload.dataset.sessions import Connection, Sessions

# A sum of row hashes needs no order, and unlike bit_xor a row that is there twice does not cancel
# out. The hash covers the whole row, so values swapped between rows or columns change it. Hashing
# the record itself costs half of hashing its text and knows no DateStyle or TimeZone.
ONE = "SELECT '{0}', count(*), coalesce(sum(hash_record_extended(t, 0)), 0)::text FROM shop.{0} t"
EXISTING = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('shop')"


class DatasetError(AssertionError):
    """A table does not hold what it should on some member."""


def read(connection: Connection) -> tuple[TableSeed, ...]:
    """Count and hash all tables that exist, in one snapshot."""
    existing = {name for (name,) in connection.execute(EXISTING)}
    tables = [table for table in TABLES if table in existing]
    if not tables:
        return ()
    found = connection.execute(" UNION ALL ".join(ONE.format(table) for table in tables))
    seeds = [TableSeed(table=table, rows=rows, checksum=total) for table, rows, total in found]
    return tuple(sorted(seeds, key=lambda seed: TABLES.index(seed.table)))


def differences(expected: Sequence[TableSeed], seen: Sequence[TableSeed], where: str) -> list[str]:
    """One line for each table that is not as expected."""
    by_name = {have.table: have for have in seen}
    wrong = []
    for want in expected:
        have = by_name.get(want.table)
        if have is None:
            wrong.append(f"shop.{want.table} is missing on {where}")
        elif have != want:
            wrong.append(
                f"shop.{want.table} on {where} has {have.rows} rows with checksum {have.checksum},"
                f" expected {want.rows} with {want.checksum}"
            )
    return wrong


def compare(
    sessions: Sessions, members: Mapping[str, str], expected: Sequence[TableSeed], lsn: str
) -> tuple[str, ...]:
    """Compare every member once it has replayed lsn; return their names.

    Raises:
        DatasetError: naming each table and member that differs.
        DeadlineError: a member did not catch up before the sessions' deadline.
        BrokenEnvironmentError: a member does not answer.
    """

    def check(name: str) -> list[str]:
        with sessions.open(members[name]) as member:
            _catch_up(member, name, lsn, sessions.left())
            return differences(expected, read(member), name)

    with ThreadPoolExecutor(max(1, len(members))) as pool:
        wrong = [line for lines in pool.map(check, members) for line in lines]
    if wrong:
        raise DatasetError("; ".join(wrong))
    return tuple(members)


def _catch_up(member: Connection, name: str, lsn: str, within: float) -> None:
    query = (
        "SELECT CASE WHEN pg_is_in_recovery()"
        " THEN greatest(0, %s::pg_lsn - coalesce(pg_last_wal_replay_lsn(), '0/0')) ELSE 0 END"
    )

    def behind() -> int:
        row = member.execute(query, [lsn]).fetchone()
        return int(row[0]) if row else 0

    eventually(
        f"{name} to replay what was loaded (bytes behind)",
        behind,
        lambda lag: lag == 0,
        within=within,
        every=0.05,
    )
