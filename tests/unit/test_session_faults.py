"""Sessions that take what others need, on a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psycopg
import pytest

from pgdrill.engines.base import Engine, Member
from pgdrill.faults.base import FaultNotRealError, NeedsPlacement
from pgdrill.platforms import session_faults
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.platforms.session_faults import TakeConnections
from pgdrill.waiting import eventually
from tests.unit.conftest import ScratchPostgres

LIMIT = 6
WITHIN = 10.0  # seconds


class _Engine:
    """Knows who is primary, and nothing else."""

    def primary(self) -> Member:
        return Member("pg1", "1", "primary", True, 1, True, False, 0)


@pytest.fixture
def cluster(scratch_postgres: ScratchPostgres, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one whose ordinary role may have LIMIT sessions."""
    at = Endpoint("127.0.0.1", scratch_postgres.port)
    passfile = tmp_path / "passfile"
    passfile.touch(mode=0o600)
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as session:
        session.execute(f"CREATE ROLE crowd LOGIN CONNECTION LIMIT {LIMIT}")
        yield Cluster("unit", at, at, {"pg1": at}, "postgres", "crowd", passfile)
        eventually(
            "nobody of the crowd",
            lambda: session.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'crowd'"
            ).fetchone(),
            lambda row: row == (0,),
            within=WITHIN,
        )
        session.execute("DROP ROLE crowd")


def test_nobody_gets_in_until_it_is_healed(cluster: Cluster) -> None:
    """Every slot is taken, one that becomes free is taken as well, and all are given back."""
    fault = TakeConnections(cast("Engine", _Engine()), lambda: cluster)
    assert isinstance(fault, NeedsPlacement)
    with cluster.connect() as before:
        assert fault.inject() == "pg1"
        try:
            assert f"{LIMIT - 1} idle sessions, and 'too many" in fault.verify_injected()
            before.close()
            eventually(
                "its slot taken",
                fault.verify_injected,
                lambda seen: f"{LIMIT} idle" in seen,
                within=WITHIN,
            )
            with pytest.raises(psycopg.OperationalError, match="too many connections"):
                cluster.connect()
        finally:
            fault.heal()
    assert fault.verify_healed() == "pg1: its slots are free"
    fault.heal()


def test_most_is_taken_before_and_all_by_the_fault(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slots that are taken before leave room for others, and are freed with the rest."""
    monkeypatch.setattr(session_faults, "AT_ONCE", 1)
    fault = TakeConnections(cast("Engine", _Engine()), lambda: cluster)
    fault.place()
    try:
        cluster.connect().close()
        with pytest.raises(FaultNotRealError):
            fault.verify_injected()
        fault.inject()
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            cluster.connect()
    finally:
        fault.heal()
    assert fault.verify_healed() == "pg1: its slots are free"


def test_what_was_not_injected_is_no_fault(cluster: Cluster) -> None:
    """A fault that took no slot gives no evidence, and can be healed."""
    fault = TakeConnections(cast("Engine", _Engine()), lambda: cluster)
    with pytest.raises(FaultNotRealError, match="not injected"):
        fault.verify_injected()
    fault.heal()
