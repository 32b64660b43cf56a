"""An existing Patroni cluster: found by its addresses, refused in one line each, left alone."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pgdrill.__main__ import main
from pgdrill.engines.patroni_access import RestAccess
from pgdrill.engines.patroni_by_rest import PatroniByRest
from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.faults.catalogue import FAULTS, PATRONI, UNBOUNDED
from pgdrill.platforms.base import where
from pgdrill.platforms.existing import schema
from pgdrill.platforms.patroni.platform import PatroniPlatform
from pgdrill.platforms.select import choose
from pgdrill.settings import Settings, resolve
from tests.patroni_api import SCOPE, PatroniApi
from tests.servers import self_signed
from tests.unit.conftest import ScratchPostgres

pytestmark = pytest.mark.unit

Change = Callable[[PatroniApi], None]


@pytest.fixture
def api(
    scratch_postgres: ScratchPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PatroniApi]:
    """A healthy cluster, whose database is a real one."""
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as admin:
        admin.execute("DROP SCHEMA IF EXISTS pgdrill, shop, bench CASCADE")
        with suppress(psycopg.errors.DuplicateObject):
            admin.execute("CREATE ROLE drill LOGIN")
        admin.execute("GRANT pg_monitor TO drill")
        admin.execute("GRANT CREATE ON DATABASE postgres TO drill")
        query = "SELECT system_identifier::text FROM pg_control_system()"
        row = admin.execute(query).fetchone()
    assert row is not None
    monkeypatch.setenv("PGDRILL_STATE_DIR", str(tmp_path / "state"))
    with PatroniApi(scratch_postgres.port, row[0]).serving() as served:
        yield served


def asked(api: PatroniApi, **words: str) -> Settings:
    """The settings of a command that names everything, but for what is changed."""
    # Another name of the leader's address, in the place of a load balancer's.
    dsn = f"host=localhost port={api.port} dbname=postgres user=drill"
    named = {"platform": "patroni", "patroni": api.given, "dsn": dsn}
    return resolve(named | words, {}, Path("/nowhere"))


def refused(api: PatroniApi, **words: str) -> str:
    """Return the one line in which `up` refuses."""
    settings = asked(api, **words)
    with pytest.raises((BrokenEnvironmentError, BadUsageError)) as error:
        choose(settings)[0].up(settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def made(api: PatroniApi, **words: str) -> PatroniPlatform:
    """Return the platform."""
    platform, _ = choose(asked(api, **words))
    assert isinstance(platform, PatroniPlatform)
    return platform


def _schemas(server: ScratchPostgres) -> set[str]:
    with psycopg.connect(server.conninfo) as session:
        rows = session.execute("SELECT nspname FROM pg_namespace").fetchall()
    return {name for (name,) in rows} & set(schema.SCHEMAS)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param({"patroni": ""}, ["--patroni=URL"], id="no-address"),
        pytest.param({"dsn": ""}, ["--dsn=", "follows the primary"], id="no-dsn"),
        pytest.param({"dsn": "user=u dbname=d"}, ["--dsn=", "follows the primary"], id="no-host"),
        pytest.param({"dsn": "host=a,b user=u dbname=d"}, ["one address"], id="hosts"),
        pytest.param({"yes_break": "other"}, ["--yes-break=other", SCOPE], id="another-name"),
        pytest.param({"cluster": "other"}, ["--cluster=other", SCOPE], id="another-scope"),
        pytest.param({"engine": "cnpg"}, ["--engine=cnpg", "patroni"], id="engine"),
        pytest.param({"context": "c"}, ["--context", "--platform=kube"], id="context"),
        pytest.param({"patroni_auth": "/nowhere"}, ["--patroni-auth=/nowhere"], id="no-file"),
        pytest.param({"patroni_ca": "/nowhere"}, ["--patroni-ca=/nowhere"], id="no-authority"),
    ],
)
def test_what_is_not_named_is_not_guessed(
    api: PatroniApi, words: dict[str, str], named: list[str]
) -> None:
    """Addresses and a name are the user's to give, and options of other platforms are refused."""
    said = refused(api, **words)
    assert all(word in said for word in named), said


def test_options_of_patroni_are_no_others() -> None:
    """--patroni with a platform of our own would be ignored: it is refused."""
    with pytest.raises(BadUsageError, match="--platform=patroni"):
        choose(resolve({"platform": "local", "patroni": "http://a:8008"}, {}, Path("/nowhere")))


def test_machines_are_reached_by_a_command_of_the_user_s(api: PatroniApi) -> None:
    """Without one, or with one for all of them, no request is sent."""
    for ssh, said in (("", "--level=node needs --ssh='ssh root@{host}'"), ("ssh db1", "{name}")):
        with pytest.raises(BadUsageError, match=re.escape(said)):
            choose(asked(api, level="node", ssh=ssh))
    assert not api.asked


