"""The state of WAL archiving, as PostgreSQL reports it."""

from dataclasses import dataclass
from typing import Any

import psycopg

# As in infra/local/exporter-queries.yaml; the files that wait are visible to pg_monitor only.
_QUERY = """
SELECT files, files > 0 AND last_failed_time > coalesce(last_archived_time, '-infinity'),
  failed_count, coalesce(last_failed_wal, last_archived_wal, '')
FROM pg_stat_archiver,
  (SELECT count(*) AS files FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') AS ready
"""


@dataclass(frozen=True)
class Archiver:
    """One look at the primary's archiver."""

    waiting: int  # files that the archive does not have yet
    failing: bool  # the last attempt failed, and files wait
    failed: int  # attempts, since the statistics were reset
    file: str  # the last one that failed, or was stored


def archiver(primary: psycopg.Connection[tuple[Any, ...]]) -> Archiver:
    """Read the state from the primary.

    Raises:
        psycopg.Error: it does not answer.
    """
    row = primary.execute(_QUERY).fetchone()
    assert row is not None
    waiting, failing, failed, file = row
    return Archiver(waiting, bool(failing), failed, file)


def switch_wal(primary: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
    """End the current WAL file, so that it is stored; return where it ends, and its name.

    Raises:
        psycopg.Error: the primary does not answer.
    """
    # PostgreSQL does not end a file in which nothing was written.
    primary.execute("SELECT pg_logical_emit_message(true, 'pgdrill', 'end of a file')")
    row = primary.execute("SELECT lsn::text, pg_walfile_name(lsn) FROM pg_switch_wal() AS lsn")
    lsn, file = row.fetchone() or ("", "")
    return lsn, file
