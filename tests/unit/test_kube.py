"""An existing cluster: chosen by name alone, refused in one line each, and left as it was."""

import json
import os
import pty
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from pgdrill.__main__ import main
from pgdrill.errors import BadUsageError, BrokenEnvironmentError, PgdrillError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.existing import given_address, schema
from pgdrill.platforms.existing.confirmation import confirm
from pgdrill.platforms.kube import rights, service_addresses
from pgdrill.platforms.kube.platform import KubePlatform
from pgdrill.platforms.select import choose
from pgdrill.settings import ROOT, Settings, resolve
from pgdrill.waiting import eventually
from pgdrill.workload import dataset, ledger
from tests.kubernetes_api import (
    CLUSTERS,
    CORE,
    NAME,
    KubernetesApi,
    listed,
    node,
    pod,
    secret,
    service,
)
from tests.servers import serving
from tests.unit.conftest import ScratchPostgres

pytestmark = pytest.mark.unit

ALL_CLUSTERS = "/apis/postgresql.cnpg.io/v1/clusters"
WORDS = {"platform": "kube", "context": "ours", "namespace": "db", "cluster": NAME}


def asked(**words: str) -> Settings:
    """The settings of a command that names everything, but for what is changed."""
    return resolve(WORDS | words, {}, Path("/nowhere"))


@pytest.fixture
def api(
    scratch_postgres: ScratchPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubernetesApi]:
    """An API server with a healthy cluster, whose database is a real one."""
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as admin:
        admin.execute("DROP SCHEMA IF EXISTS pgdrill, shop, bench CASCADE")
        with suppress(psycopg.errors.DuplicateObject):
            admin.execute("CREATE ROLE app LOGIN IN ROLE pg_monitor")
        admin.execute("GRANT pg_monitor TO app")
        admin.execute("GRANT CREATE ON DATABASE postgres TO app")
    served = KubernetesApi(scratch_postgres.port)
    monkeypatch.setenv("PGDRILL_STATE_DIR", str(tmp_path / "state"))
    with served.kubeconfig(tmp_path) as file:
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield served


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param({"context": ""}, ["--context=NAME", "ours, other"], id="no-context"),
        pytest.param({"context": "prod"}, ["no context prod", "ours, other"], id="unknown"),
        pytest.param({"namespace": ""}, ["--namespace=NAME"], id="no-namespace"),
        pytest.param({"yes_break": "other"}, ["--yes-break=other", NAME], id="another-name"),
        pytest.param({"rw_host": "h:x"}, ["--rw-host=h:x", "HOST:PORT"], id="no-port"),
        pytest.param({"dsn": "dbname=x"}, ["--dsn=dbname=x", "user"], id="no-user"),
        pytest.param({"engine": "patroni"}, ["--engine=patroni", "cnpg"], id="engine"),
    ],
)
@pytest.mark.usefixtures("api")
def test_what_is_not_named_is_not_guessed(words: dict[str, str], named: list[str]) -> None:
    """Context, namespace and cluster are given by name; the current context never counts."""
    with pytest.raises(BadUsageError) as refused:
        choose(asked(**words))
    assert all(word in str(refused.value) for word in named), refused.value


def test_a_password_belongs_into_a_file() -> None:
    """A connection string is printed and stored, so one with a password is refused."""
    with pytest.raises(BadUsageError, match="passfile=FILE") as refused:
        asked(dsn="user=u password=secret")
    assert "secret" not in str(refused.value).replace("--dsn=user=u password=secret", "")


@pytest.mark.parametrize("platform", ["kind", "local"])
def test_options_of_somebody_s_cluster_are_no_others(platform: str) -> None:
    """--cluster with a platform of our own would be ignored: it is refused."""
    with pytest.raises(BadUsageError, match="--platform=kube"):
        choose(resolve({"platform": platform, "cluster": "pg"}, {}, Path("/nowhere")))


def _cut(path: str) -> Callable[[KubernetesApi], None]:
    return lambda api: api.objects.pop(path)