def test_a_machine_that_is_not_reached_ends_it(api: PatroniApi) -> None:
    """Before anything is asked or made; below level node no shell is opened."""
    said = refused(api, level="node", ssh="sh -c 'echo {host} is away >&2; exit 255'")
    assert "a shell for db1" in said
    assert "is away" in said
    made(api, level="fault", ssh="false {host}").up(asked(api, level="fault", yes_break=SCOPE))


def test_the_first_line_says_what_is_meant(api: PatroniApi) -> None:
    """Name, addresses, versions, who leads, where clients come in, and what will be done."""
    platform, why = choose(asked(api, level="fault", platform="auto"))
    named = (SCOPE, *api.urls.values(), "16.4", "4.1.5", "db1 leads", "loop_wait 10 s", "BROKEN")
    assert all(word in why for word in (*named, f"localhost:{api.port}")), why
    assert platform.name == "patroni"


def _listed(name: str, **words: object) -> Change:
    return lambda api: api.member(name).update(words)


def _of_status(name: str, **words: object) -> Change:
    return lambda api: api.status[name].update(words)


def _of_view(**words: object) -> Change:
    return lambda api: api.view.update(words)


def _page(api: PatroniApi) -> None:
    api.silent.add("db2")


def _away(api: PatroniApi) -> None:
    api.member("db3")["api_url"] = "http://127.0.0.1:1/patroni"
    del api.urls["db3"]


def _alone(api: PatroniApi) -> None:
    del api.view["members"][1:]


def _standby_cluster(api: PatroniApi) -> None:
    api.member("db1")["role"] = "standby_leader"


def _two_clusters(api: PatroniApi) -> None:
    api.status["db2"]["patroni"]["scope"] = "billing"


def _old(api: PatroniApi) -> None:
    api.status["db2"]["patroni"]["version"] = "2.1.4"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(_page, ["nothing that Patroni would", "--patroni=URL"], id="a-page"),
        pytest.param(_away, ["db3 does not answer", "127.0.0.1:1", "patronictl list"], id="away"),
        pytest.param(_of_view(pause=True), ["is paused", "patronictl resume orders"], id="paused"),
        pytest.param(_listed("db2", state="crashed"), ["db2 is crashed"], id="crashed"),
        pytest.param(
            _of_status("db2", replication_state="in archive recovery"),
            ["db2 does not stream"],
            id="not-streaming",
        ),
        pytest.param(_listed("db1", role="replica"), ["no member leads"], id="no-leader"),
        pytest.param(_listed("db2", timeline=2), ["timelines differ: 2, 3"], id="timelines"),
        pytest.param(_alone, ["one member, db1"], id="alone"),
        pytest.param(_standby_cluster, ["standby cluster"], id="standby-cluster"),
        pytest.param(_two_clusters, ["several clusters", "orders", "billing"], id="two-clusters"),
        pytest.param(_old, ["Patroni 2.1.4", "3.1"], id="old"),
        pytest.param(
            _listed("db2", pending_restart=True),
            ["restart of db2 is pending", "patronictl restart orders"],
            id="pending-restart",
        ),
        pytest.param(
            _of_view(scheduled_switchover={"at": "soon"}),
            ["a switchover is scheduled", "patronictl flush orders switchover"],
            id="scheduled",
        ),
        pytest.param(
            _listed("db3", tags={"env": "prod"}),
            ["db3 is tagged env: prod", "production-labels"],
            id="production",
        ),
        pytest.param(
            _of_status("db1", database_system_identifier="77"),
            ["another cluster", "77", "--dsn"],
            id="another-system",
        ),
    ],
)
def test_a_cluster_that_is_not_to_be_touched_is_refused(
    api: PatroniApi, scratch_postgres: ScratchPostgres, change: Change, named: list[str]
) -> None:
    """One line with the remedy; no schema is made, and nothing is asked for but to look."""
    change(api)
    said = refused(api, level="fault", yes_break=SCOPE)
    assert all(word in said for word in named), said
    assert not _schemas(scratch_postgres)
    assert not [one for one in api.asked if one[0] != "GET" and one[2] != "/switchover {}"]


def test_a_cluster_that_is_away_is_named(api: PatroniApi) -> None:
    """The address and the reason, whether it is right or not."""
    said = refused(api, patroni="http://127.0.0.1:1")
    assert "http://127.0.0.1:1/patroni cannot be reached: Connection refused" in said


