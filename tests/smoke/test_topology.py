"""The cluster is what it claims to be: the gate for every other suite."""

import time
from collections.abc import Callable

import psycopg
import pytest

from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.waiting import eventually

CLOCKS_APART = 0.5  # seconds; a tenth of what lies between two scrapes


def _ask(session: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = session.execute(query).fetchone()
    assert row is not None, f"no answer to {query}"
    return row[0]


def test_one_primary_and_its_standbys(platform: Platform, healthy: Cluster) -> None:
    """Every member runs, three of ours: one primary, and standbys that stream."""
    members = platform.engine.members()
    wanted = len(healthy.members) or len(members)  # no addresses: as many as the engine has
    assert wanted > 1, members
    assert sorted(m.role for m in members) == ["primary", *["standby"] * (wanted - 1)], members
    assert all(m.streaming for m in members), members
    assert len({m.incarnation for m in members}) == wanted, members


def test_read_write_address_reaches_the_primary(
    require_capability: Callable[[str], None], platform: Platform, healthy: Cluster
) -> None:
    """The read-write address leads to the member that the engine calls primary."""
    require_capability("member-addresses")
    with healthy.connect() as session:
        assert _ask(session, "SELECT pg_is_in_recovery()") is False
        reached = _ask(session, "SELECT system_identifier FROM pg_control_system()")
        address = str(_ask(session, "SELECT inet_server_addr()"))
    primary = platform.engine.primary().name
    with healthy.connect(healthy.members[primary]) as session:
        assert _ask(session, "SELECT system_identifier FROM pg_control_system()") == reached
        assert str(_ask(session, "SELECT inet_server_addr()")) == address


def test_read_only_address_reaches_standbys(
    require_capability: Callable[[str], None], healthy: Cluster
) -> None:
    """The read-only address leads to standbys, which refuse to write."""
    require_capability("read-only-address")
    with healthy.connect(healthy.read_only) as session:
        assert _ask(session, "SELECT pg_is_in_recovery()") is True
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            session.execute("CREATE TABLE smoke_must_not_exist ()")


def test_replication_is_synchronous(platform: Platform, healthy: Cluster) -> None:
    """A commit waits for a standby: the zero-loss promise rests on it."""
    with healthy.connect() as session:
        names = _ask(session, "SHOW synchronous_standby_names")
        commit = _ask(session, "SHOW synchronous_commit")
        ready = _ask(
            session,
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')",
        )
    assert names, "synchronous_standby_names is empty: commits wait for nobody"
    assert commit == "on", f"synchronous_commit is {commit}"
    assert isinstance(ready, int)
    assert ready >= 1, "no standby acknowledges commits"
    assert platform.engine.synchronous_state_is_expected()


def test_a_write_reaches_every_member(
    require_capability: Callable[[str], None], healthy: Cluster
) -> None:
    """A row written through the load balancer can be read on every member."""
    require_capability("member-addresses")
    with healthy.connect() as session:
        session.execute("CREATE TABLE IF NOT EXISTS smoke (written timestamptz)")
        written = _ask(session, "INSERT INTO smoke VALUES (clock_timestamp()) RETURNING written")
        lsn = _ask(session, "SELECT pg_current_wal_insert_lsn()::text")
    for member, endpoint in healthy.members.items():
        with healthy.connect(endpoint) as session:
            _replayed(session, str(lsn))
            found = session.execute("SELECT 1 FROM smoke WHERE written = %s", [written]).fetchone()
        assert found, f"{member} does not hold the row"


def _replayed(session: psycopg.Connection[tuple[object, ...]], lsn: str) -> None:
    eventually(
        f"replay up to {lsn}",
        lambda: _ask(
            session,
            "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= '" + lsn + "'::pg_lsn",
        ),
        within=10,
        every=0.05,
    )


def test_checksums_are_on(healthy: Cluster) -> None:
    """Data checksums are on: silent corruption would make every other proof worthless."""
    with healthy.connect() as session:
        assert _ask(session, "SHOW data_checksums") == "on"


@pytest.mark.usefixtures("healthy")
def test_monitoring_sees_every_member(prometheus: Prometheus, platform: Platform) -> None:
    """Prometheus has every target up and counts one primary and three members."""
    assert not prometheus.down_targets()
    up = prometheus.values("pgdrill:member_up")
    assert {m for m, value in up.items() if value == 1} == set(platform.cluster().members), up


@pytest.mark.usefixtures("healthy")
def test_clocks_agree(prometheus: Prometheus) -> None:
    """Prometheus has this host's time: what it counted is compared between instants of this host.

    An engine in a virtual machine has a clock of its own, which stops while a laptop sleeps.
    """
    before = time.time()
    there = prometheus.values("vector(time())")[""]
    assert before - CLOCKS_APART <= there <= time.time() + CLOCKS_APART


def test_volumes_have_a_true_size(
    require_capability: Callable[[str], None], platform: Platform, healthy: Cluster
) -> None:
    """Every member's data is on a file system of its own, so that a full disk is real."""
    require_capability("real-disk-limit")
    assert all(0 < platform.volume(member).used() < 0.8 for member in healthy.members)