def _deny(what: str) -> Callable[[KubernetesApi], None]:
    return lambda api: api.denied.add(what)


def _no_operator(api: KubernetesApi) -> None:
    api.objects.pop(f"{CLUSTERS}/{NAME}")


def _another(api: KubernetesApi) -> None:
    _no_operator(api)
    api.objects[CLUSTERS] = listed({"metadata": {"name": "billing"}})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(_cut(CORE), ["not found", "--namespace=NAME"], id="wrong-namespace"),
        pytest.param(
            _another, ["no Cluster pg", "billing", "--cluster=NAME"], id="no-such-cluster"
        ),
        pytest.param(_no_operator, ["CloudNativePG is not installed"], id="no-operator"),
        pytest.param(_deny(f"get {CORE}"), ["may not", "infra/kube/rbac.yaml"], id="no-right"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    api: KubernetesApi, change: Callable[[KubernetesApi], None], named: list[str]
) -> None:
    """One line with the remedy, before anything is done."""
    change(api)
    with pytest.raises(BrokenEnvironmentError) as refused:
        choose(asked())
    assert all(word in str(refused.value) for word in named), refused.value
    assert "\n" not in str(refused.value)


def test_init_writes_the_settings_of_the_only_cluster(
    api: KubernetesApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file that it writes chooses that cluster, and an existing one is left as it is."""
    monkeypatch.chdir(tmp_path)
    api.objects[ALL_CLUSTERS] = listed({"metadata": {"name": NAME, "namespace": "db"}})
    assert main(["init", "--context=ours"]) == 0
    assert "Cluster db/pg" in " ".join(capsys.readouterr().out.split())
    written = (tmp_path / "pgdrill.toml").read_text()
    found = resolve({}, {}, tmp_path / "pgdrill.toml")
    assert (found.platform, found.context) == ("kube", "ours")
    assert (found.namespace, found.cluster, found.level) == ("db", NAME, "observe")
    assert "2 instances of postgresql:16.4, operator 1.27.1" in written
    assert main(["init", "--context=ours"]) == 4
    assert "exists" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "pgdrill.toml").read_text() == written


@pytest.mark.parametrize(
    ("there", "words", "code", "says"),
    [
        (["db/pg", "db/pg2"], [], 4, "db/pg, db/pg2: name one with --namespace=NAME"),
        ([], [], 2, "no Cluster in any namespace of context ours"),
        (["db/pg"], ["--cluster=other"], 2, "no Cluster other in any namespace"),
        (None, [], 2, "CloudNativePG is not installed"),
    ],
)
def test_init_takes_no_cluster_that_is_not_named(
    api: KubernetesApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    there: list[str] | None,
    words: list[str],
    code: int,
    says: str,
) -> None:
    """Several, none, or an API server without the operator: one line, and no file."""
    monkeypatch.chdir(tmp_path)
    if there is not None:
        names = (one.split("/") for one in there)
        api.objects[ALL_CLUSTERS] = listed(
            *({"metadata": {"namespace": space, "name": name}} for space, name in names)
        )
    assert main(["init", "--context=ours", *words]) == code
    assert says in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "pgdrill.toml").exists()


def test_an_expired_token_is_named(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that the API server rejects: log in again."""
    with api.kubeconfig(tmp_path, token="expired") as file:
        monkeypatch.setenv("KUBECONFIG", str(file))
        with pytest.raises(BrokenEnvironmentError, match=r"expired.*log in again"):
            choose(asked())


def test_an_api_server_that_is_away_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is in the line."""
    with KubernetesApi(1).kubeconfig(tmp_path) as file:
        monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(BrokenEnvironmentError, match=r"http://127.0.0.1:\d+, cannot be reached"):
        choose(asked())


@pytest.mark.parametrize(
    ("kubeconfig", "named"), [("/nowhere", "/nowhere"), ("/a:/b", "several files")]
)
def test_a_kubeconfig_that_cannot_be_used_is_named(
    kubeconfig: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, or several."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    with pytest.raises(BrokenEnvironmentError, match=named):
        choose(asked())


def test_a_kubeconfig_without_a_current_context_will_do(api: KubernetesApi, tmp_path: Path) -> None:
    """The better address is chosen, never by chance."""
    file = tmp_path / "kubeconfig"
    file.write_text(file.read_text().replace("current-context: other\n", ""))
    assert choose(asked())[0].name == "kube"
    file.write_text("not: a kubeconfig")
    with pytest.raises(BadUsageError, match="has none"):
        choose(asked())
    assert api.asked


@pytest.mark.usefixtures("api")
def test_the_first_line_says_what_is_meant() -> None:
    """Context, API server, namespace, cluster, both versions, and what will be done to it."""
    _, why = choose(asked(level="fault"))
    named = ("ours", "http://127.0.0.1:", "db", "pg", "postgresql:16.4", "1.27.1", "BROKEN")
    assert all(word in why for word in named), why
    _, why = choose(asked(level="node"))
    assert "by privileged pods in namespace pgdrill-node" in why
    _, why = choose(asked(level="node"), does="will be looked at")
    assert why.endswith("2 instances; it will be looked at")


def _unready(api: KubernetesApi) -> None:
    api.cluster["status"]["readyInstances"] = 1


def _old(api: KubernetesApi) -> None:
    api.objects[f"{CORE}/pods"] = listed(pod("pg-1", "1.24.9"), pod("pg-2", "1.9.1"))


def _production(api: KubernetesApi) -> None:
    api.objects[CORE]["metadata"]["labels"] = {"env": "prod"}


def _inside_only(api: KubernetesApi) -> None:
    api.objects[f"{CORE}/services"]["items"][0]["spec"]["type"] = "ClusterIP"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(_unready, ["1 of 2 instances", "describe cluster pg"], id="unhealthy"),
        pytest.param(_old, ["1.24.9", "1.25"], id="old-operator"),
        pytest.param(_production, ["env=prod", "production-labels"], id="production"),
        pytest.param(_inside_only, ["no Service", "--rw-host"], id="no-address"),
        pytest.param(_deny("list pods"), ["alice", "list pods", "rbac.yaml"], id="no-right"),
        pytest.param(_cut(f"{CORE}/secrets/pg-app"), ["no Secret pg-app", "--dsn"], id="no-secret"),
    ],
)
def test_a_cluster_that_is_not_to_be_touched_is_refused(
    api: KubernetesApi,
    scratch_postgres: ScratchPostgres,
    change: Callable[[KubernetesApi], None],
    named: list[str],
) -> None:
    """One line with the remedy; no schema is made."""
    change(api)
    platform, _ = choose(asked())
    with pytest.raises(BrokenEnvironmentError) as refused:
        platform.up(asked())
    assert all(word in str(refused.value) for word in named), refused.value
    assert not _schemas(scratch_postgres)


def test_other_labels_mark_production(api: KubernetesApi) -> None:
    """A label of the user's own takes the place of ours."""
    _production(api)
    settings = asked(production_labels="tier=live")
    platform, _ = choose(settings)
    platform.up(settings)
    api.objects[CORE]["metadata"]["labels"] = {"tier": "live"}
    platform, _ = choose(settings)
    with pytest.raises(BrokenEnvironmentError, match="tier=live"):
        platform.up(settings)


@pytest.mark.parametrize("level", ["observe", "fault"])
def test_a_level_needs_its_own_rights(api: KubernetesApi, level: str) -> None:
    """Without the right to delete pods a cluster can be looked at, and not be broken."""
    api.denied.add("delete pods")
    settings = asked(level=level, yes_break=NAME)
    platform, _ = choose(settings)
    if level == "observe":
        platform.up(settings)
        return
    with pytest.raises(BrokenEnvironmentError, match="delete pods"):
        platform.up(settings)


@pytest.mark.usefixtures("api")
def test_nothing_is_broken_unconfirmed(
    scratch_postgres: ScratchPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal only --yes-break=NAME confirms."""
    monkeypatch.setattr(Path, "open", _no_terminal(Path.open))
    settings = asked(level="fault")
    platform, _ = choose(settings)
    with pytest.raises(BadUsageError, match=f"--yes-break={NAME}"):
        platform.up(settings)
    assert not _schemas(scratch_postgres)


@pytest.mark.parametrize(("typed", "code"), [("pg", 0), ("pg-2", 4), ("", 4)])
def test_the_name_is_typed_at_the_terminal(typed: str, code: int) -> None:
    """The cluster's own name confirms; another, or none, does not."""
    child, terminal = pty.fork()
    if child == 0:  # with a terminal of its own
        try:
            confirm("pg", "", lambda _: None)
        except BadUsageError as error:
            os._exit(error.exit_code)
        os._exit(0)
    os.write(terminal, f"{typed}\n".encode())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    os.close(terminal)


def _no_terminal(real: Callable[..., Any]) -> Callable[..., Any]:
    def opened(path: Path, *arguments: Any, **words: Any) -> Any:  # noqa: ANN401  # as the real one
        if path == Path("/dev/tty"):
            raise OSError("no such device")
        return real(path, *arguments, **words)

    return opened


def _schemas(server: ScratchPostgres) -> set[str]:
    with psycopg.connect(server.conninfo) as session:
        rows = session.execute("SELECT nspname FROM pg_namespace").fetchall()
    return {name for (name,) in rows} & set(schema.SCHEMAS)


@pytest.mark.usefixtures("api")
def test_what_was_made_is_dropped_and_nothing_else(
    scratch_postgres: ScratchPostgres, tmp_path: Path
) -> None:
    """A ledger goes to our schema; a take-down, by another process, removes every trace."""
    settings = asked()
    platform, _ = choose(settings)
    assert not platform.is_up()
    platform.up(settings)
    assert platform.is_up()
    ledger.create_table(platform.cluster().conninfo(), "ledger_1")
    with psycopg.connect(scratch_postgres.conninfo) as session:
        assert session.execute("SELECT 'pgdrill.ledger_1'::regclass").fetchone()
    assert platform.cluster().passfile.read_text() == "*:*:*:app:p\\:w\n"
    again, _ = choose(settings)  # after SIGKILL: nothing is remembered
    again.down()
    again.down()
    assert not _schemas(scratch_postgres)
    assert not [file for file in (tmp_path / "state").rglob("*") if file.is_file()]


@pytest.mark.usefixtures("api")
def test_a_dataset_from_before_stays(scratch_postgres: ScratchPostgres) -> None:
    """One that was there when our schema was made is not ours to drop; a later one is."""
    settings = asked()
    for before in (True, False):
        with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as session:
            session.execute("DROP SCHEMA IF EXISTS shop CASCADE")
            platform, _ = choose(settings)
            if not before:
                platform.up(settings)
            session.execute("CREATE SCHEMA shop AUTHORIZATION app")
            session.execute(f"COMMENT ON SCHEMA shop IS '{dataset.manifest.OWNER}'")
        platform.up(settings)
        platform.down()
        assert _schemas(scratch_postgres) == ({"shop"} if before else set())


@pytest.mark.parametrize("name", schema.SCHEMAS)
@pytest.mark.usefixtures("api")
def test_a_schema_of_somebody_s_is_left_alone(scratch_postgres: ScratchPostgres, name: str) -> None:
    """A schema with the name of ours that pgdrill did not make is refused and survives."""
    with psycopg.connect(scratch_postgres.conninfo) as session:
        session.execute(f"CREATE SCHEMA {name}")
    platform, _ = choose(asked())
    with pytest.raises(BrokenEnvironmentError, match=f"schema {name} that pgdrill did not make"):
        platform.up(asked())
    platform.down()
    assert _schemas(scratch_postgres) == {name}


def test_rights_in_the_database_are_named(
    api: KubernetesApi, scratch_postgres: ScratchPostgres
) -> None:
    """A user who sees no replication gets the statement that lets it."""
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as admin:
        admin.execute("REVOKE pg_monitor FROM app")
        admin.execute("REVOKE CREATE ON DATABASE postgres FROM app")
    platform, _ = choose(asked())
    with pytest.raises(BrokenEnvironmentError) as refused:
        platform.up(asked())
    assert 'GRANT pg_monitor TO "app"' in str(refused.value)
    assert 'GRANT CREATE ON DATABASE "postgres" TO "app"' in str(refused.value)
    assert not api.denied


def test_a_database_that_refuses_is_named(
    api: KubernetesApi, scratch_postgres: ScratchPostgres
) -> None:
    """pg_hba, TLS, an unknown database, no server: each in PostgreSQL's words, with a remedy."""
    with _only_postgres(scratch_postgres):
        assert "spec.postgresql.pg_hba" in _refused()
    api.objects[f"{CORE}/secrets/{NAME}-app"] = secret(username="app", password="x", dbname="none")
    assert "--dsn=" in _refused()
    assert "sslmode=" in _refused(dsn="user=app dbname=postgres sslmode=require")
    assert "--rw-host" in _refused(rw_host="127.0.0.1:1")


@contextmanager
def _only_postgres(server: ScratchPostgres) -> Iterator[None]:
    """Let pg_hba.conf accept no other user, while the block lasts."""
    hba = server.data / "pg_hba.conf"
    kept = hba.read_text()
    app = server.conninfo.replace("user=postgres", "user=app")

    def admits() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(app):
            return True
        return False

    def put(text: str, *, admitted: bool) -> None:
        hba.write_text(text)
        server.run("pg_ctl", "reload", "-D", server.data)
        eventually("pg_hba.conf in force", admits, lambda seen: seen == admitted, within=30)

    put("host all postgres 127.0.0.1/32 trust\n", admitted=False)
    try:
        yield
    finally:
        put(kept, admitted=True)


def _refused(**words: str) -> str:
    platform, _ = choose(asked(**words))
    with pytest.raises(BrokenEnvironmentError) as refused:
        platform.up(asked(**words))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_preflight_lists_rights_and_refuses(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each right with its answer; exit code 2 where the level lacks one, 0 where it does not."""
    monkeypatch.setenv("COLUMNS", "200")
    words = [f"--{key}={value}" for key, value in WORDS.items()]
    api.denied.add("delete pods")
    assert main(["kube", "preflight", *words, "--level=fault"]) == 2
    said = capsys.readouterr().out
    assert "lacks delete pods" in " ".join(said.split())
    assert "it will be looked at; nothing is written" in " ".join(said.split())
    assert "alice" in said
    assert "member-addresses" in said
    assert main(["kube", "preflight", *words]) == 0
    assert ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") in api.asked
    assert not any(method not in ("GET", "POST") for method, _ in api.asked)


def _data(content: object) -> dict[str, object]:
    return {"status": "success", "data": content}


@contextmanager
def _monitoring(pods: Sequence[str]) -> Iterator[list[str]]:
    """Serve a Prometheus that scrapes these pods and an Alertmanager; yield their options."""
    places = [
        {"job": "db", "namespace": "db", "pod": pod, "instance": f"10.0.0.{number}:9187"}
        for number, pod in enumerate(pods)
    ]
    series = [{"metric": at | {"__name__": "up"}, "value": [0, "1"]} for at in places]
    rule = {"type": "alerting", "name": "Few", "query": "count(up == 1) < 2", "duration": 0}
    rule |= {"labels": {"severity": "page"}, "health": "ok"}
    group = {"name": "db", "file": "theirs", "interval": 15, "rules": [rule]}
    targets = [{"labels": at, "scrapeInterval": "10s"} for at in places]
    answers = {
        "/api/v1/rules": _data({"groups": [group]}),
        "/api/v1/query": _data({"resultType": "vector", "result": series}),
        "/api/v1/targets": _data({"activeTargets": targets}),
        "/api/v2/status": {"config": {"original": "route: {receiver: nobody}"}},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[urlsplit(self.path).path]).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with serving(Handler) as url:
        yield [f"--prometheus-url={url}", f"--alertmanager-url={url}"]


@pytest.mark.usefixtures("api")
def test_rules_are_asked_which_outage_they_would_see(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table, for which nothing is broken; what it needs and does not find is named."""
    monkeypatch.setenv("COLUMNS", "200")
    words = ["kube", "rules", *(f"--{key}={value}" for key, value in WORDS.items())]
    assert main(words) == 4
    assert "--prometheus-url" in capsys.readouterr().out
    with _monitoring(["pg-1", "pg-2"]) as theirs:
        assert main([*words, *theirs]) == 0
        said = capsys.readouterr().out
        assert (
            re.search(r"primary lost +│ 30 s +│ Few after 10 s", said) or "Few after 10 s" in said
        )
        assert main([*words, *theirs, "--monitoring-token=/nowhere"]) == 4
        with monkeypatch.context() as emptied:
            emptied.setenv("PATH", "/nowhere")
            assert main([*words, *theirs]) == 2
        assert "promtool is not on the PATH" in capsys.readouterr().out
    with _monitoring(["pg-1"]) as theirs:
        assert main([*words, *theirs]) == 2
        assert "no `up` with a label pod of pg-2" in " ".join(capsys.readouterr().out.split())


def test_members_are_seen_from_afar(api: KubernetesApi, scratch_postgres: ScratchPostgres) -> None:
    """Without an address of each member the primary reports who streams; that is printed."""
    platform, _ = choose(asked())
    assert isinstance(platform, KubePlatform)
    assert "member-addresses" not in platform.capabilities
    assert "two accept writes" in " ".join(platform.unjudged())
    first, second = platform.engine.members()
    assert (first.role, first.running, first.streaming, first.timeline) == (
        "primary",
        True,
        True,
        1,
    )
    assert (second.role, second.running, second.streaming) == ("standby", True, False)
    copy = scratch_postgres.standby()
    try:
        copy.stop()
        copy.configure(cluster_name="pg-2")  # a standby calls itself so to its primary
        copy.start()
        _, second = eventually(
            "a standby that streams",
            platform.engine.members,
            lambda seen: seen[1].streaming and seen[1].lag is not None,
            within=30,
        )
        assert (second.role, second.timeline, second.synchronous) == ("standby", 1, False)
    finally:
        copy.discard()
    api.objects[f"{CORE}/pods"] = listed(pod("pg-1"))
    _, second = platform.engine.members()
    assert (second.running, second.role, second.incarnation) == (False, "unknown", "")


def test_addresses_are_those_that_lead_outside() -> None:
    """By what a Service selects, never by its name; an address by hand takes its place."""
    ours = {"cnpg.io/cluster": "pg"}
    balanced = service("a", ours | {"cnpg.io/instanceRole": "primary"}, 0, "LoadBalancer")
    balanced["status"]["loadBalancer"] = {"ingress": [{"ip": "10.0.0.9"}]}
    pooled = service("b", {"cnpg.io/poolerName": "pg-pooler"}, 31000)
    foreign = service("c", {"cnpg.io/cluster": "other", "role": "replica"}, 31001)
    replicas = service("d", ours | {"role": "replica"}, 31002)
    first = service("e", {"cnpg.io/instanceName": "pg-1"}, 31003)
    second = service("f", {"cnpg.io/instanceName": "pg-2"}, 31004)

    def find(*services: dict[str, Any], **given: Endpoint) -> service_addresses.Addresses:
        return service_addresses.find(
            services, [node("10.0.0.1")], (), "pg", ("pg-1", "pg-2"), given
        )

    found = find(foreign, pooled, balanced, replicas, first, second)
    assert found.read_write == Endpoint("10.0.0.9", 5432)
    assert found.routed == "a"
    assert found.read_only == Endpoint("10.0.0.1", 31002)
    assert found.members == {
        "pg-1": Endpoint("10.0.0.1", 31003),
        "pg-2": Endpoint("10.0.0.1", 31004),
    }
    assert find(balanced, first).members == {}, "one lane of two would look like all of them"
    by_hand = find(first, second, rw=Endpoint("db.example", 6432))
    assert (by_hand.read_write, by_hand.routed) == (Endpoint("db.example", 6432), "")
    with pytest.raises(PgdrillError, match="no Service leads to the primary"):
        find(pooled, foreign)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("db.example", Endpoint("db.example", 5432)),
        ("db.example:6432", Endpoint("db.example", 6432)),
        ("fd00::1", Endpoint("fd00::1", 5432)),
        ("[fd00::1]:6432", Endpoint("fd00::1", 6432)),
    ],
)
def test_an_address_by_hand_is_read(text: str, found: Endpoint) -> None:
    """Names, and IPv6 with and without a port."""
    assert given_address.parse(text, "--rw-host") == found


def test_a_node_is_reached_by_who_may_not_list_nodes(
    api: KubernetesApi, scratch_postgres: ScratchPostgres
) -> None:
    """The right to list nodes is not one of a namespace; where its pods run is known without it."""
    api.denied.add("list /api/v1/nodes")
    with pytest.raises(BrokenEnvironmentError, match="no Service leads to the primary"):
        choose(asked())[0].cluster()
    for one in api.objects[f"{CORE}/pods"]["items"]:
        one["status"]["hostIP"] = "127.0.0.1"
    assert choose(asked())[0].cluster().read_write == Endpoint("127.0.0.1", api.port)


@pytest.mark.usefixtures("api")
def test_only_level_fault_has_faults() -> None:
    """A cluster that may be looked at has none that could be injected."""
    assert [len(choose(asked(level=level))[0].faults) for level in ("observe", "load")] == [0, 0]
    platform, _ = choose(asked(level="fault"))
    assert {"primary_kill", "switchover"} <= platform.faults.keys()


def test_a_cluster_without_bounds_has_no_promise(api: KubernetesApi) -> None:
    """A smart shutdown longer than the operator's own leaves an outage without a bound."""
    assert choose(asked())[0].tuning_name == "own"
    api.cluster["spec"]["smartShutdownTimeout"] = 600
    assert choose(asked())[0].tuning_name == "unbounded"


def test_the_roles_grant_what_is_asked_for_and_no_more() -> None:
    """infra/kube/rbac.yaml holds each right of the preflight, at its level."""
    granted = {
        (role["metadata"]["name"].removeprefix("pgdrill-"), verb, resource, group)
        for file in ("rbac.yaml", "node.yaml")
        for role in yaml.safe_load_all((ROOT / "infra/kube" / file).read_text())
        if role["kind"] == "Role"
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    needed = rights.needed(secret=True, inside=True, nodes=True)
    assert granted == {(r.level, r.verb, r.resource, r.group) for r in needed}
    assert set(rights.needed(secret=False, inside=False, nodes=False)) < set(needed)


def test_a_missing_right_names_its_namespace(api: KubernetesApi) -> None:
    """Privileged pods are elsewhere: what is allowed beside the members may not be there."""
    api.denied = {"create pods", "delete pods"}
    with pytest.raises(BrokenEnvironmentError) as refused:
        choose(asked(level="node", yes_break=NAME))[0].up(asked(level="node"))
    assert "delete pods in namespace db; create pods, delete pods in namespace pgdrill-node" in str(
        refused.value
    )


def test_clients_in_pods_need_rights_of_their_own(api: KubernetesApi) -> None:
    """A prober in a pod as well as a load; without both they are not asked for."""
    for words in ({"prober_image": "registry.example/p:1"}, {"load": "cluster"}):
        api.denied = {"create jobs"}
        with pytest.raises(BrokenEnvironmentError, match=r"may not create jobs\.batch"):
            choose(asked(level="fault", yes_break=NAME, **words))[0].up(asked(level="fault"))
    platform = choose(asked(level="fault"))[0]
    assert isinstance(platform, KubePlatform)
    assert "create jobs.batch" not in {str(one.right) for one in platform.asked_rights()}