def test_one_address_that_answers_is_enough_to_look(api: PatroniApi) -> None:
    """A sweep has to find the machine of a primary that hangs; nothing is drilled meanwhile."""
    hangs = "http://127.0.0.1:1"
    api.member("db1")["api_url"] = f"{hangs}/patroni"
    words = {"patroni": f"{hangs},{api.urls['db2']}"}
    found = made(api, **words).found
    assert {m.name: bool(m.status) for m in found.members} == {
        "db1": False,
        "db2": True,
        "db3": True,
    }
    assert "db1 does not answer" in refused(api, **words)
    api.view["members"] = [m for m in api.view["members"] if m["name"] != "db1"]
    platform = made(api, ssh="ssh root@{host}", level="node", **words)
    assert [machine.rest for machine in platform.machines.values()][-1] == "127.0.0.1:1"
    assert f"{hangs} does not answer" in refused(api, **words)


def test_faults_need_rights_and_an_address_that_follows(api: PatroniApi, tmp_path: Path) -> None:
    """A level above observe is refused at a member's own address, and without credentials."""
    api.credentials = "patroni:se:cret"
    words = {"level": "fault", "yes_break": SCOPE}
    own = f"host=127.0.0.1 port={api.port} dbname=postgres user=drill"
    assert "is db1 itself" in refused(api, dsn=own, **words)
    said = refused(api, **words)
    assert "401" in said
    assert "--patroni-auth=FILE" in said
    file = tmp_path / "auth"
    file.write_text(f"{api.credentials}\n")
    file.chmod(0o644)
    assert "chmod 600" in refused(api, patroni_auth=str(file), **words)
    file.chmod(0o600)
    settings = asked(api, patroni_auth=str(file), **words)
    platform, why = choose(settings)
    platform.up(settings)
    platform.down()
    shown = f"{why} {settings.repeat_command('chaos')} {platform!r} {made(api).found!r}"
    assert "cret" not in shown
    file.write_text("nothing like it")
    assert "USER:PASSWORD" in refused(api, patroni_auth=str(file), **words)


def test_an_authority_that_is_not_trusted_is_named(api: PatroniApi, tmp_path: Path) -> None:
    """https where there is none, and a certificate of nobody's; with its file it is trusted."""
    plain = api.urls["db1"].replace("http:", "https:")
    assert "is it http:// instead?" in refused(api, patroni=plain)
    authority, key = self_signed(tmp_path)
    with api.serving_tls("db1", authority, key) as url:
        said = refused(api, patroni=url)
        assert "certificate verify failed: self-signed certificate" in said
        assert "--patroni-ca=FILE" in said
        api.urls = {"db1": url}
        assert SCOPE in choose(asked(api, patroni_ca=str(authority)))[1]


@pytest.mark.usefixtures("api")
def test_rights_in_the_database_are_named(
    api: PatroniApi, scratch_postgres: ScratchPostgres
) -> None:
    """A user who may not make a schema gets the statement that lets it; a database by its name."""
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as admin:
        admin.execute("REVOKE CREATE ON DATABASE postgres FROM drill")
    assert 'GRANT CREATE ON DATABASE "postgres" TO "drill"' in refused(api)
    dsn = f"host=localhost port={api.port} dbname=none user=drill"
    assert "--dsn=" in refused(api, dsn=dsn)


def test_a_standby_takes_no_writes(api: PatroniApi, scratch_postgres: ScratchPostgres) -> None:
    """An address that leads to one is refused."""
    copy = scratch_postgres.standby()
    try:
        dsn = f"host=localhost port={copy.port} dbname=postgres user=drill"
        assert "leads to a standby" in refused(api, dsn=dsn)
    finally:
        copy.discard()


def test_what_was_made_is_dropped(api: PatroniApi, scratch_postgres: ScratchPostgres) -> None:
    """Our schema comes and goes, and no file stays."""
    settings = asked(api)
    platform, _ = choose(settings)
    assert not platform.is_up()
    with platform.lock():
        platform.up(settings)
        assert platform.is_up()
        assert _schemas(scratch_postgres) == {"pgdrill"}
        platform.down()
        platform.down()
    assert not _schemas(scratch_postgres)


def test_what_cannot_be_judged_is_said(api: PatroniApi) -> None:
    """Without sessions to every member two writers are not looked for; the reason is printed."""
    platform = made(api)
    assert not platform.cluster().members
    said = " ".join(platform.unjudged())
    assert "two accept writes" in said
    assert "db2 at 127.0.0.1:1 refuses" in said
    assert "alerts" in said
    for name in ("db2", "db3"):
        api.member(name)["port"] = api.port
    assert made(api, ro_host="localhost:1").capabilities >= {
        "member-addresses",
        "read-only-address",
        "reinit",
    }
    del api.view["members"][2]
    assert "reinit" not in made(api).capabilities


