"""A checkpoint on every member, by a real primary and its standby."""

import io
from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.platforms.checkpoints import REDO, NoRightError, checkpoint, write_out
from pgdrill.progress import Reporter
from tests.unit.conftest import ScratchPostgres


def _cluster(server: ScratchPostgres, user: str, **members: ScratchPostgres) -> Cluster:
    here = Endpoint("127.0.0.1", server.port)
    at = {name: Endpoint("127.0.0.1", one.port) for name, one in members.items()}
    return Cluster("scratch", here, here, at, "postgres", user, Path("/nowhere"))


def test_a_standby_reaches_the_checkpoint_of_its_primary(scratch_postgres: ScratchPostgres) -> None:
    """No member replays anything that was written before."""
    standby = scratch_postgres.standby()
    try:
        with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as primary:
            primary.execute("CREATE TABLE written AS SELECT generate_series(1, 1000) AS id")
            written = primary.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
            primary.execute("DROP TABLE written")
        checkpoint(_cluster(scratch_postgres, "postgres", standby=standby))
        with psycopg.connect(standby.conninfo) as session:
            redo = session.execute(REDO).fetchone()
        assert redo is not None
        assert written is not None
        assert redo[0] >= written[0]
    finally:
        standby.discard()


def test_who_may_not_checkpoint_goes_on_and_is_told(scratch_postgres: ScratchPostgres) -> None:
    """A user without the right gets one line that names it, and a caller who needs it an error."""
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as session:
        session.execute("CREATE ROLE somebody LOGIN")
    try:
        cluster = _cluster(scratch_postgres, "somebody")
        with pytest.raises(NoRightError, match="somebody has no right to checkpoint"):
            checkpoint(cluster)
        screen = io.StringIO()
        write_out(cluster, Reporter(Console(file=screen, width=200)))
        assert "somebody has no right to checkpoint" in screen.getvalue()
    finally:
        with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as session:
            session.execute("DROP ROLE somebody")
