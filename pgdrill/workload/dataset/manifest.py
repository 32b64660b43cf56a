"""The record that a dataset is complete: it is written last, like a commit."""

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.records import TableSeed
from pgdrill.waiting import DeadlineError, eventually
from pgdrill.workload.dataset.generate import VERSION
from pgdrill.workload.dataset.sessions import Connection, value

OWNER = "dataset of pgdrill"  # comment on the schema: only what we made may be dropped
LOCK = int.from_bytes(b"pgdrill", "big")  # advisory lock: one seed at a time in a database
# A server process detects only after a moment that its client is gone. A seed that is restarted at
# once must wait for the lock of its own interrupted run.
LET_GO = 5.0
OLDEST = 140_000  # hash_record_extended() is new in PostgreSQL 14


@dataclass(frozen=True)
class Manifest:
    """A complete dataset: what was requested, how many seconds it took, what every table holds."""

    rows: int
    seed: int
    seconds: float
    tables: tuple[TableSeed, ...]
    version: int = VERSION

    def describes(self, rows: int, seed: int) -> bool:
        """Whether this is the dataset that this program would make."""
        return (self.rows, self.seed, self.version) == (rows, seed, VERSION)


def lock(connection: Connection) -> None:
    """Keep other seeds out of this database for as long as the session lives.

    Raises:
        BrokenEnvironmentError: another one runs, or the server is too old or read-only.
    """
    if connection.info.server_version < OLDEST:
        raise BrokenEnvironmentError(
            f"PostgreSQL {connection.info.server_version // 10_000} is too old for the dataset's"
            " checksums: use 14 or newer"
        )
    if value(connection, "SELECT pg_is_in_recovery()"):
        raise BrokenEnvironmentError(
            "the read-write address leads to a standby: wait until the cluster has a primary,"
            " then run this again"
        )
    try:
        eventually(
            "the lock on the dataset",
            lambda: value(connection, f"SELECT pg_try_advisory_lock({LOCK})"),
            within=LET_GO,
            every=0.1,
        )
    except DeadlineError:
        holder = value(
            connection,
            "SELECT min(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            f" AND (classid::bigint << 32 | objid::bigint) = {LOCK}"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        raise BrokenEnvironmentError(
            f"another seed is at work in this database (server process {holder}):"
            " wait for it to end, or terminate it, then run this again"
        ) from None


def find(connection: Connection) -> Manifest | None:
    """Read the manifest; None when no load was completed."""
    if value(connection, "SELECT to_regclass('shop.manifest')") is None:
        return None
    row = connection.execute(
        "SELECT rows, seed, seconds, version, tables FROM shop.manifest"
    ).fetchone()
    if row is None:
        return None
    rows, seed, seconds, version, tables = row
    seeds = tuple(TableSeed(**table) for table in tables)
    return Manifest(rows, seed, seconds, seeds, version)


def clear(connection: Connection) -> None:
    """Drop the schema shop with all that is in it and make an empty one.

    Raises:
        BrokenEnvironmentError: it exists and is not ours.
    """
    owner = value(
        connection,
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace"
        " WHERE nspname = 'shop'",
    )
    if owner not in (None, OWNER):
        raise BrokenEnvironmentError(
            f"schema shop exists in database {connection.info.dbname} and pgdrill did not make it:"
            " rename it, or use another database"
        )
    with connection.transaction():
        connection.execute("DROP SCHEMA IF EXISTS shop CASCADE")
        connection.execute("CREATE SCHEMA shop")
        connection.execute(f"COMMENT ON SCHEMA shop IS '{OWNER}'")


def write(connection: Connection, manifest: Manifest) -> None:
    """Declare the dataset complete."""
    tables = Jsonb([table.model_dump() for table in manifest.tables])
    with connection.transaction():
        connection.execute(
            "CREATE TABLE shop.manifest (rows bigint NOT NULL, seed bigint NOT NULL,"
            " seconds float8 NOT NULL, version integer NOT NULL, tables jsonb NOT NULL,"
            " loaded_at timestamptz NOT NULL DEFAULT now())"
        )
        connection.execute(
            "INSERT INTO shop.manifest (rows, seed, seconds, version, tables)"
            " VALUES (%s, %s, %s, %s, %s)",
            [manifest.rows, manifest.seed, manifest.seconds, manifest.version, tables],
        )
