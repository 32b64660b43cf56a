"""Whether a database is in order: references, sequences, indexes and tables, and its roles."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from pgdrill.workload.dataset.sessions import Connection, Sessions

_REFERENCES = """
SELECT c.conname, n.nspname, t.relname, pn.nspname, p.relname,
  (SELECT array_agg(a.attname::text ORDER BY k.place)
   FROM unnest(c.conkey) WITH ORDINALITY AS k(number, place)
   JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number),
  (SELECT array_agg(a.attname::text ORDER BY k.place)
   FROM unnest(c.confkey) WITH ORDINALITY AS k(number, place)
   JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number)
FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE c.contype = 'f' ORDER BY 1
"""
_SEQUENCES = """
SELECT sn.nspname, s.relname, n.nspname, t.relname, a.attname
FROM pg_sequence q
JOIN pg_class s ON s.oid = q.seqrelid JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid ORDER BY 1, 2
"""
_RELATIONS = """
SELECT c.oid::regclass::text, c.oid FROM pg_class c JOIN pg_am m ON m.oid = c.relam
WHERE m.amname = %s AND c.relkind = %s AND c.relpersistence = 'p'
AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace,
  'information_schema'::regnamespace)
ORDER BY 1
"""


@dataclass(frozen=True)
class Findings:
    """What was looked at, how many of each, and what is not in order."""

    checked: dict[str, int]
    complaints: tuple[str, ...]


def inspect(conninfo: str, *, within: float) -> Findings:
    """Look through a database for within seconds at most; changes nothing.

    Needs the extension amcheck, and its functions granted to the user.

    Raises:
        BrokenEnvironmentError: the database does not answer, or lacks amcheck.
    """
    checked: dict[str, int] = {}
    complaints: list[str] = []
    with Sessions(within) as sessions, sessions.open(conninfo) as connection:
        for what, look in (
            ("references", _references),
            ("sequences", _sequences),
            ("indexes", _indexes),
            ("tables", _tables),
        ):
            sessions.doing = f"checking {what}"
            found = list(look(connection))
            checked[what] = len(found)
            complaints += [complaint for complaint in found if complaint]
    return Findings(checked, tuple(complaints))


def roles(conninfo: str, *, within: float) -> frozenset[str]:
    """Return every role that is not PostgreSQL's own, with what it may do.

    Raises:
        BrokenEnvironmentError: the database does not answer.
    """
    with Sessions(within) as sessions, sessions.open(conninfo) as connection:
        sessions.doing = "reading roles"
        found = connection.execute(
            "SELECT concat_ws(' ', rolname, rolsuper, rolcanlogin, rolreplication, rolconnlimit)"
            " FROM pg_roles WHERE rolname !~ '^pg_'"
        )
        return frozenset(row[0] for row in found)


def _references(connection: Connection) -> Iterator[str]:
    """For each foreign key: '' where every row has its parent."""
    for name, schema, child, parent_schema, parent, columns, keys in connection.execute(
        _REFERENCES
    ).fetchall():
        matches = [
            SQL("p.{} = c.{}").format(Identifier(key), Identifier(column))
            for column, key in zip(columns, keys, strict=True)
        ]
        known = [SQL("c.{} IS NOT NULL").format(Identifier(column)) for column in columns]
        query: Composed = SQL(
            "SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})"
        ).format(
            Identifier(schema, child),
            SQL(" AND ").join(known),
            Identifier(parent_schema, parent),
            SQL(" AND ").join(matches),
        )
        orphans = _one(connection, query)
        yield f"{orphans} rows of {schema}.{child} break {name}" if orphans else ""


def _sequences(connection: Connection) -> Iterator[str]:
    """For each sequence of a column: '' where it has passed the column's values."""
    for schema, name, table_schema, table, column in connection.execute(_SEQUENCES).fetchall():
        last = _one(
            connection,
            SQL(
                "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {}"
            ).format(Identifier(schema, name)),
        )
        highest = _one(
            connection,
            SQL("SELECT coalesce(max({}), 0) FROM {}").format(
                Identifier(column), Identifier(table_schema, table)
            ),
        )
        yield (
            f"sequence {schema}.{name} is at {last}, and {table}.{column} at {highest}"
            if last < highest
            else ""
        )


def _indexes(connection: Connection) -> Iterator[str]:
    """For each btree index: '' where it is in order and holds every row of its table."""
    for name, oid in connection.execute(_RELATIONS, ["btree", "i"]).fetchall():
        yield _amcheck(connection, name, "SELECT bt_index_check(%s::regclass, true)", oid)


def _tables(connection: Connection) -> Iterator[str]:
    """For each table: '' where every page and row of it can be read and is valid."""
    for name, oid in connection.execute(_RELATIONS, ["heap", "r"]).fetchall():
        yield _amcheck(connection, name, "SELECT msg FROM verify_heapam(%s::regclass) LIMIT 1", oid)


def _amcheck(connection: Connection, name: str, query: str, oid: int) -> str:
    try:
        row = connection.execute(query, [oid]).fetchone()
    except (psycopg.errors.IndexCorrupted, psycopg.errors.DataCorrupted) as error:
        return f"{name}: {str(error).splitlines()[0]}"
    return f"{name}: {row[0]}" if row and row[0] else ""


def _one(connection: Connection, query: Composed) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