def test_promises_follow_the_configuration(api: PatroniApi) -> None:
    """Each second of loop_wait is a second of the write gap; beyond ten nothing is promised."""
    gaps = {}
    for wait in (1, 10):
        api.configuration["loop_wait"] = wait
        platform = made(api)
        assert platform.engine.period == wait
        gaps[wait] = FAULTS["switchover"].gap(where(platform)).limit
    assert gaps[10] - gaps[1] == 9
    api.configuration["loop_wait"] = 11
    assert made(api).tuning_name == UNBOUNDED
    api.configuration |= {"loop_wait": 10, "ttl": 60}
    assert made(api, level="fault").tuning_name != UNBOUNDED
    assert made(api, level="node", ssh="ssh {host}").tuning_name == UNBOUNDED
    api.configuration["loop_wait"] = 11
    assert where(made(api)) not in FAULTS["switchover"].cost
    assert len(PATRONI) == 10


def test_only_level_fault_has_faults(api: PatroniApi) -> None:
    """A cluster that may be looked at has none that could be injected."""
    assert [len(made(api, level=level).faults) for level in ("observe", "load")] == [0, 0]
    by_rest = {"switchover", "primary_restart", "standby_reinit"}
    assert made(api, level="fault").faults.keys() == by_rest
    by_shell = made(api, level="node", ssh="ssh root@{host}").faults.keys() - by_rest
    assert by_shell == {
        *("postmaster_kill", "backend_kill", "postmaster_freeze"),
        *("agent_freeze", "primary_freeze", "standby_freeze"),
    }


def test_the_engine_sees_members_by_rest(api: PatroniApi) -> None:
    """Roles, lag and who may take over; a later postmaster is another incarnation."""
    engine = made(api).engine
    first, second, _ = engine.members()
    assert (first.role, first.lag, second.role, second.lag) == ("primary", 0, "standby", 10)
    assert second.synchronous
    assert first.incarnation != second.incarnation
    assert engine.lock_holder() == "db1"
    assert engine.synchronous_state_is_expected()
    assert engine.candidates() == ["db2", "db3"]
    api.member("db2")["tags"] = {"nofailover": True}
    assert engine.candidates() == ["db3"]
    for name in ("db2", "db3"):
        del api.status[name]["sync_standby"]
    assert engine.candidates() == [], "an asynchronous standby may lack acknowledged rows"
    assert not engine.synchronous_state_is_expected()
    api.configuration["synchronous_mode"] = False
    assert engine.candidates() == ["db3"]
    assert engine.synchronous_state_is_expected()


def test_commands_of_the_configuration_are_not_shown(api: PatroniApi) -> None:
    """An archive command may hold a key: the report has its name and no more."""
    api.configuration["postgresql"] = {"parameters": {"archive_command": "AWS_KEY=x push"}}
    shown = made(api).engine.tuning()
    assert shown["postgresql.parameters.archive_command"] == "(not shown)"
    assert shown["loop_wait"] == "10"


def test_a_refusal_of_patroni_is_reported() -> None:
    """A member that does not answer a request is one line, not a trace."""
    engine = PatroniByRest({"db1": "http://127.0.0.1:1"}, RestAccess(), SCOPE, 10.0)
    with pytest.raises(BrokenEnvironmentError, match="db1 does not answer /reinitialize"):
        engine.reinitialize("db1")


def test_preflight_lists_what_is_needed(
    api: PatroniApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each need with its answer; exit code 2 where the level lacks one, 0 where it does not."""
    monkeypatch.setenv("COLUMNS", "200")
    api.credentials = "patroni:secret"
    settings = asked(api)
    words = [f"--patroni={settings.patroni}", f"--dsn={settings.dsn}"]
    assert main(["patroni", "preflight", *words, "--level=fault"]) == 2
    assert "lacks requests that change something" in " ".join(capsys.readouterr().out.split())
    assert main(["patroni", "preflight", *words]) == 0
    assert main(["kube", "preflight", "--platform=patroni", *words]) == 4
    assert main(["patroni", "sweep", *words]) == 0
    assert "nothing of pgdrill is left in orders" in capsys.readouterr().out


def test_init_writes_the_settings_of_the_cluster(
    api: PatroniApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file that it writes chooses that cluster, all members of it; an existing one stays."""
    monkeypatch.chdir(tmp_path)
    words = [f"--patroni={api.urls['db2']}", f"--dsn={asked(api).dsn}"]
    assert main(["init", *words]) == 0
    written = resolve({}, {}, tmp_path / "pgdrill.toml")
    assert (written.platform, written.cluster, written.level) == ("patroni", SCOPE, "observe")
    assert written.patroni == api.given
    assert written.dsn == asked(api).dsn
    assert choose(written)[0].name == "patroni"
    assert main(["init", *words]) == 4
    assert "exists" in " ".join(capsys.readouterr().out.split())
