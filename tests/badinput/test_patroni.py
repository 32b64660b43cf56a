"""A Patroni cluster that cannot be identified or reached: one line, and nothing is changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badinput.commands import ENVIRONMENT, USAGE, Installation
from tests.patroni_api import SCOPE, PatroniApi

NOWHERE = 1  # a port at which no database listens
DSN = f"--dsn=host=localhost port={NOWHERE} dbname=app user=drill"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[PatroniApi, Installation]]:
    """A REST API with a cluster, whose database does not answer."""
    with PatroniApi(NOWHERE).serving() as served:
        variables = {"PGDRILL_PLATFORM": "patroni", "PGDRILL_PATRONI": served.given}
        yield served, Installation(tmp_path / "state", tmp_path / "reports", variables)


def _changed(api: PatroniApi) -> list[str]:
    """Return the requests that could have changed something."""
    return [path for method, _, path in api.asked if method != "GET" and path != "/switchover {}"]


def test_a_suite_above_its_level_is_refused(api: tuple[PatroniApi, Installation]) -> None:
    """Faults at the default level: refused before the cluster is even looked up."""
    served, asked = api
    asked.pytest("-m", "chaos", DSN).refuses(USAGE, "--level=fault", "--level=observe")
    assert not served.asked
    assert not asked.runs()


def test_an_address_of_nobody_ends_a_suite(api: tuple[PatroniApi, Installation]) -> None:
    """In one line with the address, and without a run directory."""
    _, asked = api
    asked.pytest("-m", "smoke", "--patroni=http://127.0.0.1:1", DSN).refuses(
        ENVIRONMENT, "http://127.0.0.1:1", "Connection refused"
    )
    assert not asked.runs()


def test_another_name_breaks_nothing(api: tuple[PatroniApi, Installation]) -> None:
    """The name that confirms is the scope: any other one is refused."""
    served, asked = api
    asked.pytest("-m", "chaos", "--level=fault", "--yes-break=other", DSN).refuses(
        USAGE, "--yes-break=other", SCOPE, "nothing was done"
    )
    assert not _changed(served)
    assert not asked.runs()


def test_a_paused_cluster_is_left_alone(api: tuple[PatroniApi, Installation]) -> None:
    """Nothing would fail over in it."""
    served, asked = api
    served.view["pause"] = True
    asked.pgdrill("up", DSN).refuses(ENVIRONMENT, "is paused", "patronictl resume")
    assert not _changed(served)


def test_a_database_that_does_not_answer_leaves_nothing(
    api: tuple[PatroniApi, Installation],
) -> None:
    """The address is named, and no file is left."""
    served, asked = api
    asked.pgdrill("up", DSN, "--level=fault", f"--yes-break={SCOPE}").refuses(
        ENVIRONMENT, f"localhost:{NOWHERE}", "--rw-host"
    )
    assert not _changed(served)
    assert not [file for file in asked.state.rglob("*") if file.is_file()]
