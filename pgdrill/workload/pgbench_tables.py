"""What pgbench needs in the database: its own tables, in schema bench, and a seeded shop."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.workload import pgbench_process
from pgdrill.workload.pgbench_program import Program

NOT_THERE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)


def scale_for(clients: int) -> int:
    """Return the pgbench scale for a number of clients (1 unit: 100 000 rows, 15 MB).

    One branch row for each client keeps row locks from dominating the figures (pgbench manual,
    "Good Practices": scale at least the number of clients); 100 units bound the disk space.
    """
    return min(max(clients, 10), 100)


def prepare(
    program: Program,
    conninfo: str,
    scale: int,
    progress: Callable[[str], None],
    *,
    within: float = 600,
) -> bool:
    """Create pgbench's tables of that scale in schema bench; return False where they exist.

    The client generates the rows and copies them frozen. That is a quarter less WAL for the
    standbys than generating them in the server, is not slower, and reports progress.

    Raises:
        BrokenEnvironmentError: the database does not answer, or pgbench could not finish within
            that many seconds; the next call starts over.
    """
    with _connect(conninfo) as connection:
        if _prepared_scale(connection) == scale:
            return False
        connection.execute("CREATE SCHEMA IF NOT EXISTS bench")
        connection.execute("COMMENT ON SCHEMA bench IS 'pgbench of pgdrill'")
    arguments = ["--initialize", "--init-steps=dtgvp", f"--scale={scale}", "--quiet"]
    in_schema = make_conninfo(conninfo, options="-c search_path=bench")
    with TemporaryDirectory() as directory:
        done = pgbench_process.run(
            program,
            arguments,
            in_schema,
            directory=Path(directory),
            within=within,
            on_line=progress,
        )
    if done.status != 0:
        raise BrokenEnvironmentError(
            f"pgbench could not create its tables (exit status {done.status}): {done.reason()}"
        )
    return True


def _prepared_scale(connection: psycopg.Connection) -> int | None:
    """Scale of a complete set of tables; the primary keys come last, so they prove completeness."""
    keys = connection.execute(
        "SELECT count(*) FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
        " WHERE contype = 'p' AND t.relnamespace = to_regnamespace('bench')"
        " AND t.relname IN ('pgbench_accounts', 'pgbench_tellers', 'pgbench_branches')"
    ).fetchone()
    if keys != (3,):
        return None
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM bench.pgbench_branches),"
        " (SELECT count(*) FROM bench.pgbench_tellers),"
        " (SELECT max(aid) FROM bench.pgbench_accounts)"
    ).fetchone()
    assert counts is not None
    scale = int(counts[0])
    return scale if counts == (scale, 10 * scale, 100_000 * scale) else None


def shop_sizes(conninfo: str) -> dict[str, int]:
    """Highest ids of the shop's tables, for the scripts; ids are dense, from 1.

    Raises:
        BrokenEnvironmentError: the database does not answer, or holds no shop.
    """
    sizes = {}
    with _connect(conninfo) as connection:
        for table in ("products", "customers", "orders"):
            try:
                row = connection.execute(f"SELECT max(id) FROM shop.{table}").fetchone()
            except NOT_THERE:
                row = None
            if not row or row[0] is None:
                raise BrokenEnvironmentError(f"table shop.{table} has no rows: run `make seed`")
            sizes[table] = int(row[0])
    return sizes


def tidy(conninfo: str) -> None:
    """Reset the tables to the same state, as pgbench does before a run of its own scripts.

    Raises:
        BrokenEnvironmentError: the database does not answer, or `prepare` was not called.
    """
    with _connect(conninfo) as connection:
        try:
            connection.execute("TRUNCATE bench.pgbench_history")
        except NOT_THERE:
            raise BrokenEnvironmentError("pgbench's tables are missing: prepare first") from None
        connection.execute("VACUUM bench.pgbench_branches, bench.pgbench_tellers")


def _connect(conninfo: str) -> psycopg.Connection:
    try:
        return psycopg.connect(
            conninfo, autocommit=True, options="-c statement_timeout=60s", connect_timeout=5
        )
    except psycopg.OperationalError as error:
        at = conninfo_to_dict(conninfo)
        reason = str(error).strip().splitlines()[-1].strip()
        raise BrokenEnvironmentError(
            f"the database at {at.get('host')}:{at.get('port')} does not answer: {reason};"
            " run `make up` first"
        ) from None
