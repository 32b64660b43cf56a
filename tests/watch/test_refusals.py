"""Invalid watches: one line, exit code 2 or 4, and nothing made anywhere."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.badinput.commands import ENVIRONMENT, USAGE, Installation
from tests.unit.conftest import ScratchPostgres
from tests.watch.conftest import schemas


@pytest.fixture(scope="module")
def guarded(kept: ScratchPostgres) -> ScratchPostgres:
    """A server with a user who may do little, and one who needs a password."""
    with psycopg.connect(kept.conninfo, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute("CREATE ROLE app LOGIN PASSWORD 'geheim'")
    hba = kept.data / "pg_hba.conf"
    hba.write_text("host all app all scram-sha-256\n" + hba.read_text())
    kept.run("pg_ctl", "reload", "-D", kept.data)
    return kept


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"user": "guest"}, ["guest", "GRANT CREATE ON DATABASE"], id="no-rights"),
        pytest.param({"user": "app", "password": "hidden"}, ["authentication failed"], id="wrong"),
        pytest.param({"user": "app"}, ["no password", "passfile", "PGDRILL_DSN"], id="none"),
        pytest.param({"host": "nowhere.invalid"}, ["nowhere.invalid"], id="unknown-host"),
        pytest.param({"port": "1"}, ["Connection refused"], id="nobody"),
        pytest.param({"dbname": "other"}, ['"other" does not exist'], id="unknown-database"),
        pytest.param(
            {"options": "-c default_transaction_read_only=on"}, ["read-only"], id="read-only"
        ),
    ],
)
def test_the_environment_is_named(
    guarded: ScratchPostgres,
    installation: Installation,
    changes: dict[str, str],
    said: list[str],
) -> None:
    """The reason, in one line, and no run directory, no schema, no password."""
    dsn = make_conninfo(guarded.conninfo, **changes)
    outcome = installation.pgdrill("watch", dsn)
    outcome.refuses(ENVIRONMENT, *said)
    assert "hidden" not in outcome.output
    assert not installation.runs()
    assert schemas(guarded.conninfo) == []


def test_a_standby_is_named(server: ScratchPostgres, installation: Installation) -> None:
    """It cannot be written to, and the message names what to give instead."""
    standby = server.standby()
    try:
        outcome = installation.pgdrill("watch", standby.conninfo)
    finally:
        standby.discard()
    outcome.refuses(ENVIRONMENT, "standby", "target_session_attrs=read-write")
    assert not installation.runs()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], ["no DSN", "PGDRILL_DSN"], id="no-dsn"),
        pytest.param(["host"], ["DSN cannot be read"], id="no-dsn-at-all"),
        pytest.param(["postgresql://u:%zz@h/d"], ["DSN cannot be read", "%XX"], id="bad-escape"),
        pytest.param(["host=h", "--for=soon"], ["soon", "10m"], id="no-length"),
        pytest.param(["host=h", "--for=0"], ["'0'"], id="no-time"),
        pytest.param(["host=h", "--for=20h", "--rate=500"], ["--rate"], id="too-many"),
        pytest.param(["host=h", "--rate=0"], ["between 1 and 500"], id="no-rate"),
        pytest.param(["host=h", "--budget=watch.gap=1"], ["watch.write-gap"], id="no-promise"),
    ],
)
def test_what_cannot_be_meant(
    installation: Installation, words: list[str], said: list[str]
) -> None:
    """Exit code 4, before anybody is asked."""
    outcome = installation.pgdrill("watch", *words)
    outcome.refuses(USAGE, *said)
    assert "%zz" not in outcome.output
    assert not installation.runs()


def test_a_run_is_never_mixed_with_another(
    kept: ScratchPostgres, installation: Installation
) -> None:
    """The directory stays as it was, and the database too."""
    there = installation.reports / "mine" / "watch.json"
    there.parent.mkdir(parents=True)
    there.write_text("another run's\n")
    outcome = installation.pgdrill("watch", kept.conninfo, "--run-id=mine")
    outcome.refuses(USAGE, "exists", "--run-id")
    assert there.read_text() == "another run's\n"
    assert schemas(kept.conninfo) == []
