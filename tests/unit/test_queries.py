"""The exporters' queries, run on a real PostgreSQL."""

import os
import signal
from contextlib import ExitStack

import psycopg
import yaml

from pgdrill.settings import ROOT
from pgdrill.waiting import eventually
from tests.unit.conftest import ScratchPostgres

QUERIES = yaml.safe_load((ROOT / "infra/local/exporter-queries.yaml").read_text())
WITHIN = 20.0  # seconds to recover from a crash


def _ask(postgres: ScratchPostgres, name: str) -> dict[str, float]:
    """Return the value of a query with one, by its label ('' where it has none)."""
    with psycopg.connect(postgres.conninfo) as session:
        rows = session.execute(QUERIES[name]["query"]).fetchall()
    return {"/".join(map(str, row[:-1])): float(row[-1]) for row in rows}


def _postmaster_started(postgres: ScratchPostgres) -> object:
    with psycopg.connect(postgres.conninfo) as session:
        return session.execute("SELECT pg_postmaster_start_time()").fetchone()


def test_every_query_gives_what_it_declares(scratch_postgres: ScratchPostgres) -> None:
    """Each column is a metric or a label, and each of those a column."""
    with psycopg.connect(scratch_postgres.conninfo) as session:
        for name, query in QUERIES.items():
            described = session.execute(query["query"]).description or ()
            declared = {column for metric in query["metrics"] for column in metric}
            assert {column.name for column in described} == declared, name


def test_a_crash_in_place_is_a_new_start(scratch_postgres: ScratchPostgres) -> None:
    """A killed backend ends all others; the postmaster's own start time does not change."""
    before, postmaster = (
        _ask(scratch_postgres, "pgdrill_started"),
        _postmaster_started(scratch_postgres),
    )
    with psycopg.connect(scratch_postgres.conninfo) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
    after = eventually(
        "another start",
        lambda: _ask(scratch_postgres, "pgdrill_started"),
        lambda seen: bool(seen) and seen != before,
        within=WITHIN,
        not_yet=(psycopg.OperationalError,),
    )
    assert after[""] > before[""]
    assert _postmaster_started(scratch_postgres) == postmaster


def test_shares_are_of_each_limit(scratch_postgres: ScratchPostgres) -> None:
    """A role near its limit is seen, though the server has room; one without limit is left out."""
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as session:
        session.execute("CREATE ROLE bounded LOGIN CONNECTION LIMIT 4")
        try:
            with ExitStack() as held:
                for _ in range(3):
                    of = f"{scratch_postgres.conninfo} user=bounded"
                    held.enter_context(psycopg.connect(of))
                seen = _ask(scratch_postgres, "pgdrill_sessions")
        finally:
            eventually(
                "nobody of that role",
                lambda: session.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bounded'"
                ).fetchone(),
                lambda row: row == (0,),
                within=WITHIN,
            )
            session.execute("DROP ROLE bounded")
    assert seen["role bounded"] == 0.75
    assert 5 / 97 <= seen["server"] < 0.2  # of 100, without the 3 of superusers


def test_the_oldest_transaction_is_a_clients(scratch_postgres: ScratchPostgres) -> None:
    """A transaction that is idle counts from its beginning."""
    with psycopg.connect(scratch_postgres.conninfo) as forgotten:
        forgotten.execute("SELECT 1")
        first = _ask(scratch_postgres, "pgdrill_transactions")[""]
        assert _ask(scratch_postgres, "pgdrill_transactions")[""] > first > 0
