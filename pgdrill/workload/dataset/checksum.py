"""Counts and checksums of every table, computed in the server, compared over all members."""

from collections.abc import Mapping
from functools import partial

from pgdrill.records import TableSeed
from pgdrill.waiting import eventually
from pgdrill.workload.dataset.schema import TABLES
from pgdrill.workload.dataset.sessions import Connection, Sessions, value

# A sum of row hashes needs no order, and unlike bit_xor a row that is there twice does not cancel
# out. The hash covers the whole row, so values swapped between rows or columns change it. Hashing
# the record itself costs half of hashing its text and does not depend on DateStyle or TimeZone.
ONE = "SELECT '{0}', count(*), coalesce(sum(hash_record_extended(t, 0)), 0)::text FROM shop.{0} t"
EXISTING = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('shop')"
# Start times are microseconds: two servers do not share one.
IDENTITY = "SELECT pg_postmaster_start_time()::text || current_database()"

Checksums = tuple[TableSeed, ...]


class DatasetError(AssertionError):
    """A table does not hold what it should on some member."""


def read(connection: Connection) -> Checksums:
    """Count and hash all tables that exist, in one snapshot."""
    existing = {name for (name,) in connection.execute(EXISTING)}
    tables = [table for table in TABLES if table in existing]
    if not tables:
        return ()
    found = connection.execute(" UNION ALL ".join(ONE.format(table) for table in tables))
    seeds = [TableSeed(table=table, rows=rows, checksum=total) for table, rows, total in found]
    return tuple(sorted(seeds, key=lambda seed: TABLES.index(seed.table)))


def differences(expected: Checksums, seen: Checksums, where: str) -> list[str]:
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


def survey(
    sessions: Sessions, control: Connection, members: Mapping[str, str]
) -> tuple[Checksums, dict[str, Checksums]]:
    """Read the primary and, once it has replayed all that is committed now, every member.

    Raises:
        DeadlineError: a member did not catch up before the sessions' deadline.
        BrokenEnvironmentError: a member does not answer.
    """
    sessions.doing = "comparing checksums"
    lsn = str(value(control, "SELECT pg_current_wal_flush_lsn()"))
    home = value(control, IDENTITY)

    def look(name: str) -> Checksums | None:
        with sessions.open(members[name]) as member:
            if value(member, IDENTITY) == home:
                return None  # the primary under its own address: once is enough
            _catch_up(member, name, lsn, sessions.left())
            return read(member)

    looks = [partial(look, name) for name in members]
    primary, *others = sessions.together(lambda: read(control), *looks)
    assert primary is not None
    return primary, {
        name: primary if seen is None else seen for name, seen in zip(members, others, strict=True)
    }


def demand(expected: Checksums, seen: Mapping[str, Checksums]) -> tuple[str, ...]:
    """Check that every member holds what is expected; return the members' names.

    Raises:
        DatasetError: naming each table and member that differs.
    """
    if wrong := compare(expected, seen):
        raise DatasetError("; ".join(wrong))
    return tuple(seen)


def compare(expected: Checksums, seen: Mapping[str, Checksums]) -> list[str]:
    """One line for each member's table that is not as expected."""
    return [line for name in seen for line in differences(expected, seen[name], name)]


def _catch_up(member: Connection, name: str, lsn: str, within: float) -> None:
    query = (
        "SELECT CASE WHEN pg_is_in_recovery()"
        " THEN greatest(0, %s::pg_lsn - coalesce(pg_last_wal_replay_lsn(), '0/0')) ELSE 0 END"
    )

    eventually(
        f"{name} to replay what was loaded (bytes behind)",
        lambda: value(member, query, lsn),
        lambda lag: lag == 0,
        within=within,
        every=0.05,
    )
